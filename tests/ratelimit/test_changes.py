"""Limits that change while running, clocks that step, and states that nobody wrote on purpose."""

from collections.abc import Callable

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit import Limit, Limiter, Rate
from ratelimit.decision import to_us
from tests.ratelimit.oracle import START_US, contents, most_in_a_window, next_us

NewLimiter = Callable[[], Limiter]
MINUTE_US = 60_000_000
HOUR_US = 3_600_000_000


def account(count: int, burst: int = 1, kind: str = "token-bucket", margin: float = 0.0) -> Limit:
    return Limit("account", "account:7", Rate(count, MINUTE_US), burst=burst, kind=kind, margin=margin)


@st.composite
def versions(draw: st.DrawFn) -> Limit:
    """A version of the one limit: another count, another burst, another margin, the same period."""
    count = draw(st.integers(1, 40))
    return account(count, draw(st.integers(1, count)), margin=draw(st.sampled_from([0.0, 0.005])))


@settings(max_examples=120)
@given(
    st.lists(
        st.tuples(versions(), st.integers(1, 30), st.integers(0, 3), st.integers(0, 2 * MINUTE_US)),
        min_size=2,
        max_size=6,
    )
)
def test_a_change_never_lets_the_new_promise_be_broken(
    new_limiter: NewLimiter, phases: list[tuple[Limit, int, int, int]]
) -> None:
    """Not even in a window that reaches back over the change: each grant counts what the old limit had let through."""
    limiter, now, granted = new_limiter(), START_US, list[int]()
    for limit, calls, count, rest in phases:
        for _ in range(calls):
            decision = limiter.acquire([limit], count + 1, now_us=now)
            granted += [now] * decision.granted
            length = limit.rate.period_us + int(limit.rate.period_us * limit.margin / 2)
            if decision.granted:
                assert sum(1 for instant in granted if instant > now - length) <= limit.rate.count
            now = next_us(decision)
        now += rest


