"""Taking a charge back: only where that cannot break the promise."""

import pickle
import random
from collections.abc import Callable

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit import InvalidLimit, Limit, Limiter, Rate, Receipt
from tests.ratelimit.oracle import START_US, contents, most_in_a_window, next_us

NewLimiter = Callable[[], Limiter]
MINUTE_US = 60_000_000


def limit(count: int, burst: int = 1, kind: str = "token-bucket", key: str = "account:7") -> Limit:
    return Limit(key.partition(":")[0], key, Rate(count, MINUTE_US), burst=burst, kind=kind)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([limit(20), limit(20, 3), limit(20, 10), limit(20, 20), limit(7, kind="window")]),
    st.integers(0, 2**32),
)
def test_refunds_at_random_never_break_the_promise(new_limiter: NewLimiter, account: Limit, seed: int) -> None:
    """TAT -= T, the naive form, breaks it: every refund after another charge lets two units too close together."""
    limiter, now, chance = new_limiter(), START_US, random.Random(seed)
    sent: list[int] = []
    open_receipts: list[tuple[Receipt, int]] = []
    for _ in range(80):
        decision = limiter.acquire([account], chance.randint(1, 4), now_us=now)
        receipt = decision.receipt
        if receipt is not None:
            if chance.random() < 0.4:
                open_receipts.append((receipt, now))
            else:
                sent += [now] * decision.granted
        if open_receipts and chance.random() < 0.6:
            receipt, charged_at = open_receipts.pop(chance.randrange(len(open_receipts)))
            undone = limiter.refund(receipt, chance.randint(1, receipt.granted))
            assert 0 <= undone <= receipt.granted
            sent += [charged_at] * (receipt.granted - undone)
        now = max(next_us(decision), now) if chance.random() < 0.7 else now + chance.randint(0, 1_000_000)
    sent += [charged_at for receipt, charged_at in open_receipts for _ in range(receipt.granted)]
    assert most_in_a_window(sent, MINUTE_US) <= account.rate.count


@pytest.mark.parametrize("kind", ["token-bucket", "bucket", "window"])
def test_a_whole_refund_is_as_if_nothing_had_been_charged(limiter: Limiter, kind: str) -> None:
    account = limit(10, 5 if kind == "token-bucket" else 1, kind)
    room = limiter.peek([account], 99, now_us=START_US).granted
    receipt = limiter.acquire([account], 4, now_us=START_US).receipt
    assert receipt is not None
    assert limiter.refund(receipt) == 4
    assert limiter.peek([account], 99, now_us=START_US).granted == room


@pytest.mark.parametrize("kind", ["token-bucket", "bucket", "window", "distinct"])
def test_a_part_of_a_grant_can_be_refunded(limiter: Limiter, kind: str) -> None:
    account = limit(10, 5 if kind == "token-bucket" else 1, kind)
    receipt = limiter.acquire([account], 4, member=["a", "b", "c", "d"], now_us=START_US).receipt
    assert receipt is not None
    assert limiter.refund(receipt, 3) == 3
    assert limiter.peek([account], now_us=START_US).usage[0].used == 1


def test_a_token_bucket_is_not_refunded_once_another_charge_built_on_it(limiter: Limiter, server: redis.Redis) -> None:
    account = limit(20, 5)
    first = limiter.acquire([account], 2, now_us=START_US).receipt
    limiter.acquire([account], 1, now_us=START_US + 1)
    before = contents(server, limiter)
    assert first is not None
    assert limiter.refund(first) == 0
    assert contents(server, limiter) == before


def test_a_receipt_is_good_once(limiter: Limiter) -> None:
    account = limit(20, 5)
    receipt = limiter.acquire([account], 2, now_us=START_US).receipt
    assert receipt is not None
    assert [limiter.refund(receipt), limiter.refund(receipt)] == [2, 0]
    assert limiter.peek([account], now_us=START_US).usage[0].used == 0


def test_of_several_limits_each_is_undone_where_it_can_be_and_the_least_is_reported(limiter: Limiter) -> None:
    account, user = limit(20, 5), limit(100, 50, key="user:1")
    receipt = limiter.acquire([account, user], 2, now_us=START_US).receipt
    limiter.acquire([user], now_us=START_US)
    assert receipt is not None
    assert limiter.refund(receipt) == 0
    assert [usage.used for usage in limiter.peek([account, user], now_us=START_US).usage] == [0, 3]


def test_a_refund_gives_back_the_cost_of_the_unit(limiter: Limiter) -> None:
    api, log = limit(10, kind="bucket"), limit(12, kind="window")
    receipt = limiter.acquire([api, log], 3, cost=3, now_us=START_US).receipt
    assert receipt is not None
    assert limiter.refund(receipt, 2) == 2
    assert [usage.used for usage in limiter.peek([api, log], now_us=START_US).usage] == [3, 3]


def test_a_member_that_was_in_before_is_in_after_a_refund_too(limiter: Limiter) -> None:
    tier = limit(2, kind="distinct", key="portfolio:1")
    limiter.acquire([tier], member="old", now_us=START_US)
    receipt = limiter.acquire([tier], 2, member=["old", "new"], now_us=START_US + 1000).receipt
    assert receipt is not None
    assert limiter.refund(receipt) == 2
    usage = limiter.peek([tier], now_us=START_US + 1000).usage[0]
    assert usage.used == 1
    assert limiter.peek([tier], now_us=START_US + MINUTE_US).usage[0].used == 0  # with its old instant


def test_a_receipt_survives_pickling_and_keeps_the_expiry(limiter: Limiter, server: redis.Redis) -> None:
    account = limit(20, 5)
    decision = limiter.acquire([account], 2, now_us=START_US)
    assert limiter.refund(pickle.loads(pickle.dumps(decision.receipt))) == 2  # noqa: S301
    assert server.pttl(limiter.prefix + account.tail) > 0


def test_more_than_was_granted_cannot_be_refunded(limiter: Limiter) -> None:
    receipt = limiter.acquire([limit(20, 5)], 2, now_us=START_US).receipt
    assert receipt is not None
    with pytest.raises(InvalidLimit, match="3 units of a grant of 2"):
        limiter.refund(receipt, 3)
    assert limiter.refund(receipt, 0) == 0


def test_a_refund_of_nothing_that_is_left_in_redis_undoes_nothing(limiter: Limiter) -> None:
    limits = [limit(20, 5), limit(9, kind="window"), limit(9, kind="distinct")]
    receipt = limiter.acquire(limits, member="a", now_us=START_US).receipt
    assert receipt is not None
    limiter.clear(*limits)
    assert limiter.refund(receipt) == 0
