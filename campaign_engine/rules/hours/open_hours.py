"""Working hours as stretches of time, kept a week at a time, since every look at the progress needs the same ones."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from campaign_engine.rules.hours.working_hours import WorkingHours

_WEEK = timedelta(days=7)


def stretches(hours: WorkingHours, *, start: datetime, until: datetime) -> Iterator[tuple[float, float]]:
    """Yield (opens, closes) in seconds since the epoch, of the hours open at `start` or later, before `until`.

    A stretch that lasts beyond the end of a week comes in two pieces that touch.
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
