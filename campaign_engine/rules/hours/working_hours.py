"""When a campaign may send: several windows a day, weekdays, holidays, through every clock change; in one time zone or
in each recipient's own.

Windows are in local wall-clock time. If a clock change skips the time at which a window opens, it opens after the gap.
If a change repeats it, the window opens at its first passage; a time of closing is the second passage.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import TypedDict
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from campaign_engine.rules.hours.local_time import first_instant, last_instant

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
AT_CLOSE = ("resume", "stop")
_HORIZON_DAYS = 370  # a year of holidays, and a little more
_LONGEST_DAYS = 8
_MIDNIGHT = "24:00"
COMPANY = "company"
RECIPIENT = "recipient"
"""What `timezone` may be besides the name of a zone: the company's own, or that of each recipient's number."""

_SEARCHES = 10


class WindowValues(TypedDict):
    """A window as the JSON API takes it, and as a campaign stores it."""

    days: Sequence[str]
    start: str
    end: str


class WorkingHoursValues(TypedDict, total=False):
    """Working hours as the JSON API takes them, and as a campaign stores them."""

    windows: Sequence[WindowValues]
    timezone: str | None
    holidays: Sequence[str] | None
    at_close: str | None


class WorkingHoursError(ValueError):
    """The hours cannot be used; `field` is where, below `working_hours`."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of some weekdays; one that ends before it starts ends on the next day."""

    days: frozenset[int]  # 0 is Monday
    start: time
    end: time
    to_midnight: bool  # `end` is 00:00 of the next day

    @property
    def overnight(self) -> bool:
        """Whether it ends on the day after."""
        return self.to_midnight or self.end <= self.start


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """The windows of a campaign. `stops_at_close` ends the campaign's sending for good when a window closes.

    With `per_recipient` the windows are in the time of each recipient (`opens_in`); `zone` is then used for numbers
    whose place is unknown.
    """

    windows: tuple[Window, ...]
    zone: ZoneInfo
    holidays: frozenset[date]
    stops_at_close: bool
    per_recipient: bool = False

    def open_until(self, now: datetime) -> datetime | None:
        """Return when the window that is open at `now` closes, or None when none is open.

        Hours that stay open longer than a week are said to close after about a week: ask again then.
        """
        for opens, closes in self._stretches(now):
            if now < closes:
                return closes if opens <= now else None
        return None

    def opens_at(self, now: datetime) -> datetime | None:
        """Return when the next window opens: `now` while one is open, None when none opens within a year."""
        for opens, closes in self._stretches(now):
            if now < closes:
                return max(opens, now)
        return None

    def opens_in(self, zones: Sequence[str], now: datetime) -> datetime | None:
        """Return when a window is open in every one of `zones` at once: `now` while it is, None when never.

        A number's prefix may cover several zones, and nobody is written to outside the hours of any of them. If they
        have no hour in common, the first zone decides.
        """
        local = [replace(self, zone=ZoneInfo(name)) for name in zones] or [self]
        at = now
        for _ in range(_SEARCHES):
            moments = [hours.opens_at(at) for hours in local]
            opens = [moment for moment in moments if moment is not None]
            if len(opens) < len(moments):
                return None
            if max(opens) <= at:
                return at
            at = max(opens)
        return local[0].opens_at(now)

    def _stretches(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield (opens, closes) in UTC from yesterday on, in order, those that touch or overlap made one."""
        first = now.astimezone(self.zone).date() - timedelta(days=1)
        pending: tuple[datetime, datetime] | None = None
        for offset in range(_HORIZON_DAYS):
            day = first + timedelta(days=offset)
            for opens, closes in sorted(self._of_day(day)):
                if pending is None:
                    pending = (opens, closes)
                elif opens <= pending[1]:
                    pending = (pending[0], max(pending[1], closes))
                else:
                    yield pending
                    pending = (opens, closes)
            # A window that lasts to the end of today may touch one of tomorrow, so it waits; an earlier one is final.
            # Hours that never close come out a week at a time.
            closed = pending is not None and pending[1] < last_instant(datetime.combine(day, time.max), self.zone)
            if pending is not None and (closed or offset > _LONGEST_DAYS):
                yield pending
                pending = None
        if pending is not None:
            yield pending

    def _of_day(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        if day in self.holidays:
            return
        for window in self.windows:
            if day.weekday() in window.days:
                last = day + timedelta(days=1) if window.overnight else day
                opens = first_instant(datetime.combine(day, window.start), self.zone)
                closes = last_instant(datetime.combine(last, window.end), self.zone)
                if opens < closes:
                    yield opens, closes


def parse(value: WorkingHoursValues, *, default_zone: str) -> WorkingHours:
    """Check the values of working hours.

    `default_zone` is the company's when `timezone` is `company` or `recipient`, and the campaign's when it is left out.

    Raises:
        WorkingHoursError: with the field that cannot be used.
    """
    windows = value.get("windows") or []
    if not windows:
        raise WorkingHoursError("windows", "At least one window is needed.")
    at_close = value.get("at_close") or "resume"
    if at_close not in AT_CLOSE:
        raise WorkingHoursError("at_close", "Accepted are resume and stop.")
    try:
        named = value.get("timezone") or default_zone
        zone = ZoneInfo(default_zone if named in (COMPANY, RECIPIENT) else named)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: "America" is a folder of the database
        sentence = "Accepted are a time zone, such as America/Sao_Paulo, and the words company and recipient."
        raise WorkingHoursError("timezone", sentence) from error
    if named == RECIPIENT and at_close == "stop":
        raise WorkingHoursError("at_close", "Hours of each recipient close at different times; accepted is resume.")
    holidays = set()
    for at, holiday in enumerate(value.get("holidays") or []):
        try:
            holidays.add(date.fromisoformat(holiday))
        except (TypeError, ValueError) as error:
            raise WorkingHoursError(f"holidays.{at}", "This is no date, such as 2026-12-25.") from error
    return WorkingHours(
        windows=tuple(_window(at, each) for at, each in enumerate(windows)),
        zone=zone,
        holidays=frozenset(holidays),
        stops_at_close=at_close == "stop",
        per_recipient=named == RECIPIENT,
    )


def of_campaign(value: WorkingHoursValues, *, timezone: str, company_timezone: str) -> WorkingHours:
    """Return the hours in a campaign's row; if they are those of each recipient, `zone` is the company's."""
    of_company = value.get("timezone") in (COMPANY, RECIPIENT)
    return parse(value, default_zone=company_timezone if of_company else timezone)


def _window(at: int, value: WindowValues) -> Window:
    days = value.get("days") or []
    unknown = [day for day in days if day not in WEEKDAYS]
    if not days or unknown:
        raise WorkingHoursError(f"windows.{at}.days", "Accepted are " + ", ".join(WEEKDAYS) + ".")
    to_midnight = value.get("end") == _MIDNIGHT
    start = _time(f"windows.{at}.start", value.get("start"))
    end = time(0) if to_midnight else _time(f"windows.{at}.end", value.get("end"))
    if start == end and not to_midnight:
        raise WorkingHoursError(f"windows.{at}.end", "It ends when it starts; a whole day is 00:00 to 24:00.")
    return Window(frozenset(WEEKDAYS.index(day) for day in days), start, end, to_midnight)


def _time(field: str, value: str) -> time:
    try:
        found = time.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise WorkingHoursError(field, "This is no time of day, such as 08:30.") from error
    if found.tzinfo is not None:
        raise WorkingHoursError(field, "Give the time without a zone; the zone is `timezone`.")
    return found
