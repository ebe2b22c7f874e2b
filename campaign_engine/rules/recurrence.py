"""When a recurring campaign starts again: every day, week or month at a time of day, in one time zone.

The time is a wall clock's, so that nine o'clock stays nine o'clock through every clock change. If a change skips the
time, it comes at the first instant after the gap. If a change repeats it, it comes once, the first time.
"""

import calendar
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import MAXYEAR, date, datetime, time, timedelta
from typing import Required, TypedDict
from zoneinfo import ZoneInfo

from campaign_engine.rules.hours.local_time import first_instant
from campaign_engine.rules.hours.working_hours import WEEKDAYS

EVERY = ("day", "week", "month")
LAST = "last"
MAX_INTERVAL = 366
MAX_COUNT = 10_000
_LAST_DAY = 31  # a 31st in a shorter month is its last day
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


class RecurrenceValues(TypedDict, total=False):
    """A recurrence as the JSON API takes it, and as a campaign stores it.

    A stored one has `slot_at`, the time that it gave this occurrence: `scheduled_at` may have moved since.
    """

    every: Required[str]
    interval: int | None
    days: list[str] | None
    day_of_month: int | str | None
    time: Required[str]
    starts_on: str | None
    until: str | None
    count: int | None
    slot_at: str


class RecurrenceError(ValueError):
    """The recurrence cannot be used; `field` is where, below `recurrence`."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Every `interval` days, weeks (on `days`, 0 is Monday) or months (on `day_of_month`) at `at`, local time.

    Intervals are counted from `starts_on`; nothing comes earlier. `until` is the last day on which it may come,
    `count` how many times it comes in all.
    """

    every: str
    at: time
    interval: int = 1
    days: tuple[int, ...] = ()
    day_of_month: int | str | None = None
    starts_on: date | None = None
    until: date | None = None
    count: int | None = None

    def starting(self, on: date) -> "Recurrence":
        """Fill in what is left open: the first day is `on`, the weekday or day of the month that of the first day."""
        first = self.starts_on or on
        return replace(
            self,
            days=self.days or ((first.weekday(),) if self.every == "week" else ()),
            day_of_month=self.day_of_month or (first.day if self.every == "month" else None),
            starts_on=first,
        )

    def stored(self) -> RecurrenceValues:
        """Return it in the shape that `parse` reads, without what is left open."""
        shape: RecurrenceValues = {"every": self.every, "interval": self.interval, "time": self.at.isoformat("minutes")}
        if self.days:
            shape["days"] = [WEEKDAYS[day] for day in self.days]
        if self.day_of_month is not None:
            shape["day_of_month"] = self.day_of_month
        if self.starts_on is not None:
            shape["starts_on"] = self.starts_on.isoformat()
        if self.until is not None:
            shape["until"] = self.until.isoformat()
        if self.count is not None:
            shape["count"] = self.count
        return shape


