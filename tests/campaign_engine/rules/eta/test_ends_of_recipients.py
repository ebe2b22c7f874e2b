"""The end of campaigns with hours of each recipient, who are in several time zones."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf

import pytest

from campaign_engine.rules.eta.ends import ends_of
from campaign_engine.rules.eta.terms import End, Load, NoEnd, SenderTerms
from campaign_engine.rules.hours import working_hours
from campaign_engine.rules.hours.recipient_zone import Zones
from campaign_engine.rules.pacing import Pacing

FRIDAY = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)  # 14:00 in São Paulo, 17:00 in Lisbon
NINE_IN_LISBON = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
EVERY_20_S = Pacing(message_interval_s=20, longer_interval_after=0, greater_interval_s=0, message_delay_s=0)
SAO_PAULO, LISBON, AZORES = ("America/Sao_Paulo",), ("Europe/Lisbon",), ("Atlantic/Azores", "Europe/Lisbon")
OFFICE = working_hours.parse(
    {
        "windows": [{"days": list(working_hours.WEEKDAYS[:5]), "start": "09:00", "end": "18:00"}],
        "timezone": "recipient",
    },
    default_zone="America/Sao_Paulo",
)


def load(campaign_id: int, count: float, zones: Mapping[Zones, float], pace: Pacing = EVERY_20_S) -> Load:
    return Load(campaign_id, 1, count, {1: pace}, hours=OFFICE, zones=zones)


def ends(*loads: Load, now: datetime = FRIDAY) -> dict[int, End]:
    return ends_of(loads, {1: SenderTerms(inf)}, owners={}, now=now)


def end(*loads: Load, now: datetime = FRIDAY) -> datetime:
    at = ends(*loads, now=now)[loads[0].campaign_id].at
    assert at is not None
    return at


def is_near(at: datetime, expected: datetime) -> bool:
    return abs(at - expected) <= timedelta(seconds=41)


def test_who_is_closed_waits_for_the_morning_and_is_the_end() -> None:
    # 180 an hour: in the first 90 to each, then 180 to São Paulo; 180 to Lisbon are left for Monday.
    assert is_near(end(load(1, 540, {SAO_PAULO: 1, LISBON: 1})), NINE_IN_LISBON + timedelta(hours=1))
    assert is_near(end(load(1, 540, {SAO_PAULO: 1})), FRIDAY + timedelta(hours=3))
    assert is_near(end(load(1, 540, {})), FRIDAY + timedelta(hours=3))  # by the clock of the hours
    assert is_near(end(load(1, 540, {(): 1})), FRIDAY + timedelta(hours=3))


def test_the_share_in_each_zone_is_what_waits() -> None:
    few = load(1, 540, {SAO_PAULO: 5, LISBON: 1})
    # 30 of the 90 for Lisbon leave in the first hour.
    assert is_near(end(few), NINE_IN_LISBON + timedelta(seconds=60 * 20))
    assert is_near(end(replace(few, message_count=54)), FRIDAY + timedelta(seconds=54 * 20))


def test_zones_that_are_open_together_share_the_turns_of_one_campaign() -> None:
    zones = {SAO_PAULO: 1.0, LISBON: 1.0}
    delayed = replace(EVERY_20_S, message_delay_s=60)
    assert is_near(end(load(1, 30, zones, delayed)), FRIDAY + timedelta(seconds=29 * 60))
    both = ends(load(1, 40, zones), load(2, 40, {SAO_PAULO: 1}))
    assert both[1].at is not None
    assert both[1].at == both[2].at
    assert is_near(both[1].at, FRIDAY + timedelta(seconds=79 * 20))


def test_each_campaign_has_recipients_of_its_own() -> None:
    found = ends(load(1, 270, {LISBON: 1}), load(2, 270, {SAO_PAULO: 1}))
    assert found[1].at is not None
    assert found[1].at > NINE_IN_LISBON
    assert found[2].at is not None
    assert is_near(found[2].at, FRIDAY + timedelta(hours=2))  # an hour of half the turns, and an hour alone


def test_a_number_of_several_zones_is_written_to_while_all_of_them_are_open() -> None:
    morning = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)  # 09:00 in Lisbon, 08:00 on the Azores
    assert is_near(end(load(1, 1, {AZORES: 1}), now=morning), morning + timedelta(hours=1))
    # 17:00 to 18:00 in Lisbon; on Monday from 09:00 on the Azores.
    at = end(load(1, 270, {AZORES: 1}))
    assert is_near(at, NINE_IN_LISBON + timedelta(hours=1, seconds=90 * 20))


def test_hours_that_never_open_have_no_end() -> None:
    days = [(FRIDAY + timedelta(days=each)).date() for each in range(-2, 800)]
    never = replace(load(1, 1, {SAO_PAULO: 1, LISBON: 1}), hours=replace(OFFICE, holidays=frozenset(days)))
    assert ends(never)[1] == End(None, NoEnd.NEVER_OPENS)


def test_weights_and_zones_hold_together() -> None:
    weighted = replace(
        load(1, 720, {SAO_PAULO: 1, LISBON: 1}), paces={1: EVERY_20_S, 2: EVERY_20_S}, weights={1: 3, 2: 1}
    )
    at = ends_of([weighted], {1: SenderTerms(inf), 2: SenderTerms(inf)}, owners={}, now=FRIDAY)[1].at
    assert at is not None
    # The first account has 540: as alone.
    assert is_near(at, NINE_IN_LISBON + timedelta(hours=1))


@pytest.mark.parametrize("size", [1_000, 1_000_000])
def test_a_look_costs_the_same_for_many_zones_however_big_the_campaign(size: int) -> None:
    zones = ("America/Sao_Paulo", "America/Manaus", "America/Noronha", "Europe/Lisbon", "Asia/Tokyo", "Africa/Luanda")
    fast = replace(EVERY_20_S, message_interval_s=7 * 86_400 / size)
    at = end(load(1, size, {(zone,): 1 + each for each, zone in enumerate(zones)}, fast))
    assert FRIDAY + timedelta(days=7) < at < FRIDAY + timedelta(days=28)