@settings(max_examples=60)
@given(versions(), versions(), st.integers(1, 40), st.integers(0, MINUTE_US))
def test_the_quoted_instant_stays_exact_over_a_change_and_a_refusal_writes_nothing(
    new_limiter: NewLimiter, server: redis.Redis, old: Limit, new: Limit, used: int, wait: int
) -> None:
    limiter, last, now = new_limiter(), START_US, START_US
    for _ in range(used):
        last, now = now, next_us(limiter.acquire([old], now_us=now))
    now = max(last, now - wait)
    before = contents(server, limiter)
    refused = limiter.acquire([new], now_us=now)
    if refused.granted:
        return
    assert refused.retry_at is not None
    quoted = to_us(refused.retry_at)
    assert limiter.acquire([new], now_us=(now + quoted) // 2 if quoted - now > 1 else now).retry_at == refused.retry_at
    assert limiter.acquire([new], now_us=quoted - 1).granted == 0
    assert contents(server, limiter) == before
    assert limiter.acquire([new], now_us=quoted).granted == 1


def test_nobody_waits_longer_than_the_period_after_a_change(limiter: Limiter) -> None:
    wide, narrow = account(6000, 3000), account(1)
    assert limiter.acquire([wide], 3000, now_us=START_US).granted == 3000
    refused = limiter.acquire([narrow], now_us=START_US)
    assert refused.retry_at is not None
    assert to_us(refused.retry_at) == START_US + MINUTE_US


def test_a_raised_limit_is_felt_at_once(limiter: Limiter) -> None:
    limiter.acquire([account(6)], now_us=START_US)
    assert next_us(limiter.acquire([account(6)], now_us=START_US)) == START_US + 10_000_000
    assert next_us(limiter.acquire([account(60)], now_us=START_US)) == START_US + 1_000_000


def test_after_lowering_a_full_minute_of_the_old_rate_counts_against_the_new_one(limiter: Limiter) -> None:
    now, granted = START_US, list[int]()
    for _ in range(60):
        granted.append(now)
        now = next_us(limiter.acquire([account(60)], now_us=now))
    decision = limiter.acquire([account(20)], now_us=now)
    assert decision.granted == 0
    # 60 went out, one each second; the next may go when only 19 of them are younger than a minute.
    assert next_us(decision) == granted[40] + MINUTE_US


def test_a_burst_just_before_a_lower_limit_is_not_forgotten(limiter: Limiter) -> None:
    """With the debt kept as plain time, 20 -> 10 a minute re-reads 5 units as 2.5 and lets two more go."""
    assert limiter.acquire([account(20, 5)], 5, now_us=START_US).granted == 5
    assert limiter.acquire([account(10, 5)], 5, now_us=START_US).granted == 0


@pytest.mark.parametrize(("old", "new"), [(10, 20), (20, 10)])
def test_a_bucket_keeps_the_same_number_of_tokens_over_a_change(limiter: Limiter, old: int, new: int) -> None:
    limiter.acquire([account(old, kind="bucket")], old - 3, now_us=START_US)
    used = limiter.peek([account(new, kind="bucket")], now_us=START_US).usage[0].used
    assert used == min(old - 3, new)


@pytest.mark.parametrize("kind", ["window", "distinct"])
def test_the_exact_kinds_are_lowered_exactly(limiter: Limiter, kind: str) -> None:
    for i in range(6):
        assert limiter.acquire([account(6, kind=kind)], member=f"m{i}", now_us=START_US + i).granted == 1
    refused = limiter.acquire([account(3, kind=kind)], member="new", now_us=START_US + 10)
    assert next_us(refused) == START_US + 3 + MINUTE_US
    assert limiter.acquire([account(8, kind=kind)], 3, member=["x", "y", "z"], now_us=START_US + 10).granted == 2


def test_pausing_burns_nothing(limiter: Limiter) -> None:
    """Whoever is paused does not call, and finds all of it after."""
    limit = account(20, 5)
    limiter.acquire([limit], 5, now_us=START_US)
    assert limiter.acquire([limit], 5, now_us=START_US + 10 * MINUTE_US).granted == 5


@pytest.mark.parametrize("step", [HOUR_US, -HOUR_US, -2_000_000])
@pytest.mark.parametrize("kind", ["token-bucket", "bucket", "window", "distinct"])
def test_a_clock_that_steps_stalls_nobody_for_longer_than_the_limit_itself_would(
    limiter: Limiter, kind: str, step: int
) -> None:
    limit = account(6, 3 if kind == "token-bucket" else 1, kind=kind)
    names = iter(range(1000))

    def acquire(now: int) -> int:
        return limiter.acquire([limit], member=str(next(names)), now_us=now).granted

    now = START_US
    assert sum(acquire(now + i) for i in range(20)) == (3 if kind == "token-bucket" else 6)
    now += step
    longest = MINUTE_US if kind in ("window", "distinct") else 15_000_000
    assert any(acquire(instant) for instant in range(now, now + longest + 1_000_000, 500_000))


@pytest.mark.parametrize("kind", ["token-bucket", "bucket", "window", "distinct"])
def test_a_clock_that_steps_back_gives_nothing_away(limiter: Limiter, kind: str) -> None:
    limit = account(6, 3 if kind == "token-bucket" else 1, kind=kind)
    members = [str(i) for i in range(20)]
    limiter.acquire([limit], 20, member=members, now_us=START_US)
    again = [f"again {i}" for i in range(20)]
    assert limiter.acquire([limit], 20, member=again, now_us=START_US - HOUR_US).granted == 0


def test_after_a_step_back_the_use_goes_on_at_the_promised_rate(limiter: Limiter) -> None:
    limit, now, granted = account(20, 3), START_US, list[int]()
    limiter.acquire([limit], 3, now_us=now)
    now -= HOUR_US
    for _ in range(80):
        decision = limiter.acquire([limit], 3, now_us=now)
        granted += [now] * decision.granted
        now = next_us(decision)
    assert most_in_a_window(granted, MINUTE_US) <= 20
    assert len(granted) >= 79


GARBAGE = [
    b"",
    b"garbage",
    b"123",
    b"-5 -5 -5",
    b"nan nan nan",
    b"99999999999999999999 3000000 99999999999999999999",
    b"99999999999999999999 3000000 1",
    b"1795000000000000 0 1795000000000000",
    b"1795000000000000 3000000 1795000000000000 held",
    b"\x00\xff\xfe" * 1000,
]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("kind", ["token-bucket", "bucket", "window", "distinct"])
def test_garbage_in_a_key_never_stops_a_limit_for_longer_than_its_period(
    limiter: Limiter, server: redis.Redis, kind: str, garbage: bytes
) -> None:
    limit = account(20, kind=kind)
    key = limiter.prefix + limit.tail
    server.set(key, garbage)
    assert any(
        limiter.acquire([limit], member="a", now_us=START_US + second * 1_000_000).granted for second in range(61)
    )
    assert server.pttl(key) > 0


@pytest.mark.parametrize("garbage", [garbage for garbage in GARBAGE if not garbage.startswith(b"9")])
def test_a_token_bucket_takes_what_is_no_state_for_an_empty_bucket(
    limiter: Limiter, server: redis.Redis, garbage: bytes
) -> None:
    limit = account(20, 5)
    server.set(limiter.prefix + limit.tail, garbage)
    decision = limiter.acquire([limit], 20, now_us=START_US)
    assert decision.granted == 0
    assert next_us(decision) == START_US + 3_750_000
    assert limiter.acquire([limit], 20, now_us=next_us(decision)).granted == 1


@pytest.mark.parametrize("kind", ["token-bucket", "bucket", "window", "distinct"])
def test_a_key_of_another_type_is_replaced(limiter: Limiter, server: redis.Redis, kind: str) -> None:
    limit = account(20, kind=kind)
    key = limiter.prefix + limit.tail
    server.hset(key, "field", "value")
    granted = [limiter.acquire([limit], member="a", now_us=START_US + i * 3_000_000).granted for i in range(2)]
    assert 1 in granted
    assert server.type(key) != b"hash"


def test_garbage_among_the_stamps_of_a_window_is_no_stamp(limiter: Limiter, server: redis.Redis) -> None:
    limit = account(3, kind="window")
    key = limiter.prefix + limit.tail
    server.rpush(key, START_US - 1, b"garbage", START_US - 2, b"more")
    assert limiter.acquire([limit], 3, now_us=START_US).granted == 1
    assert limiter.acquire([limit], 3, now_us=START_US).granted == 0
    assert next_us(limiter.acquire([limit], now_us=START_US)) == START_US - 2 + MINUTE_US


def test_data_that_is_lost_costs_one_bucket_and_no_more(limiter: Limiter, server: redis.Redis) -> None:
    limit, now, granted = account(20, 3), START_US, list[int]()
    for step in range(60):
        if step == 30:
            server.delete(limiter.prefix + limit.tail)
        decision = limiter.acquire([limit], 5, now_us=now)
        granted += [now] * decision.granted
        now = next_us(decision)
    assert most_in_a_window(granted, MINUTE_US) <= 20 + 3