def next_after(recurrence: Recurrence, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Return the first time after `after` (aware; the answer in UTC); None when `until` or the calendar ends it.

    `count` is not looked at: the caller knows how often it came.
    """
    with suppress(OverflowError):  # the calendar ends
        today = after.astimezone(zone).date()
        settled = recurrence.starting(today)
        for day in _days_of(settled, since=today):
            if settled.until is not None and day > settled.until:
                return None
            at = first_instant(datetime.combine(day, settled.at), zone)
            if at > after:
                return at
    return None


def begin(recurrence: Recurrence, zone: ZoneInfo, now: datetime) -> tuple[Recurrence, datetime] | None:
    """Return a recurrence that begins now, with nothing left open, and its first time; None when it never comes.

    Without `starts_on` the first time comes as soon as it can, and intervals are counted from it.
    """
    at = next_after(recurrence if recurrence.starts_on else replace(recurrence, interval=1), zone, now)
    if at is None:
        return None
    settled = recurrence.starting(now.astimezone(zone).date())
    return replace(settled, starts_on=recurrence.starts_on or at.astimezone(zone).date()), at


def _days_of(recurrence: Recurrence, *, since: date) -> Iterator[date]:
    """Yield the days it comes on, in order, from `since` or its first day on.

    Raises:
        OverflowError: at the end of the calendar.
    """
    start = recurrence.starts_on or since
    since = max(since, start)
    candidates = {"day": _daily, "week": _weekly, "month": _monthly}[recurrence.every]
    for day in candidates(recurrence, start, since):
        if day >= since:
            yield day


def _daily(recurrence: Recurrence, start: date, since: date) -> Iterator[date]:
    step = timedelta(days=recurrence.interval)
    day = start + (since - start) // step * step
    while True:
        yield day
        day += step


def _weekly(recurrence: Recurrence, start: date, since: date) -> Iterator[date]:
    step = timedelta(weeks=recurrence.interval)
    monday = start - timedelta(days=start.weekday())
    monday += (since - monday) // step * step
    while True:
        for day in recurrence.days:
            yield monday + timedelta(days=day)
        monday += step


def _monthly(recurrence: Recurrence, start: date, since: date) -> Iterator[date]:
    wanted = _LAST_DAY if recurrence.day_of_month == LAST else int(recurrence.day_of_month or start.day)
    first, now = (day.year * 12 + day.month - 1 for day in (start, since))
    month = first + (now - first) // recurrence.interval * recurrence.interval
    while month // 12 <= MAXYEAR:
        year, index = divmod(month, 12)
        yield date(year, index + 1, min(wanted, calendar.monthrange(year, index + 1)[1]))
        month += recurrence.interval


def parse(value: RecurrenceValues) -> Recurrence:
    """Check the values of a recurrence.

    Raises:
        RecurrenceError: with the field that cannot be used.
    """
    every = value.get("every")
    if every not in EVERY:
        raise RecurrenceError("every", "Accepted are day, week and month.")
    if value.get("days") and every != "week":
        raise RecurrenceError("days", "Only a weekly recurrence has weekdays.")
    on = value.get("day_of_month")
    if on is not None and every != "month":
        raise RecurrenceError("day_of_month", "Only a monthly recurrence has a day of the month.")
    at = value.get("time")
    if not isinstance(at, str) or not _TIME.fullmatch(at):
        raise RecurrenceError("time", "This is no time of day, such as 08:30.")
    starts_on, until = _date("starts_on", value.get("starts_on")), _date("until", value.get("until"))
    if starts_on is not None and until is not None and until < starts_on:
        raise RecurrenceError("until", "It ends before it starts.")
    return Recurrence(
        every=every,
        at=time.fromisoformat(at),
        interval=_whole("interval", value.get("interval"), most=MAX_INTERVAL) or 1,
        days=_weekdays(value.get("days") or []),
        day_of_month=LAST if on == LAST else _whole("day_of_month", on, most=_LAST_DAY),
        starts_on=starts_on,
        until=until,
        count=_whole("count", value.get("count"), most=MAX_COUNT),
    )


def _whole(field: str, given: object, *, most: int) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= most:
        also = f", and {LAST}" if field == "day_of_month" else ""
        raise RecurrenceError(field, f"Accepted is a whole number from 1 to {most}{also}.")
    return given


def _weekdays(days: object) -> tuple[int, ...]:
    if not isinstance(days, list | tuple) or any(day not in WEEKDAYS for day in days):
        raise RecurrenceError("days", "Accepted are " + ", ".join(WEEKDAYS) + ".")
    return tuple(sorted({WEEKDAYS.index(day) for day in days}))


def _date(field: str, given: str | None) -> date | None:
    if given is None:
        return None
    try:
        return date.fromisoformat(given)
    except (TypeError, ValueError) as error:
        raise RecurrenceError(field, "This is no date, such as 2026-12-25.") from error
