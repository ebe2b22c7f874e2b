"""In which time zones a number may be."""

import pytest

from campaign_engine.rules.recipient_zone import zones_of


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
