"""From a wall clock to the instant it means."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign_engine.rules.hours.local_time import first_instant

ZONES = ("America/Sao_Paulo", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "UTC")


@pytest.mark.parametrize(
    ("zone", "local", "instant"),
    [
        ("America/Sao_Paulo", "2026-11-20T09:00", "2026-11-20T12:00"),
        ("America/New_York", "2026-03-08T02:30", "2026-03-08T07:00"),  # skipped: the first instant after the gap
        ("America/New_York", "2026-03-08T03:00", "2026-03-08T07:00"),
        ("America/New_York", "2026-11-01T01:30", "2026-11-01T05:30"),  # repeated: the first time
        ("America/Sao_Paulo", "2018-11-04T00:00", "2018-11-04T03:00"),  # a midnight that never was
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:30"),  # a change of half an hour
        ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00"),  # a day that never was
    ],
)
def test_a_wall_clock_means_the_first_instant_that_shows_or_passes_it(zone: str, local: str, instant: str) -> None:
    found = first_instant(datetime.fromisoformat(local), ZoneInfo(zone))
    assert found == datetime.fromisoformat(instant).replace(tzinfo=UTC)


@settings(max_examples=150)
@given(
    local=st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2040, 1, 1)),  # noqa: DTZ001
    zone=st.sampled_from(ZONES).map(ZoneInfo),
)
def test_no_instant_before_shows_as_late_a_clock_unless_it_is_set_back(local: datetime, zone: ZoneInfo) -> None:
    local = local.replace(microsecond=0)
    found = first_instant(local, zone)
    shown = found.astimezone(zone).replace(tzinfo=None, fold=0)
    assert shown >= local
    just_before = (found - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None, fold=0)
    assert just_before < local
    assert shown == local or shown - just_before > timedelta(seconds=1), "only a gap moves it"
