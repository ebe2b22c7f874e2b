"""What sets the kinds apart: the exact log, different members, the cool-down, and the `limits` library's."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit import Capability, CapabilityMissing, InvalidLimit, Limit, Limiter, Rate
from ratelimit.decision import to_datetime, to_us
from ratelimit.kinds import Plan, TokenBucket, register
from tests.ratelimit.oracle import START_US, contents, next_us

NewLimiter = Callable[[], Limiter]
MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
TIER = Limit("portfolio tier", "portfolio:1", Rate.parse("4/day"), kind="distinct")
COOL_DOWN = Limit("cool-down", "account:7", kind="until")


# window


def test_a_window_gives_all_of_count_at_once_and_each_back_exactly_a_period_later(limiter: Limiter) -> None:
    retries = Limit("retries", "message:1", Rate.parse("10/5 minutes"), kind="window")
    assert limiter.acquire([retries], 4, now_us=START_US).granted == 4
    assert limiter.acquire([retries], 10, now_us=START_US + 100).granted == 6
    assert limiter.acquire([retries], 10, now_us=START_US + 5 * MINUTE_US - 1).granted == 0
    assert limiter.acquire([retries], 10, now_us=START_US + 5 * MINUTE_US).granted == 4
    assert limiter.acquire([retries], 10, now_us=START_US + 5 * MINUTE_US + 100).granted == 6


def test_a_window_keeps_no_more_stamps_than_count(limiter: Limiter, server: redis.Redis) -> None:
    retries = Limit("retries", "message:1", Rate.parse("10/minute"), kind="window")
    for i in range(200):
        limiter.acquire([retries], 3, now_us=START_US + i * 2_500_000)
    assert server.llen(limiter.prefix + retries.tail) <= 10


def test_a_log_that_would_be_too_long_is_refused() -> None:
    with pytest.raises(InvalidLimit, match="too long a log"):
        Limit("a", "a", Rate.parse("10001/day"), kind="window")


# distinct


def test_a_member_that_is_in_costs_nothing(limiter: Limiter) -> None:
    for member in "abcd":
        assert limiter.acquire([TIER], member=member, now_us=START_US).granted == 1
    assert limiter.acquire([TIER], member="e", now_us=START_US).granted == 0
    assert limiter.acquire([TIER], 3, member=["a", "c", "a"], now_us=START_US).granted == 3


def test_a_member_that_is_in_stays_in_for_another_period(limiter: Limiter) -> None:
    hour = DAY_US // 24
    limiter.acquire([TIER], 4, member=["a", "b", "c", "d"], now_us=START_US)
    limiter.acquire([TIER], member="a", now_us=START_US + 20 * hour)
    assert limiter.peek([TIER], 9, now_us=START_US + 25 * hour).granted == 3
    assert limiter.peek([TIER], 9, now_us=START_US + 44 * hour).granted == 4


def test_as_many_members_as_fit_are_granted_from_the_front(limiter: Limiter) -> None:
    limiter.acquire([TIER], 2, member=["a", "b"], now_us=START_US)
    decision = limiter.acquire([TIER], 6, member=["a", "c", "c", "d", "e", "b"], now_us=START_US)
    assert decision.granted == 4
    assert decision.usage[0].used == 4


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=4), st.integers(0, DAY_US // 2)),
        max_size=25,
    )
)
def test_never_more_than_count_members_in_any_period(
    new_limiter: NewLimiter, server: redis.Redis, calls: list[tuple[list[str], int]]
) -> None:
    limiter, now, sent = new_limiter(), START_US, list[tuple[int, str]]()
    for members, gap in calls:
        now += gap
        met = {member for instant, member in sent if instant > now - DAY_US}
        expected = 0
        for member in members:
            if len(met | {member}) > 4:
                break
            met.add(member)
            expected += 1
        before = contents(server, limiter)
        decision = limiter.acquire([TIER], len(members), member=members, now_us=now)
        assert decision.granted == expected
        sent += [(now, member) for member in members[:expected]]
        if not expected:
            assert contents(server, limiter) == before
            assert decision.retry_at is not None
            quoted = to_us(decision.retry_at)
            assert limiter.peek([TIER], member=members[0], now_us=quoted - 1).granted == 0
            assert limiter.peek([TIER], member=members[0], now_us=quoted).granted == 1


def test_members_must_be_named_but_a_look_needs_none(limiter: Limiter) -> None:
    with pytest.raises(InvalidLimit, match="needs a member for each unit"):
        limiter.acquire([TIER], now_us=START_US)
    with pytest.raises(InvalidLimit, match="counts members"):
        limiter.acquire([TIER], cost=2, member="a", now_us=START_US)
    limiter.acquire([TIER], member="a", now_us=START_US)
    peeked = limiter.peek([TIER], 9, now_us=START_US)
    assert (peeked.granted, peeked.usage[0].remaining) == (3, 3)


# until


def test_nothing_passes_before_the_end_of_a_cool_down(limiter: Limiter, server: redis.Redis) -> None:
    limiter.penalize("account:7", until=to_datetime(START_US + 5_000_000), now_us=START_US)
    refused = limiter.acquire([COOL_DOWN], now_us=START_US)
    assert (refused.granted, refused.blocked_by) == (0, "cool-down")
    assert refused.retry_at == to_datetime(START_US + 5_000_000)
    assert limiter.acquire([COOL_DOWN], now_us=START_US + 4_999_999).granted == 0
    assert limiter.acquire([COOL_DOWN], 7, now_us=START_US + 5_000_000).granted == 7
    assert 0 < server.pttl(limiter.prefix + COOL_DOWN.tail) <= 5_002


def test_a_penalty_is_never_shortened_by_another(limiter: Limiter) -> None:
    for seconds in (5, 3, 4):
        until = to_datetime(START_US + seconds * 1_000_000)
        limiter.penalize("account:7", until=until, now_us=START_US)
    assert next_us(limiter.peek([COOL_DOWN], now_us=START_US)) == START_US + 5_000_000


def test_a_penalty_in_the_past_is_none(limiter: Limiter, server: redis.Redis) -> None:
    limiter.penalize("account:7", until=datetime.now(UTC) - timedelta(seconds=1))
    assert not contents(server, limiter)
    assert limiter.acquire([COOL_DOWN]).granted == 1


def test_a_naive_datetime_is_refused(limiter: Limiter) -> None:
    with pytest.raises(ValueError, match="naive"):
        limiter.penalize("account:7", until=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("pause_s", [1, 30, 600])
def test_a_penalised_token_bucket_resumes_with_one_unit_and_no_burst(limiter: Limiter, pause_s: int) -> None:
    """Whoever has just complained is not sent a burst; the pause may be longer than the period."""
    account = Limit("account", "account:7", Rate.parse("20/minute"), burst=5)
    until = START_US + pause_s * 1_000_000
    limiter.penalize(account, "account:7", until=to_datetime(until), now_us=START_US)
    refused = limiter.acquire([account, COOL_DOWN], 5, now_us=START_US)
    assert refused.retry_at == to_datetime(until)
    assert limiter.acquire([account], 5, now_us=until - 1).granted == 0
    resumed = limiter.acquire([account, COOL_DOWN], 5, now_us=until)
    assert resumed.granted == 1
    assert next_us(resumed) == until + account.plan.interval_us


def test_a_penalty_holds_while_the_rate_is_halved(limiter: Limiter) -> None:
    before = Limit("account", "account:7", Rate.parse("20/minute"))
    halved = Limit("account", "account:7", Rate.parse("10/minute"))
    until = START_US + 90_000_000
    limiter.acquire([before], now_us=START_US)
    limiter.penalize(before, until=to_datetime(until), now_us=START_US + 1)
    assert limiter.acquire([halved], now_us=until - 1).granted == 0
    first = limiter.acquire([halved], 3, now_us=next_us(limiter.peek([halved], now_us=until)))
    assert first.granted == 1
    assert to_us(first.now) - until <= MINUTE_US


@pytest.mark.parametrize("kind", ["window", "distinct", "moving-window"])
def test_a_kind_that_cannot_be_penalised_says_so(limiter: Limiter, kind: str) -> None:
    other = Limit("a", "a", Rate.parse("20/minute"), kind=kind)
    assert Capability.PENALTY not in other.capabilities
    with pytest.raises(CapabilityMissing, match="cannot be penalised"):
        limiter.penalize(other, until=datetime.now(UTC))


def test_what_is_cleared_is_as_if_never_used(limiter: Limiter, server: redis.Redis) -> None:
    account = Limit("account", "account:7", Rate.parse("1/minute"))
    limiter.acquire([account], now_us=START_US)
    limiter.penalize("account:7", until=to_datetime(START_US + 1_000_000), now_us=START_US)
    limiter.clear("account:7", account)
    assert not contents(server, limiter)
    assert limiter.acquire([account, COOL_DOWN], now_us=START_US).granted == 1


# the `limits` library


def test_a_fixed_window_lets_nearly_twice_the_limit_through_at_a_boundary_and_ours_does_not(
    limiter: Limiter, server: redis.Redis
) -> None:
    """One unit opens the window, the rest go at its end, and the next window starts at once."""
    fixed = Limit("fixed", "a", Rate.parse("20/minute"), kind="fixed-window")
    limiter.acquire([fixed])
    at_the_end = limiter.acquire([fixed], 100).granted
    for key in contents(server, limiter):
        server.delete(key)  # what the expiry does at the end of the minute
    assert at_the_end + limiter.acquire([fixed], 100).granted == 39

    for ours in (
        Limit("window", "a", Rate.parse("20/minute"), kind="window"),
        Limit("token-bucket", "a", Rate.parse("20/minute"), burst=10),
    ):
        limiter.acquire([ours], now_us=START_US)
        at_the_end = limiter.acquire([ours], 100, now_us=START_US + MINUTE_US - 1).granted
        assert at_the_end + limiter.acquire([ours], 100, now_us=START_US + MINUTE_US).granted <= 20


@pytest.mark.parametrize("kind", ["fixed-window", "moving-window", "sliding-window-counter"])
def test_the_strategies_of_limits_can_be_chosen_and_say_what_they_cannot_do(limiter: Limiter, kind: str) -> None:
    foreign = Limit("account", "account:7", Rate.parse("5/hour"), kind=kind)
    assert foreign.capabilities == frozenset()
    assert limiter.peek([foreign], 3).granted == 3
    first = limiter.acquire([foreign], 3)
    assert (first.granted, first.receipt) == (3, None)
    assert limiter.acquire([foreign], 3).granted == 2
    refused = limiter.acquire([foreign])
    assert (refused.granted, refused.blocked_by) == (0, "account")
    assert refused.retry_at is not None
    assert refused.retry_at > refused.now
    assert refused.usage[0].remaining == 0
    with pytest.raises(CapabilityMissing):
        limiter.clear(foreign)


def test_a_foreign_limit_works_beside_ours_and_ours_are_given_back_when_it_refuses(limiter: Limiter) -> None:
    foreign = Limit("user", "user:1", Rate.parse("2/hour"), kind="moving-window")
    ours = Limit("account", "account:7", Rate.parse("100/hour"), kind="window")
    assert [limiter.acquire([ours, foreign], 3).granted for _ in range(2)] == [2, 0]
    assert limiter.peek([ours]).usage[0].used == 2
    assert limiter.peek([ours, foreign], 3).granted == 0


def test_a_foreign_limit_leaks_what_ours_does_not(limiter: Limiter) -> None:
    """Two of the library's in one call: the one asked first stays charged when the second refuses."""
    narrow = Limit("narrow", "n", Rate.parse("5/hour"), kind="moving-window")
    wide = Limit("wide", "w", Rate.parse("6/hour"), kind="moving-window")
    limiter.acquire([wide], 6)
    assert limiter.acquire([narrow, wide], 1).granted == 0
    assert limiter.peek([narrow]).usage[0].used == 1


