"""Every answer compared with a plain oracle: how many, when, why; and that a refusal leaves no trace."""

from collections.abc import Callable

import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit import Limit, Limiter, Rate
from ratelimit.decision import to_us
from tests.ratelimit.oracle import START_US, contents, next_us, room_and_opening

NewLimiter = Callable[[], Limiter]


@st.composite
def limits(draw: st.DrawFn, key: str) -> Limit:
    """Any kind that the oracle knows, with intervals that are no whole numbers too (7 a minute)."""
    rate = Rate(draw(st.integers(1, 12)), draw(st.sampled_from([6_000_000, 60_000_000, 86_400_000_000])))
    kind = draw(st.sampled_from(["token-bucket", "bucket", "window"]))
    burst = 1
    if kind == "token-bucket":
        burst = draw(st.integers(1, rate.count))
    elif kind == "bucket":
        burst = draw(st.integers(1, 15))
    return Limit(f"the {key}", key, rate, burst=burst, kind=kind, margin=draw(st.sampled_from([0.0, 0.005])))


several_limits = st.integers(1, 4).flatmap(lambda n: st.tuples(*(limits(f"limit {i}") for i in range(n))))
gaps = st.one_of(st.integers(0, 2), st.integers(0, 20_000_000), st.just("until it is free"))


@settings(max_examples=80)
@given(several_limits, st.lists(st.tuples(gaps, st.integers(1, 20)), min_size=1, max_size=25))
def test_every_decision_is_the_oracles(
    new_limiter: NewLimiter, server: redis.Redis, chosen: tuple[Limit, ...], steps: list[tuple[int | str, int]]
) -> None:
    limiter, now, ledger, free_at = new_limiter(), START_US, list[int](), START_US
    for gap, count in steps:
        now = max(now, free_at) if isinstance(gap, str) else now + gap
        rooms, openings = zip(*(room_and_opening(limit, ledger, now) for limit in chosen), strict=True)
        before = contents(server, limiter)
        decision = limiter.acquire(chosen, count, now_us=now)

        assert decision.granted == max(min(count, *rooms), 0)
        assert to_us(decision.now) == now
        if decision.granted:
            assert (decision.retry_at, decision.blocked_by) == (None, None)
            ledger += [now] * decision.granted
        else:
            assert decision.retry_at is not None
            assert to_us(decision.retry_at) == max(openings)
            assert decision.blocked_by == chosen[openings.index(max(openings))].name
            assert contents(server, limiter) == before
        free_at = max(room_and_opening(limit, ledger, now)[1] for limit in chosen)
        assert next_us(decision) == free_at


@settings(max_examples=60)
@given(several_limits, st.lists(st.tuples(st.integers(0, 9_000_000), st.integers(1, 9)), max_size=15))
def test_the_quoted_instant_is_exact_to_the_microsecond(
    new_limiter: NewLimiter, chosen: tuple[Limit, ...], steps: list[tuple[int, int]]
) -> None:
    limiter, now = new_limiter(), START_US
    for gap, count in [*steps, (0, 100), (0, 100)]:
        now += gap
        limiter.acquire(chosen, count, now_us=now)
    refused = limiter.acquire(chosen, now_us=now)
    assert refused.granted == 0
    assert refused.retry_at is not None
    quoted = to_us(refused.retry_at)
    assert limiter.acquire(chosen, now_us=quoted - 1).granted == 0
    assert limiter.peek(chosen, now_us=quoted).granted == 1
    assert limiter.acquire(chosen, now_us=quoted).granted == 1


@settings(max_examples=30)
@given(several_limits, st.lists(st.tuples(st.integers(0, 9_000_000), st.integers(1, 9)), max_size=10))
def test_peek_answers_what_acquire_would_and_changes_nothing(
    new_limiter: NewLimiter, server: redis.Redis, chosen: tuple[Limit, ...], steps: list[tuple[int, int]]
) -> None:
    limiter, now = new_limiter(), START_US
    for gap, count in steps:
        now += gap
        before = contents(server, limiter)
        peeked = limiter.peek(chosen, count, now_us=now)
        assert contents(server, limiter) == before
        decision = limiter.acquire(chosen, count, now_us=now)
        assert peeked.granted == decision.granted
        assert (peeked.retry_at, peeked.blocked_by) == (decision.retry_at, decision.blocked_by)
        remaining = [usage.remaining - decision.granted for usage in peeked.usage]
        assert [usage.remaining for usage in decision.usage] == remaining


