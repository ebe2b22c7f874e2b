"""Working hours as stretches of time: the same instants as the hours themselves say."""

from datetime import UTC, datetime, timedelta

import pytest

from campaign_engine.rules.hours import working_hours
from campaign_engine.rules.hours.open_hours import stretches

SATURDAY = datetime(2026, 10, 24, 15, 0, tzinfo=UTC)  # the clocks of Lisbon go back on Sunday
LUNCH = [{"days": list(working_hours.WEEKDAYS), "start": "09:00", "end": "12:00"}]
NIGHT = [{"days": ["sat", "sun"], "start": "22:00", "end": "02:00"}]
ALWAYS = [{"days": list(working_hours.WEEKDAYS), "start": "00:00", "end": "24:00"}]


@pytest.mark.parametrize("windows", [LUNCH, NIGHT, ALWAYS, [*LUNCH, *NIGHT]])
def test_every_quarter_of_an_hour_is_open_or_not_as_the_hours_say(windows: list[dict[str, object]]) -> None:
    hours = working_hours.parse(
        {"windows": windows, "timezone": "Europe/Lisbon", "holidays": ["2026-10-28"]}, default_zone="UTC"
    )
    end = SATURDAY + timedelta(days=12)
    found = list(stretches(hours, start=SATURDAY, until=end))
    assert found == sorted(found)
    for quarter in range(12 * 96):
        at = SATURDAY + timedelta(minutes=15 * quarter)
        is_open = any(opens <= at.timestamp() < closes for opens, closes in found)
        assert is_open is (hours.open_until(at) is not None), at


def test_hours_that_open_in_months_are_found_and_those_that_never_do_end() -> None:
    away = [(SATURDAY + timedelta(days=each)).date().isoformat() for each in range(-2, 100)]
    hours = working_hours.parse({"windows": LUNCH, "holidays": away}, default_zone="UTC")
    opens, _ = next(stretches(hours, start=SATURDAY, until=SATURDAY + timedelta(days=400)))
    assert opens == datetime(2027, 2, 1, 9, 0, tzinfo=UTC).timestamp()
    for_ever = [(SATURDAY + timedelta(days=each)).date().isoformat() for each in range(-2, 800)]
    never = working_hours.parse({"windows": LUNCH, "holidays": for_ever}, default_zone="UTC")
    assert list(stretches(never, start=SATURDAY, until=SATURDAY + timedelta(days=400))) == []
