"""In which time zones a number may be, and when people there may be written to."""

from datetime import UTC, datetime, timedelta

import pytest

from campaign_engine.rules.hours import working_hours
from campaign_engine.rules.hours.recipient_zone import Zones, stretches_in, zones_of

SATURDAY = datetime(2026, 10, 24, 15, 0, tzinfo=UTC)  # the clocks of Lisbon go back on Sunday
OFFICE = [{"days": list(working_hours.WEEKDAYS[:6]), "start": "09:00", "end": "18:00"}]


@pytest.mark.parametrize(
    ("phone", "zones"),
    [
        ("+5511990000001", ("America/Sao_Paulo",)),
        ("+5592990000001", ("America/Manaus",)),
        ("+12125550100", ("America/New_York",)),
        ("+351910000001", ("Atlantic/Azores", "Europe/Lisbon")),
        ("+999123", ()),
        ("nothing", ()),
    ],
)
def test_a_number_tells_where_it_may_be(phone: str, zones: tuple[str, ...]) -> None:
    assert zones_of(phone) == zones


@pytest.mark.parametrize(
    "zones",
    [
        (),
        ("America/Manaus",),
        ("Atlantic/Azores", "Europe/Lisbon"),
        ("America/Los_Angeles", "America/Manaus", "America/New_York"),
        ("America/Sao_Paulo", "Asia/Tokyo"),  # no hour in common: the first decides
    ],
)
def test_every_quarter_of_an_hour_is_open_or_not_as_at_the_sending(zones: Zones) -> None:
    hours = working_hours.parse({"windows": OFFICE, "timezone": "recipient"}, default_zone="America/Sao_Paulo")
    found = list(stretches_in(hours, zones, start=SATURDAY, until=SATURDAY + timedelta(days=9)))
    assert found == sorted(found)
    for quarter in range(8 * 96):
        at = SATURDAY + timedelta(minutes=15 * quarter)
        is_open = any(opens <= at.timestamp() < closes for opens, closes in found)
        assert is_open is (hours.opens_in(zones, at) == at), at
