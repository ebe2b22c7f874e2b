"""The ladder of a new number."""

from datetime import UTC, datetime, timedelta

import pytest

from campaign_engine.rules.warm_up import DEFAULT_LADDER, messages_per_day, steps_of

BORN = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)


def _count_at(now: datetime) -> int | None:
    return messages_per_day(steps_of(DEFAULT_LADDER, started_at=BORN, ends_on_day=30, now=now), now=now)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (0, 20),
        (3.99, 20),
        (4, 50),
        (7.99, 50),
        (8, 100),
        (14.99, 100),
        (15, 200),
        (29.99, 200),
        (30, None),
        (400, None),
    ],
)
def test_the_number_may_send_more_as_it_ages(day: float, expected: int | None) -> None:
    assert _count_at(BORN + timedelta(days=day)) == expected


def test_before_it_begins_the_first_step_holds() -> None:
    assert _count_at(BORN - timedelta(days=2)) == 20
