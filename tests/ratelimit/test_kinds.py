"""What sets the kinds apart: the exact log, different members, the penalty, and the `limits` library's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit import CapabilityMissing, CostAboveCapacity, Decision, InvalidLimit, Limit, Limiter, Rate, ScriptFailed
from ratelimit.adapters import LimitsBackend, take_in_turn
from ratelimit.decision import to_datetime, to_us
from ratelimit.kinds import Counted, TokenBucket, register
from tests.ratelimit.oracle import START_US, contents, next_us

NewLimiter = Callable[[], Limiter]
MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
ACCOUNT = Limit("account", "account:7", Rate.parse("20/minute"), burst=5)
TIER = Limit("portfolio tier", "portfolio:1", Rate.parse("4/day"), kind="distinct")


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


@settings(max_examples=60)
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


# penalty


def test_a_penalty_is_never_shortened_by_another(limiter: Limiter, server: redis.Redis) -> None:
    for seconds in (5, 3, 4):
        until = to_datetime(START_US + seconds * 1_000_000)
        limiter.penalize(ACCOUNT, until=until, now_us=START_US)
    assert next_us(limiter.peek([ACCOUNT], now_us=START_US)) == START_US + 5_000_000
    assert server.pttl(limiter.prefix + ACCOUNT.tail) > 0


def test_a_penalty_in_the_past_is_none(limiter: Limiter, server: redis.Redis) -> None:
    limiter.penalize(ACCOUNT, until=datetime.now(UTC) - timedelta(seconds=1))
    assert not contents(server, limiter)
    assert limiter.acquire([ACCOUNT], 9).granted == 5


def test_a_naive_datetime_is_refused(limiter: Limiter) -> None:
    with pytest.raises(ValueError, match="naive"):
        limiter.penalize(ACCOUNT, until=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("pause_s", [1, 30, 600])
def test_a_penalised_token_bucket_resumes_with_one_unit_and_no_burst(limiter: Limiter, pause_s: int) -> None:
    """Whoever has just complained is not sent a burst; the pause may be longer than the period."""
    until = START_US + pause_s * 1_000_000
    limiter.penalize(ACCOUNT, until=to_datetime(until), now_us=START_US)
    refused = limiter.acquire([ACCOUNT], 5, now_us=START_US)
    assert (refused.granted, refused.retry_at, refused.blocked_by) == (0, to_datetime(until), "account")
    assert limiter.acquire([ACCOUNT], 5, now_us=until - 1).granted == 0
    resumed = limiter.acquire([ACCOUNT], 5, now_us=until)
    assert resumed.granted == 1
    assert next_us(resumed) == until + 3_750_000  # 20/minute with a burst of 5


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
    with pytest.raises(CapabilityMissing, match="cannot be penalised"):
        limiter.penalize(other, until=datetime.now(UTC))


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
def test_the_strategies_of_limits_can_be_chosen(limiter: Limiter, kind: str) -> None:
    foreign = Limit("account", "account:7", Rate.parse("5/hour"), kind=kind)
    assert limiter.peek([foreign], 3).granted == 3
    assert limiter.acquire([foreign], 3).granted == 3
    assert limiter.acquire([foreign], 3).granted == 2
    refused = limiter.acquire([foreign])
    assert (refused.granted, refused.blocked_by) == (0, "account")
    assert refused.retry_at is not None
    assert refused.retry_at > refused.now
    assert refused.usage[0].remaining == 0
    with pytest.raises(CostAboveCapacity):
        limiter.peek([foreign], cost=6)


def test_a_foreign_limit_works_beside_ours_and_ours_stay_uncharged_when_it_refuses(limiter: Limiter) -> None:
    foreign = Limit("user", "user:1", Rate.parse("2/hour"), kind="moving-window")
    ours = [
        Limit("account", "account:7", Rate.parse("100/hour"), burst=50),
        Limit("retries", "message:1", Rate.parse("100/hour"), kind="window"),
        Limit("tier", "portfolio:1", Rate.parse("100/day"), kind="distinct"),
    ]
    decisions = [limiter.acquire([*ours, foreign], 3, member=["a", "b", "c"]) for _ in range(2)]
    assert [decision.granted for decision in decisions] == [2, 0]
    assert decisions[1].blocked_by == "user"
    assert [usage.used for usage in limiter.peek(ours).usage] == [2, 2, 2]
    assert limiter.peek([*ours, foreign], 3).granted == 0


def test_of_two_foreign_limits_the_one_with_room_stays_uncharged_when_the_other_refuses(limiter: Limiter) -> None:
    narrow = Limit("narrow", "n", Rate.parse("5/hour"), kind="moving-window")
    wide = Limit("wide", "w", Rate.parse("6/hour"), kind="moving-window")
    limiter.acquire([wide], 6)
    assert limiter.acquire([narrow, wide], 1).granted == 0
    assert limiter.peek([narrow]).usage[0].used == 0


@pytest.mark.parametrize(("taken", "left"), [(4, 2), (6, 0)])
def test_who_comes_between_the_look_and_the_charge_costs_ours_too_much_and_never_too_little(
    limiter: Limiter, server: redis.Redis, taken: int, left: int
) -> None:
    ours = Limit("account", "account:7", Rate.parse("100/hour"), kind="window")
    foreign = Limit("user", "user:1", Rate.parse("6/hour"), kind="moving-window")

    def charge_after_another_caller(limits: Sequence[Limit]) -> Decision:
        assert limiter.acquire([foreign], taken).granted == taken
        return limiter.acquire(limits, 3)

    seen = limiter.peek([ours, foreign], 3)
    decision = take_in_turn(LimitsBackend(server, limiter.prefix), charge_after_another_caller, seen, 1)
    assert (seen.granted, decision.granted) == (3, left)
    assert [usage.used for usage in decision.usage] == [3, 6]


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

    def parameters(self, rate: Rate, burst: int, margin: float) -> Counted:
        del burst, margin
        return Counted(argv=(str(rate.count).encode(),), capacity=rate.count)


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


register(Tickets(), lua=TICKETS_LUA)


def test_a_kind_of_ones_own_works_beside_the_others(limiter: Limiter) -> None:
    tickets = Limit("sold out", "concert", Rate.parse("5/day"), kind="tickets")
    account = Limit("account", "account:7", Rate.parse("20/minute"), burst=9)
    decision = limiter.acquire([account, tickets], 4, now_us=START_US)
    assert decision.granted == 4
    assert limiter.acquire([account, tickets], 4, now_us=START_US).granted == 1
    assert limiter.acquire([account, tickets], now_us=START_US).blocked_by == "sold out"
    assert limiter.peek([account, tickets], now_us=START_US).usage[1].used == 5


def test_a_script_that_fails_is_not_taken_for_an_outage(limiter: Limiter, server: redis.Redis) -> None:
    tickets = Limit("sold out", "concert", Rate.parse("5/day"), kind="tickets")
    server.sadd(limiter.prefix + tickets.tail, "tickets are no set")
    with pytest.raises(ScriptFailed, match="WRONGTYPE"):
        limiter.acquire([tickets])


@pytest.mark.parametrize("kind", [TokenBucket(), TokenBucket(name="other", lua="other")])
def test_a_kind_must_not_clash_with_another(kind: TokenBucket) -> None:
    with pytest.raises(InvalidLimit, match="clashes"):
        register(kind)
