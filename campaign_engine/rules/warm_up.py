"""The warm-up ladder of a new number: a few messages a day at first, more as it ages.

The default ladder (20, 50, 100 and 200 a day from days 0, 4, 8 and 15) is what operators of this field use. A number
without a ladder has no such limit.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypedDict

DEFAULT_LADDER: tuple[tuple[int, int], ...] = ((0, 20), (4, 50), (8, 100), (15, 200))
"""(from day, messages in any 24 hours), in the order of days."""


class WarmUp(TypedDict):
    """A warm-up as an account stores it; see `steps_of`."""

    started_at: str
    ladder: list[list[int]]
    ends_on_day: int


def steps_of(
    ladder: Sequence[Sequence[int]], *, started_at: datetime, ends_on_day: int, now: datetime
) -> list[tuple[datetime, int | None]]:
    """Return from when on the number may send how many messages in any 24 hours, None being no limit.

    `ladder` has (from day, messages) in the order of days, beginning with day 0. That first step holds before
    `started_at`, too, if `now` is earlier. From `ends_on_day` on there is no limit any more.
    """
    steps: list[tuple[datetime, int | None]] = [
        (min(started_at, now) if from_day == 0 else started_at + timedelta(days=from_day), count)
        for from_day, count in ladder
        if from_day < ends_on_day
    ]
    return [*steps, (started_at + timedelta(days=ends_on_day), None)]


def messages_per_day(steps: Sequence[tuple[datetime, int | None]], *, now: datetime) -> int | None:
    """Return how many messages the step in force allows in any 24 hours, or None when the warm-up is over."""
    return next((count for since, count in reversed(steps) if since <= now), None)
