"""Working hours as stretches of time, looked up a week at a time: they are the same for every look at the progress."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from campaign_engine.rules.hours.working_hours import WorkingHours

_WEEK = timedelta(days=7)


def stretches(hours: WorkingHours, *, start: datetime, until: datetime) -> Iterator[tuple[float, float]]:
    """Yield (opens, closes) in seconds since the epoch, those that are open at `start` or open later, before `until`.

    One that lasts beyond the end of a week is given in two pieces that touch.
    """
    at = hours.opens_at(start)
    while at is not None and at < until:
        at = at.astimezone(UTC)
        week = datetime(at.year, at.month, at.day, tzinfo=UTC) - timedelta(days=at.weekday())
        found = _of_week(hours, week)
        for opens, closes in found:
            if closes > start.timestamp():
                yield opens, closes
        at = week + _WEEK if found else hours.opens_at(week + _WEEK)


@lru_cache(maxsize=4096)
def _of_week(hours: WorkingHours, week: datetime) -> tuple[tuple[float, float], ...]:
    found: list[tuple[float, float]] = []
    at: datetime | None = week
    end = week + _WEEK
    while at is not None and at < end:
        opens = hours.opens_at(at)
        if opens is None or opens >= end:
            break
        closes = hours.open_until(opens)
        at = min(closes, end) if closes is not None else None
        if at is not None:
            found.append((opens.timestamp(), at.timestamp()))
    return tuple(found)