@pytest.mark.parametrize(
    ("rate", "burst", "said"), [("1/250 ms", 1, "whole seconds"), ("20/minute", 2, "takes no burst")]
)
def test_what_limits_cannot_keep_is_refused(rate: str, burst: int, said: str) -> None:
    with pytest.raises(InvalidLimit, match=said):
        Limit("a", "a", Rate.parse(rate), burst=burst, kind="fixed-window")


# the protocol


@dataclass(frozen=True)
class Tickets:
    """A kind that this package does not have: COUNT tickets, which never come back."""

    name: str = "tickets"
    letter: str = "T"
    lua: str = "tickets"
    capabilities: frozenset[Capability] = frozenset({Capability.ATOMIC})

    def plan(self, rate: Rate, burst: int, margin: float) -> Plan:
        del burst, margin
        return Plan(argv=(str(rate.count).encode(),), capacity=rate.count)

    def used(self, plan: Plan, level: int) -> int:
        return plan.capacity - self.remaining(plan, level)

    def remaining(self, plan: Plan, level: int) -> int:
        return plan.capacity - level


TICKETS_LUA = """
function measure.T(key, p)
  local sold = tonumber(redis.call('GET', key) or 0)
  local left = math.floor((ARGV[p] - sold) / cost)
  return left, sold, left < 1 and now + 1 or 0, p + 1
end

function charge.T(key, p, sold, granted)
  return redis.call('INCRBY', key, granted * cost), 0, p + 1
end
"""


