"""Windows of the week, through holidays and clock changes."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign_engine.rules.hours import working_hours
from campaign_engine.rules.hours.working_hours import WEEKDAYS, WorkingHours, WorkingHoursError

SAO_PAULO = "America/Sao_Paulo"
BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"
WORKDAYS = ["mon", "tue", "wed", "thu", "fri"]


def hours(*windows: tuple[list[str], str, str], zone: str = SAO_PAULO, **more: Any) -> WorkingHours:
    value = {"windows": [{"days": days, "start": start, "end": end} for days, start, end in windows], "timezone": zone}
    return working_hours.parse({**value, **more}, default_zone="UTC")


def local(text: str, zone: str = SAO_PAULO, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


OFFICE = hours((WORKDAYS, "08:00", "12:00"), (WORKDAYS, "13:30", "18:00"), (["sat"], "09:00", "12:00"))


@pytest.mark.parametrize(
    ("now", "opens", "closes"),
    [
        ("2026-11-20T07:59:59", "2026-11-20T08:00:00", None),  # Friday
        ("2026-11-20T08:00:00", "2026-11-20T08:00:00", "2026-11-20T12:00:00"),
        ("2026-11-20T11:59:59", "2026-11-20T11:59:59", "2026-11-20T12:00:00"),
        ("2026-11-20T12:00:00", "2026-11-20T13:30:00", None),
        ("2026-11-20T17:00:00", "2026-11-20T17:00:00", "2026-11-20T18:00:00"),
        ("2026-11-20T18:00:00", "2026-11-21T09:00:00", None),
        ("2026-11-21T12:00:00", "2026-11-23T08:00:00", None),  # Saturday noon: Monday
        ("2026-11-22T10:00:00", "2026-11-23T08:00:00", None),  # Sunday
    ],
)
def test_several_windows_a_day_and_a_weekend(now: str, opens: str, closes: str | None) -> None:
    assert OFFICE.opens_at(local(now)) == local(opens)
    assert OFFICE.open_until(local(now)) == (local(closes) if closes else None)


def test_a_holiday_is_closed() -> None:
    closed = hours((WORKDAYS, "08:00", "18:00"), holidays=["2026-11-20", "2026-11-23"])
    assert closed.opens_at(local("2026-11-20T10:00:00")) == local("2026-11-24T08:00:00")


def test_a_window_over_midnight_belongs_to_the_day_it_begins_on() -> None:
    night = hours((["fri"], "22:00", "02:00"))
    assert night.open_until(local("2026-11-21T01:59:59")) == local("2026-11-21T02:00:00")
    assert night.open_until(local("2026-11-20T01:00:00")) is None
    assert night.opens_at(local("2026-11-21T02:00:00")) == local("2026-11-27T22:00:00")


def test_windows_that_touch_are_one() -> None:
    always = hours((list(WEEKDAYS), "00:00", "12:00"), (list(WEEKDAYS), "12:00", "24:00"))
    now = local("2026-11-20T11:00:00")
    closes = always.open_until(now)
    assert closes is not None
    assert closes > now + timedelta(days=6)
    assert always.opens_at(closes) == closes


def test_a_year_without_an_opening_never_opens() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    closed = hours(
        (["fri"], "08:00", "09:00"), holidays=[(start + timedelta(days=at)).date().isoformat() for at in range(400)]
    )
    assert closed.opens_at(local("2026-11-20T07:00:00")) is None


def test_in_spring_a_window_in_the_skipped_hour_opens_when_the_hour_is_over() -> None:
    early = hours((["sun"], "02:30", "05:00"), zone=BERLIN)
    # On 29 March 2026 the clock in Berlin goes from 02:00 to 03:00.
    assert early.opens_at(local("2026-03-29T00:00:00", BERLIN)) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert early.open_until(local("2026-03-29T04:00:00", BERLIN)) == local("2026-03-29T05:00:00", BERLIN)


def test_in_autumn_a_window_holds_through_the_repeated_hour() -> None:
    early = hours((["sun"], "02:00", "02:30"), zone=BERLIN)
    # On 25 October 2026 the hour from 02:00 to 03:00 happens twice.
    opens = early.opens_at(local("2026-10-25T00:00:00", BERLIN))
    assert opens == datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    assert early.open_until(opens) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_a_daily_window_follows_the_wall_clock_over_a_change() -> None:
    office = hours((list(WEEKDAYS), "09:00", "17:00"), zone=NEW_YORK)
    before = office.opens_at(local("2026-10-31T18:00:00", NEW_YORK))
    after = office.opens_at(local("2026-11-01T18:00:00", NEW_YORK))
    assert before == local("2026-11-01T09:00:00", NEW_YORK)
    assert after == local("2026-11-02T09:00:00", NEW_YORK)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, "windows"),
        ({"windows": [{"days": [], "start": "08:00", "end": "09:00"}]}, "windows.0.days"),
        ({"windows": [{"days": ["monday"], "start": "08:00", "end": "09:00"}]}, "windows.0.days"),
        ({"windows": [{"days": ["mon"], "start": "08:00", "end": "25:00"}]}, "windows.0.end"),
        ({"windows": [{"days": ["mon"], "end": "09:00"}]}, "windows.0.start"),
        ({"windows": [{"days": ["mon"], "start": "08:00", "end": "08:00"}]}, "windows.0.end"),
        ({"windows": [{"days": ["mon"], "start": "08:00+02:00", "end": "09:00"}]}, "windows.0.start"),
        ({"windows": [{"days": ["mon"], "start": "08:00", "end": "09:00"}], "timezone": "Mars"}, "timezone"),
        ({"windows": [{"days": ["mon"], "start": "08:00", "end": "09:00"}], "timezone": "America"}, "timezone"),
        ({"windows": [{"days": ["mon"], "start": "08:00", "end": "09:00"}], "at_close": "explode"}, "at_close"),
        (
            {
                "windows": [{"days": ["mon"], "start": "08:00", "end": "09:00"}],
                "timezone": "recipient",
                "at_close": "stop",
            },
            "at_close",
        ),
        ({"windows": [{"days": ["mon"], "start": "08:00", "end": "09:00"}], "holidays": ["tomorrow"]}, "holidays.0"),
    ],
)
def test_hours_that_cannot_be_used_name_the_field(value: dict[str, Any], field: str) -> None:
    with pytest.raises(WorkingHoursError) as caught:
        working_hours.parse(value, default_zone="UTC")
    assert caught.value.field == field


_times = st.times().map(lambda at: at.replace(second=0, microsecond=0, fold=0))


@settings(max_examples=150)
@given(
    windows=st.lists(
        st.tuples(st.sets(st.sampled_from(WEEKDAYS), min_size=1), _times, _times).filter(lambda it: it[1] != it[2]),
        min_size=1,
        max_size=4,
    ),
    zone=st.sampled_from([SAO_PAULO, BERLIN, NEW_YORK, "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe"]),
    now=st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)),  # noqa: DTZ001 - made aware below,
)
def test_what_is_said_of_an_instant_agrees_with_itself(windows: list[Any], zone: str, now: datetime) -> None:
    week = hours(
        *((sorted(days), start.isoformat("minutes"), end.isoformat("minutes")) for days, start, end in windows),
        zone=zone,
    )
    now = now.replace(tzinfo=UTC)
    opens = week.opens_at(now)
    assert opens is not None
    assert opens >= now
    closes = week.open_until(opens)
    assert closes is not None
    assert closes > opens
    if opens > now:
        assert week.open_until(now) is None
        assert week.opens_at(opens - timedelta(microseconds=1)) == opens
        assert week.open_until(opens - timedelta(microseconds=1)) is None
    if closes - opens < timedelta(days=6):
        assert week.open_until(closes) is None
        assert week.open_until(closes - timedelta(microseconds=1)) == closes


NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)  # a Friday
NINE_TO_SIX = {"windows": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "09:00", "end": "18:00"}]}


def test_the_words_company_and_recipient_stand_for_the_companys_zone() -> None:
    for word in ("company", "recipient"):
        hours = working_hours.parse({**NINE_TO_SIX, "timezone": word}, default_zone="America/Manaus")
        assert hours.zone.key == "America/Manaus"
        assert hours.per_recipient is (word == "recipient")


@pytest.mark.parametrize(
    ("zones", "opens"),
    [
        ((), NOON + timedelta(hours=1)),  # of no known place: the company's zone, where it is eight o'clock
        (("America/Sao_Paulo",), NOON),
        (("America/Manaus",), NOON + timedelta(hours=1)),
        (("Europe/Lisbon", "Atlantic/Azores"), NOON),
        # Nobody is written to outside the hours of any zone the number may be in.
        (("America/New_York", "America/Los_Angeles"), NOON + timedelta(hours=5)),
        # Nine to six in Auckland and in Lisbon have no hour in common: the first decides.
        (("Pacific/Auckland", "Europe/Lisbon"), datetime(2026, 11, 22, 20, 0, tzinfo=UTC)),
    ],
)
def test_a_recipients_hours_are_those_of_every_zone_the_number_may_be_in(
    zones: tuple[str, ...], opens: datetime
) -> None:
    hours = working_hours.parse({**NINE_TO_SIX, "timezone": "recipient"}, default_zone="America/Manaus")
    assert hours.opens_in(zones, NOON) == opens


@pytest.mark.parametrize(
    ("named", "zone"),
    [
        ({}, "Asia/Tokyo"),
        ({"timezone": "company"}, SAO_PAULO),
        ({"timezone": "recipient"}, SAO_PAULO),
        ({"timezone": "Europe/Lisbon"}, "Europe/Lisbon"),
    ],
)
def test_a_campaigns_hours_go_by_its_own_clock_unless_they_say_whose(named: dict[str, str], zone: str) -> None:
    value = {"windows": [{"days": ["mon"], "start": "08:00", "end": "12:00"}], **named}
    assert working_hours.of_campaign(value, timezone="Asia/Tokyo", company_timezone=SAO_PAULO).zone.key == zone
