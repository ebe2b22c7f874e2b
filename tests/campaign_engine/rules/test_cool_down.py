"""Halving after a complaint, and the way back."""

from datetime import UTC, datetime, timedelta

import pytest

from campaign_engine.rules.cool_down import LONGEST_REST_S, MAX_STEP, RECOVERY, Throttle, slowed
from ratelimit import Rate

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_each_complaint_halves_the_rate_down_to_a_floor() -> None:
    throttle = Throttle(step=0, since=None)
    steps = []
    for _ in range(MAX_STEP + 3):
        throttle = throttle.after_complaint(NOW)
        steps.append(throttle.step)
    assert steps == [1, 2, 3, 4, 5, 6, 6, 6, 6]
    assert slowed(Rate.parse("600/minute"), 1) == Rate.parse("600/2 minutes")
    assert slowed(Rate.parse("20/minute"), 0) == Rate.parse("20/minute")


def test_each_quiet_while_takes_one_step_back() -> None:
    throttle = Throttle(step=3, since=NOW)
    assert [throttle.step_at(NOW + RECOVERY * quiet) for quiet in range(5)] == [3, 2, 1, 0, 0]
    assert throttle.step_at(NOW + RECOVERY - timedelta(microseconds=1)) == 3


def test_a_complaint_after_a_while_begins_where_the_recovery_had_come() -> None:
    assert Throttle(step=3, since=NOW).after_complaint(NOW + RECOVERY * 2).step == 2


@pytest.mark.parametrize(
    ("step", "asked", "rest_s"), [(1, None, 10), (2, None, 20), (6, None, 320), (1, 33.5, 33.5), (6, 2.0, 2.0)]
)
def test_the_rest_is_what_the_provider_asked_for_or_grows(step: int, asked: float | None, rest_s: float) -> None:
    assert Throttle(step=step, since=NOW).rest_s(asked) == rest_s
    assert rest_s <= LONGEST_REST_S