def test_a_kind_of_ones_own_works_beside_the_others(limiter: Limiter) -> None:
    register(Tickets(), lua=TICKETS_LUA)
    tickets = Limit("sold out", "concert", Rate.parse("5/day"), kind="tickets")
    account = Limit("account", "account:7", Rate.parse("20/minute"), burst=9)
    decision = limiter.acquire([account, tickets], 4, now_us=START_US)
    assert decision.granted == 4
    assert limiter.acquire([account, tickets], 4, now_us=START_US).granted == 1
    assert limiter.acquire([account, tickets], now_us=START_US).blocked_by == "sold out"
    assert decision.receipt is not None
    assert limiter.refund(decision.receipt) == 0
    assert limiter.peek([account, tickets], now_us=START_US).usage[1].used == 5


@pytest.mark.parametrize("kind", [TokenBucket(), TokenBucket(name="other", lua="other")])
def test_a_kind_must_not_clash_with_another(kind: TokenBucket) -> None:
    with pytest.raises(InvalidLimit, match="clashes"):
        register(kind)


def test_only_the_hard_kinds_claim_the_hard_promise() -> None:
    rate = Rate.parse("20/minute")
    hard = {
        kind
        for kind in ("token-bucket", "bucket", "window", "distinct", "fixed-window")
        if Capability.HARD_WINDOW in Limit("a", "a", rate, kind=kind).capabilities
    }
    assert hard == {"token-bucket", "window", "distinct"}
