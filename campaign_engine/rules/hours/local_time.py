"""From a wall clock to the instant it means, through every clock change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


def first_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant, in UTC, at which the clocks of `zone` show `local` (without a zone) or have passed it.

    If a clock change repeats the time, its first passage is meant. If a change skips it, the first instant after the
    gap is meant.

    Raises:
        OverflowError: the instant lies outside the calendar.
    """
    return _instant(local, zone, fold=0)


def last_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the last instant, in UTC, at which the clocks of `zone` show `local`; otherwise like `first_instant`.

    If a clock change repeats the time, its second passage is meant.
    """
    return _instant(local, zone, fold=1)


def _instant(local: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    shown = local.replace(tzinfo=zone, fold=fold)
    instant = shown.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None, fold=0) == local.replace(fold=0):
        return instant
    # In a gap the two folds read the clock by the offsets before and after the change; the change lies between the two.
    before, after = (shown.replace(fold=each).astimezone(UTC) for each in (1, 0))
    return _change_between(before, after, zone)


def _change_between(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant of the offset that holds at `high`; changes happen on whole seconds."""
    after = high.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high.replace(microsecond=0)