@settings(max_examples=30)
@given(several_limits, st.integers(1, 20))
def test_every_key_expires(new_limiter: NewLimiter, server: redis.Redis, chosen: tuple[Limit, ...], count: int) -> None:
    limiter = new_limiter()
    assert limiter.acquire(chosen, count, now_us=START_US).granted
    for limit in chosen:
        key = limiter.prefix + limit.tail
        longest_ms = 1.01 * limit.rate.period_us * (limit.burst + 1) / 1000
        assert 0 < server.pttl(key) <= longest_ms + 10


def test_a_refusal_by_one_limit_takes_nothing_from_the_others(limiter: Limiter) -> None:
    """`limits` asked in turn leaves the wider one charged: 20 sent, and 0 of 100 left instead of 80."""
    user = Limit("user", "user:1", Rate.parse("100/minute"), kind="window")
    account = Limit("account", "account:7", Rate.parse("20/minute"), kind="window")
    granted = sum(limiter.acquire([user, account], now_us=START_US + i).granted for i in range(100))
    assert granted == 20
    assert [usage.remaining for usage in limiter.peek([user, account], now_us=START_US + 200).usage] == [80, 0]


def test_the_reason_is_the_limit_that_takes_longest(limiter: Limiter) -> None:
    slow = Limit("slow", "a", Rate.parse("1/minute"))
    quick = Limit("quick", "b", Rate.parse("1/s"))
    limiter.acquire([quick, slow], now_us=START_US)
    decision = limiter.acquire([quick, slow], now_us=START_US)
    assert decision.blocked_by == "slow"
    assert limiter.acquire([quick], now_us=START_US).blocked_by == "quick"


def test_usage_says_how_each_limit_stands(limiter: Limiter) -> None:
    api = Limit("api", "user:7", Rate.parse("10/minute"), kind="bucket")
    retries = Limit("retries", "message:9", Rate.parse("3/5 minutes"), kind="window")
    decision = limiter.acquire([api, retries], 3, now_us=START_US)
    first, second = decision.usage
    assert (first.capacity, first.used, first.remaining, first.next_at) == (10, 3, 7, None)
    assert (second.capacity, second.used, second.remaining) == (3, 3, 0)
    assert second.next_at is not None
    assert to_us(second.next_at) == START_US + 300_000_000
    assert second.limit is retries


def test_usage_is_never_negative_after_a_limit_was_lowered_or_under_a_margin_of_several_units(limiter: Limiter) -> None:
    def retries(count: int) -> Limit:
        return Limit("retries", "message:9", Rate(count, 60_000_000), kind="window")

    limiter.acquire([retries(6)], 6, now_us=START_US)
    [lowered] = limiter.peek([retries(3)], now_us=START_US).usage
    assert (lowered.capacity, lowered.used, lowered.remaining) == (3, 6, 0)
    # 150 ms of tolerance at one unit each 60 ms.
    [rested] = limiter.peek([Limit("a", "a", Rate.parse("1000/minute"), margin=0.005)], now_us=START_US).usage
    assert (rested.capacity, rested.used, rested.remaining) == (3, 0, 3)


def test_a_cost_is_taken_for_every_unit_from_every_limit(limiter: Limiter) -> None:
    api = Limit("api", "user:7", Rate.parse("10/minute"), kind="bucket")
    log = Limit("log", "user:7", Rate.parse("9/minute"), kind="window")
    assert limiter.acquire([api, log], 5, cost=4, now_us=START_US).granted == 2
    assert [usage.remaining for usage in limiter.peek([api, log], now_us=START_US).usage] == [2, 1]
    refused = limiter.acquire([api, log], cost=4, now_us=START_US)
    assert refused.retry_at is not None
    assert limiter.acquire([api, log], cost=4, now_us=to_us(refused.retry_at) - 1).granted == 0
    assert limiter.acquire([api, log], cost=4, now_us=to_us(refused.retry_at)).granted == 1


def test_without_a_time_the_clock_of_redis_decides(limiter: Limiter, server: redis.Redis) -> None:
    limit = Limit("account", "account:7", Rate.parse("1/hour"))
    seconds, microseconds = server.time()
    decision = limiter.acquire([limit])
    assert decision.granted == 1
    assert 0 <= to_us(decision.now) - (seconds * 1_000_000 + microseconds) < 60_000_000
    refused = limiter.acquire([limit])
    assert refused.retry_at is not None
    assert to_us(refused.retry_at) == to_us(decision.now) + 3_600_000_000


def test_decisions_can_be_read_in_a_log(limiter: Limiter) -> None:
    limit = Limit("account", "account:7", Rate.parse("20/minute"))
    assert repr(limiter.acquire([limit], now_us=START_US)).startswith("<Decision granted=1 now=2026-")
    assert "blocked_by='account' retry_at=2026-" in repr(limiter.acquire([limit], now_us=START_US))
