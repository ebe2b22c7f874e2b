"""Every day, week or month at a time of day, through every clock change."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign_engine.rules import recurrence
from campaign_engine.rules.hours.working_hours import WEEKDAYS
from campaign_engine.rules.recurrence import Recurrence, RecurrenceError, begin, next_after, parse

SAO_PAULO = "America/Sao_Paulo"
NEW_YORK = "America/New_York"


def local(written: str, zone: str = SAO_PAULO, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(written).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def series(after: str, count: int, zone: str = SAO_PAULO, **value: Any) -> list[str]:
    """Return the next times after a local time, as the wall clock shows them."""
    rule, at, found = parse({"time": "09:00", **value}), local(after, zone), []
    for _ in range(count):
        following = next_after(rule, ZoneInfo(zone), at)
        if following is None:
            break
        at = following
        found.append(at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("value", "after", "expected"),
    [
        # 2026-11-20 is a Friday.
        ({"every": "day"}, "2026-11-20T08:59", ["2026-11-20 09:00", "2026-11-21 09:00", "2026-11-22 09:00"]),
        ({"every": "day"}, "2026-11-20T09:00", ["2026-11-21 09:00", "2026-11-22 09:00"]),
        (
            {"every": "day", "interval": 3, "starts_on": "2026-11-20"},
            "2026-11-21T00:00",
            ["2026-11-23 09:00", "2026-11-26 09:00"],
        ),
        ({"every": "day", "starts_on": "2026-12-01"}, "2026-11-20T09:00", ["2026-12-01 09:00", "2026-12-02 09:00"]),
        (
            {"every": "week", "days": ["fri", "mon"]},
            "2026-11-20T09:00",
            ["2026-11-23 09:00", "2026-11-27 09:00", "2026-11-30 09:00"],
        ),
        ({"every": "week"}, "2026-11-20T09:00", ["2026-11-27 09:00", "2026-12-04 09:00"]),
        (
            {"every": "week", "interval": 2, "days": ["mon", "fri"], "starts_on": "2026-11-20"},
            "2026-11-20T08:00",
            ["2026-11-20 09:00", "2026-11-30 09:00", "2026-12-04 09:00", "2026-12-14 09:00"],
        ),
        (
            {"every": "month", "day_of_month": 31},
            "2026-12-31T09:00",
            ["2027-01-31 09:00", "2027-02-28 09:00", "2027-03-31 09:00", "2027-04-30 09:00"],
        ),
        ({"every": "month", "day_of_month": "last"}, "2028-02-01T00:00", ["2028-02-29 09:00", "2028-03-31 09:00"]),
        ({"every": "month", "day_of_month": 30}, "2027-01-30T09:00", ["2027-02-28 09:00", "2027-03-30 09:00"]),
        ({"every": "month", "starts_on": "2026-11-05"}, "2026-11-20T09:00", ["2026-12-05 09:00", "2027-01-05 09:00"]),
        (
            {"every": "month", "interval": 3, "day_of_month": 15, "starts_on": "2026-11-20"},
            "2026-11-20T00:00",
            ["2027-02-15 09:00", "2027-05-15 09:00"],
        ),
        (
            {"every": "day", "until": "2026-11-22"},
            "2026-11-20T10:00",
            ["2026-11-21 09:00", "2026-11-22 09:00"],
        ),
        ({"every": "day", "until": "2026-11-20"}, "2026-11-20T10:00", []),
    ],
)
def test_a_series_in_local_time(value: dict[str, Any], after: str, expected: list[str]) -> None:
    assert series(after, 4, **value)[: len(expected)] == expected
    assert len(series(after, 4, **value)) == (4 if "until" not in value else len(expected))


def test_nine_o_clock_stays_nine_o_clock_through_a_change_of_the_clocks() -> None:
    rule = parse({"every": "day", "time": "09:00"})
    before = next_after(rule, ZoneInfo(NEW_YORK), local("2026-03-07T00:00", NEW_YORK))
    assert before is not None
    after = next_after(rule, ZoneInfo(NEW_YORK), before)
    assert (before, after) == (datetime(2026, 3, 7, 14, tzinfo=UTC), datetime(2026, 3, 8, 13, tzinfo=UTC))


def test_a_time_that_a_change_skips_comes_at_the_first_instant_that_exists() -> None:
    assert series("2026-03-07T00:00", 3, NEW_YORK, every="day", time="02:30") == [
        "2026-03-07 02:30",
        "2026-03-08 03:00",
        "2026-03-09 02:30",
    ]


def test_a_time_that_a_change_repeats_comes_once_the_first_time() -> None:
    rule, zone = parse({"every": "day", "time": "01:30"}), ZoneInfo(NEW_YORK)
    first = next_after(rule, zone, local("2026-11-01T00:00", NEW_YORK))
    assert first == local("2026-11-01T01:30", NEW_YORK, fold=0)
    assert first is not None
    assert next_after(rule, zone, first) == local("2026-11-02T01:30", NEW_YORK)


def test_two_days_that_a_change_makes_one_instant_come_once() -> None:
    # On Samoa there was no 30 December 2011: its midnight and the next one are the same instant.
    assert series("2011-12-29T00:00", 3, "Pacific/Apia", every="day", time="00:00") == [
        "2011-12-31 00:00",
        "2012-01-01 00:00",
        "2012-01-02 00:00",
    ]


@pytest.mark.parametrize("every", recurrence.EVERY)
def test_the_calendar_ends(every: str) -> None:
    rule = parse({"every": every, "time": "09:00"})
    assert next_after(rule, ZoneInfo(SAO_PAULO), datetime(9999, 12, 31, 20, tzinfo=UTC)) is None
    assert next_after(rule, ZoneInfo("Pacific/Kiritimati"), datetime(9999, 12, 31, 20, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("value", "now", "first", "settled"),
    [
        # No fortnight passes before the first Monday; the fortnights are counted from it.
        (
            {"every": "week", "interval": 2, "days": ["mon"]},
            "2026-11-20T10:00",
            "2026-11-23T09:00",
            {"days": ["mon"], "interval": 2, "starts_on": "2026-11-23"},
        ),
        ({"every": "day", "interval": 2}, "2026-11-20T10:00", "2026-11-21T09:00", {"starts_on": "2026-11-21"}),
        ({"every": "week"}, "2026-11-20T10:00", "2026-11-27T09:00", {"days": ["fri"]}),
        # Asked for on a 31st, it stays a 31st although it first comes on a 28th.
        ({"every": "month"}, "2027-01-31T10:00", "2027-02-28T09:00", {"day_of_month": 31, "starts_on": "2027-02-28"}),
        (
            {"every": "month", "interval": 2, "starts_on": "2026-10-15"},
            "2026-11-20T10:00",
            "2026-12-15T09:00",
            {"day_of_month": 15, "starts_on": "2026-10-15"},
        ),
    ],
)
def test_the_first_time_comes_soonest_and_settles_what_was_left_open(
    value: dict[str, Any], now: str, first: str, settled: dict[str, Any]
) -> None:
    begun = begin(parse({"time": "09:00", **value}), ZoneInfo(SAO_PAULO), local(now))
    assert begun is not None
    rule, at = begun
    assert at == local(first)
    assert {name: rule.stored()[name] for name in settled} == settled
    assert parse(rule.stored()) == rule


def test_what_never_comes_does_not_begin() -> None:
    rule = parse({"every": "day", "time": "09:00", "until": "2026-11-19"})
    assert begin(rule, ZoneInfo(SAO_PAULO), local("2026-11-20T10:00")) is None


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"every": "hour"}, "every"),
        ({"every": None}, "every"),
        ({"time": "9:00"}, "time"),
        ({"time": "24:00"}, "time"),
        ({"time": "09:00:30"}, "time"),
        ({"time": None}, "time"),
        ({"interval": 0}, "interval"),
        ({"interval": 367}, "interval"),
        ({"interval": True}, "interval"),
        ({"every": "week", "days": ["monday"]}, "days"),
        ({"every": "week", "days": "mon"}, "days"),
        ({"days": ["mon"]}, "days"),
        ({"every": "month", "day_of_month": 32}, "day_of_month"),
        ({"every": "month", "day_of_month": "first"}, "day_of_month"),
        ({"day_of_month": 1}, "day_of_month"),
        ({"until": "tomorrow"}, "until"),
        ({"until": 5}, "until"),
        ({"starts_on": "2026-12-02", "until": "2026-12-01"}, "until"),
        ({"starts_on": "2026-13-02"}, "starts_on"),
        ({"count": 0}, "count"),
        ({"count": 1.5}, "count"),
    ],
)
def test_a_faulty_recurrence_names_the_field(value: dict[str, Any], field: str) -> None:
    with pytest.raises(RecurrenceError) as caught:
        parse({"every": "day", "time": "09:00", **value})
    assert caught.value.field == field


DATES = st.dates(min_value=date(2000, 1, 1), max_value=date(2036, 1, 1))
RULES = st.builds(
    Recurrence,
    every=st.just("day"),
    at=st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    interval=st.integers(1, 40),
    starts_on=DATES,
) | st.one_of(
    st.builds(
        Recurrence,
        every=st.just("week"),
        at=st.just(time(2, 30)),
        interval=st.integers(1, 5),
        days=st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))),
        starts_on=DATES,
    ),
    st.builds(
        Recurrence,
        every=st.just("month"),
        at=st.just(time(1, 30)),
        interval=st.integers(1, 15),
        day_of_month=st.integers(1, 31) | st.just("last"),
        starts_on=DATES,
    ),
)


def on_the_grid(rule: Recurrence, day: date) -> bool:
    """Say the rule in another way: whether a day is one of its days."""
    assert rule.starts_on is not None
    if rule.every == "day":
        return (day - rule.starts_on).days % rule.interval == 0
    if rule.every == "week":
        mondays = [each - timedelta(days=each.weekday()) for each in (rule.starts_on, day)]
        return WEEKDAYS[day.weekday()] in rule.stored()["days"] and (
            (mondays[1] - mondays[0]).days // 7 % rule.interval == 0
        )
    months = (day.year - rule.starts_on.year) * 12 + day.month - rule.starts_on.month
    last = (day + timedelta(days=1)).month != day.month
    wanted = 31 if rule.day_of_month == "last" else int(rule.day_of_month or 0)
    return months % rule.interval == 0 and (day.day == wanted or (last and day.day < wanted))


@settings(max_examples=150)
@given(
    rule=RULES,
    after=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2036, 1, 1)),  # noqa: DTZ001
    zone=st.sampled_from([SAO_PAULO, NEW_YORK, "Europe/Berlin", "Asia/Kathmandu"]).map(ZoneInfo),
)
def test_the_next_time_is_on_the_grid_and_none_is_passed_over(
    rule: Recurrence, after: datetime, zone: ZoneInfo
) -> None:
    moment = after.replace(tzinfo=UTC)
    found = next_after(rule, zone, moment)
    assert found is not None
    assert found > moment
    assert rule.starts_on is not None
    shown = found.astimezone(zone)
    assert shown.date() >= rule.starts_on
    assert on_the_grid(rule, shown.date())
    assert shown.time() >= rule.at
    # No day between is one of its days, but for today's when its time is over.
    day = max(moment.astimezone(zone).date() + timedelta(days=1), rule.starts_on)
    while day < shown.date():
        assert not on_the_grid(rule, day)
        day += timedelta(days=1)
    assert parse(rule.stored()) == rule
