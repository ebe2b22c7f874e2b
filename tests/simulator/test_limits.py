"""Throughput, pair and unique recipients: how many pass, and that nothing is charged for a refusal."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from simulator.state.limits import next_arrival
from tests.simulator.running import Simulator


def outcome(response: Any) -> int:
    """Return 0 for an accepted message, else Meta's code."""
    return 0 if response.status_code == 200 else int(response.json()["error"]["code"])


def recipient(place: int) -> str:
    return f"+551191000{place:04d}"


def test_a_number_over_its_throughput_is_refused_with_130429(simulator: Simulator) -> None:
    simulator.register(throughput_per_s=0.001)
    simulator.register(phone_number_id="2", throughput_per_s=None)
    simulator.behave(throughput_burst=3)
    assert [outcome(simulator.send(recipient(place))) for place in range(5)] == [0, 0, 0, 130429, 130429]
    assert outcome(simulator.send(phone_number_id="2")) == 0, "another number has its own"
    assert simulator.summary()["refused"] == {"130429": 2}


def test_of_a_hundred_senders_at_once_exactly_the_burst_passes(simulator: Simulator) -> None:
    simulator.behave(throughput_per_s=0.001, throughput_burst=20)
    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(lambda place: outcome(simulator.send(recipient(place))), range(100)))
    assert outcomes.count(0) == 20
    assert outcomes.count(130429) == 80
    assert len(simulator.ledger()) == 20


def test_a_pair_has_a_burst_of_45_and_other_recipients_are_unaffected(simulator: Simulator) -> None:
    outcomes = [outcome(simulator.send("+5511987654321")) for _ in range(46)]
    assert outcomes == [0] * 45 + [131056]
    assert outcome(simulator.send("+551187654321")) == 131056, "the same person in another spelling"
    assert outcome(simulator.send(recipient(2))) == 0


def test_unique_recipients_are_counted_over_all_numbers_of_a_waba(simulator: Simulator) -> None:
    simulator.register(phone_number_id="2")
    simulator.register(phone_number_id="3", waba_id="999")
    simulator.behave(unique_recipients_per_day=2)
    assert outcome(simulator.send(recipient(1))) == 0
    assert outcome(simulator.send(recipient(2), phone_number_id="2")) == 0
    assert outcome(simulator.send(recipient(3))) == 131048
    assert outcome(simulator.send(recipient(1), phone_number_id="2")) == 0, "known already"
    assert outcome(simulator.send(recipient(3), phone_number_id="3")) == 0, "another WABA"


def test_a_refused_message_is_charged_to_no_limit(simulator: Simulator) -> None:
    simulator.behave(throughput_per_s=0.001, throughput_burst=2, pair_burst=1, unique_recipients_per_day=2)
    assert outcome(simulator.send(recipient(1))) == 0
    # Refused by the pair, so the throughput and the audience still have room for one.
    assert outcome(simulator.send(recipient(1))) == 131056
    assert outcome(simulator.send(recipient(2))) == 0
    simulator.behave(throughput_per_s=0)
    # Refused by the audience, so once it is lifted the pair is free.
    assert outcome(simulator.send(recipient(3))) == 131048
    simulator.behave(unique_recipients_per_day=0)
    assert outcome(simulator.send(recipient(3))) == 0


def test_throttling_answers_may_carry_retry_after(simulator: Simulator) -> None:
    simulator.behave(retry_after_s=7, pair_burst=1)
    simulator.send()
    throttled = simulator.send()
    assert (outcome(throttled), throttled.headers["Retry-After"]) == (131056, "7")
    simulator.behave(retry_after_s=0)
    assert "Retry-After" not in simulator.send().headers


@given(
    gaps_s=st.lists(st.floats(0, 3), max_size=200),
    interval_s=st.floats(0.01, 10),
    burst=st.integers(1, 45),
)
def test_no_window_holds_more_than_the_burst_and_what_is_refilled(
    gaps_s: list[float], interval_s: float, burst: int
) -> None:
    now, expected_at, passed = 1_000.0, 0.0, []
    for gap_s in gaps_s:
        now += gap_s
        after = next_arrival(expected_at, now, interval_s, burst)
        if after is not None:
            expected_at = after
            passed.append(now)
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            allowed = burst + (passed[last] - start) / interval_s
            assert last - first + 1 <= allowed + 0.001


def test_a_bucket_that_rested_is_full_again() -> None:
    expected_at = 0.0
    for now in (100.0, 100.0, 112.0, 112.0):
        after = next_arrival(expected_at, now, 6.0, 2)
        assert after is not None
        expected_at = after
    assert next_arrival(expected_at, 112.0, 6.0, 2) is None
    assert next_arrival(expected_at, 118.0, 6.0, 2) is not None
