"""The promise of the kinds, in every window, whatever the callers do."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit import Limit, Limiter, Rate
from tests.ratelimit.oracle import START_US, most_in_a_window, next_us

NewLimiter = Callable[[], Limiter]

rates = st.builds(Rate, st.integers(1, 40), st.sampled_from([6_000_000, 60_000_000, 300_000_000, 999_983]))
margins = st.sampled_from([0.0, 0.001, 0.005])


@st.composite
def hard_limits(draw: st.DrawFn) -> Limit:
    rate = draw(rates)
    kind = draw(st.sampled_from(["token-bucket", "token-bucket", "window"]))
    burst = draw(st.integers(1, rate.count)) if kind == "token-bucket" else 1
    return Limit("account", "account", rate, burst=burst, kind=kind, margin=draw(margins))


def jitter_us(limit: Limit) -> int:
    """The arrival jitter that the margin pays for: half of it, rounded down."""
    return int(limit.rate.period_us * limit.margin / 2)


@settings(max_examples=60)
@given(hard_limits(), st.data())
def test_no_window_holds_more_than_count_under_random_arrivals(
    new_limiter: NewLimiter, limit: Limit, data: st.DataObject
) -> None:
    limiter, now, granted = new_limiter(), START_US, list[int]()
    interval = max(limit.rate.period_us // limit.rate.count, 1)
    gaps = st.one_of(st.integers(0, 3), st.integers(0, 3 * interval), st.just(limit.rate.period_us))
    for gap, count in data.draw(st.lists(st.tuples(gaps, st.integers(1, 50)), max_size=40)):
        now += gap
        granted += [now] * limiter.acquire([limit], count, now_us=now).granted
    # A window as the provider sees it reaches back over everything that may still be on its way.
    assert most_in_a_window(granted, limit.rate.period_us + jitter_us(limit)) <= limit.rate.count


@settings(max_examples=60)
@given(hard_limits(), st.data())
def test_no_window_holds_more_than_count_when_everything_is_taken_the_moment_it_is_free(
    new_limiter: NewLimiter, limit: Limit, data: st.DataObject
) -> None:
    """The adversary: rests that fill the bucket, then every unit at its quoted instant, then rests again."""
    limiter, now, granted = new_limiter(), START_US, list[int]()
    rests = data.draw(st.lists(st.integers(0, limit.rate.period_us), min_size=1, max_size=3))
    for rest in rests:
        now += rest
        for _ in range(limit.rate.count + 3):
            decision = limiter.acquire([limit], 50, now_us=now)
            granted += [now] * decision.granted
            now = next_us(decision)
    length = limit.rate.period_us + jitter_us(limit)
    assert most_in_a_window(granted, length) <= limit.rate.count
    assert most_in_a_window(granted, length) >= limit.rate.count - 1  # and the promise is used, not only kept


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(0, 2**32))
def test_arrivals_that_are_late_by_differing_times_still_keep_the_promise(
    new_limiter: NewLimiter, count: int, seed: int
) -> None:
    limit = Limit("account", "account", Rate(count, 60_000_000), margin=0.005)
    limiter, now, arrivals, chance = new_limiter(), START_US, list[int](), random.Random(seed)
    for _ in range(2 * count + 2):
        decision = limiter.acquire([limit], now_us=now)
        if decision.granted:
            arrivals.append(now + chance.randint(0, jitter_us(limit)))
        now = next_us(decision) + chance.choice([0, 0, chance.randint(0, 200_000)])
    assert most_in_a_window(arrivals, 60_000_000) <= count


@pytest.mark.parametrize(("rate", "minutes"), [("20/minute", 20), ("600/minute", 2)])
def test_a_caller_that_always_wakes_late_gets_99_percent_and_never_more_than_count(
    limiter: Limiter, rate: str, minutes: int
) -> None:
    limit = Limit("account", "account", Rate.parse(rate), margin=0.005)
    chance, now, granted, calls = random.Random(7), START_US, list[int](), 0
    end = START_US + minutes * 60_000_000
    while now < end:
        decision = limiter.acquire([limit], count=3, now_us=now)
        calls += 1
        granted += [now] * decision.granted
        now = next_us(decision) + chance.randint(5_000, 60_000)
    assert len(granted) >= 0.99 * limit.rate.count * minutes
    assert most_in_a_window(granted, limit.rate.period_us + jitter_us(limit)) <= limit.rate.count
    assert calls <= 1.1 * len(granted)  # whoever sleeps until `next_at` is not refused


@pytest.mark.parametrize("burst", [1, 5, 19, 20])
def test_a_burst_goes_at_once_and_the_rest_of_count_within_the_period(limiter: Limiter, burst: int) -> None:
    limit = Limit("account", "account", Rate.parse("20/minute"), burst=burst)
    assert limiter.acquire([limit], 20, now_us=START_US).granted == burst
    then, now = 0, START_US
    while now < START_US + 60_000_000:
        decision = limiter.acquire([limit], 20, now_us=now)
        then += decision.granted
        now = next_us(decision)
    assert then == 20 - burst


def test_twenty_a_minute_go_out_one_each_three_seconds(limiter: Limiter) -> None:
    limit, now, granted = Limit("account", "account", Rate.parse("20/minute")), START_US, list[int]()
    for _ in range(40):
        decision = limiter.acquire([limit], 3, now_us=now)
        granted += [now] * decision.granted
        now = next_us(decision)
    assert [b - a for a, b in pairwise(granted)] == [3_000_000] * (len(granted) - 1)
    assert len(granted) == 40


def test_a_classic_bucket_gives_count_at_once_and_refills_at_count_per_period(limiter: Limiter) -> None:
    limit = Limit("api", "user:7", Rate.parse("1000/minute"), kind="bucket")
    assert limiter.acquire([limit], 5000, now_us=START_US).granted == 1000
    assert limiter.acquire([limit], 5000, now_us=START_US + 59_999).granted == 0
    assert limiter.acquire([limit], 5000, now_us=START_US + 30_000_000).granted == 500
    assert limiter.acquire([limit], 5000, now_us=START_US + 90_000_000).granted == 1000


def test_a_pair_of_business_and_recipient_is_a_bucket_of_45_at_one_in_six_seconds(limiter: Limiter) -> None:
    limit = Limit("pair", "a:b", Rate.parse("1/6 s"), burst=45, kind="bucket")
    assert limiter.acquire([limit], 100, now_us=START_US).granted == 45
    assert limiter.acquire([limit], 100, now_us=START_US + 5_999_999).granted == 0
    assert limiter.acquire([limit], 100, now_us=START_US + 12_000_000).granted == 2
