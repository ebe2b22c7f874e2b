"""Rates and limits as values: what is read, what is refused, and what is said then."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit import CostAboveCapacity, InvalidLimit, Limit, Limiter, Rate, RateLimitError
from ratelimit.kinds import Spaced

MINUTE_US = 60_000_000


@pytest.mark.parametrize(
    ("text", "count", "period_us"),
    [
        ("20/minute", 20, MINUTE_US),
        ("10/5 minutes", 10, 5 * MINUTE_US),
        ("1/6 s", 1, 6_000_000),
        ("1/6s", 1, 6_000_000),
        ("1000 per day", 1000, 86_400_000_000),
        ("  7 / 2 HOURS ", 7, 7_200_000_000),
        ("80/second", 80, 1_000_000),
        ("5/250 ms", 5, 250_000),
    ],
)
def test_a_rate_is_read_as_people_write_it(text: str, count: int, period_us: int) -> None:
    assert Rate.parse(text) == Rate(count, period_us)


@pytest.mark.parametrize(
    "text", ["", "20", "20/", "/minute", "0/minute", "-1/minute", "1.5/s", "20/fortnight", "20/0 s"]
)
def test_what_is_no_rate_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(InvalidLimit, match=r"accepted|not between") as caught:
        Rate.parse(text)
    assert repr(text) in str(caught.value)


def test_more_than_one_in_a_microsecond_is_refused() -> None:
    with pytest.raises(InvalidLimit, match="at most one per microsecond"):
        Rate.parse("2000/1 ms")


@given(st.integers(1, 10_000), st.integers(10_000, 366 * 86_400_000_000))
def test_a_rate_reads_back_what_it_writes(count: int, period_us: int) -> None:
    assert Rate.parse(str(Rate(count, period_us))) == Rate(count, period_us)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"burst": 0}, "accepted is 1 to 20"),
        ({"burst": 21}, "accepted is 1 to 20"),
        ({"margin": 0.006}, "0 to 0.005"),
        ({"margin": -0.001}, "0 to 0.005"),
        ({"kind": "leaky"}, "accepted are bucket, distinct"),
        ({"kind": "window", "burst": 2}, "takes no burst"),
        ({"kind": "bucket", "burst": 0}, "at least 1"),
        ({"key": ""}, "not empty"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_with_what_is_accepted(wrong: dict[str, object], said: str) -> None:
    right: dict[str, object] = {"name": "account", "key": "account:7", "rate": Rate.parse("20/minute")}
    with pytest.raises(InvalidLimit, match=said):
        Limit(**(right | wrong))  # type: ignore[arg-type]


def test_numbers_that_would_not_stay_exact_are_refused() -> None:
    with pytest.raises(InvalidLimit, match="kept exactly"):
        Limit("pair", "a", Rate.parse("1/366 days"), burst=100, kind="bucket")


def test_limits_are_equal_by_value_and_can_be_pickled() -> None:
    limit = Limit("account", "account:7", Rate.parse("20/minute"), margin=0.005)
    again = pickle.loads(pickle.dumps(limit))  # noqa: S301
    assert again == limit == Limit("account", "account:7", Rate.parse("20/minute"), margin=0.005)
    assert again.argv == limit.argv
    assert len({limit, again}) == 1


def test_the_interval_of_20_a_minute_is_three_seconds() -> None:
    limit = Limit("account", "account:7", Rate.parse("20/minute"))
    assert (limit.parameters, limit.capacity) == (Spaced(limit.parameters.argv, 3_000_000, 3_000_000, 0), 1)


def test_a_cost_above_the_capacity_is_refused_at_once_as_impossible(limiter: Limiter) -> None:
    wide = Limit("user", "user:1", Rate.parse("100/minute"), kind="window")
    narrow = Limit("account", "account:7", Rate.parse("20/minute"), burst=5)
    with pytest.raises(CostAboveCapacity, match="'account', which holds at most 5") as caught:
        limiter.acquire([wide, narrow], cost=6)
    assert (caught.value.name, caught.value.cost, caught.value.capacity) == ("account", 6, 5)
    assert isinstance(caught.value, RateLimitError)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"count": 0}, "at least 1"),
        ({"cost": 0}, "at least 1"),
        ({"count": 2, "member": "a"}, "1 members were given for 2 units"),
        ({"count": 2, "member": ["a", "b", "c"]}, "3 members were given for 2 units"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(limiter: Limiter, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidLimit, match=said):
        limiter.acquire([Limit("a", "a", Rate.parse("20/minute"))], **arguments)


def test_two_limits_on_one_state_are_refused_because_one_charge_would_be_lost(limiter: Limiter) -> None:
    rate = Rate.parse("20/minute")
    with pytest.raises(InvalidLimit, match="same kind and key: a, a"):
        limiter.acquire([Limit("one", "a", rate), Limit("two", "a", rate, kind="bucket")])
    assert limiter.acquire([Limit("one", "a", rate), Limit("two", "a", rate, kind="window")]).granted == 1


def test_no_limits_grant_everything(limiter: Limiter) -> None:
    decision = limiter.acquire([], count=3)
    assert (decision.granted, decision.retry_at, decision.blocked_by, decision.usage) == (3, None, None, ())
