"""In which time zones the owner of a number may be, by its prefix (the data of libphonenumber)."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import timezone

from campaign_engine.rules.hours.open_hours import stretches
from campaign_engine.rules.hours.working_hours import WorkingHours

Zones = tuple[str, ...]
"""The names of all the time zones that a number may be in; empty when nobody knows."""

TELLING = 6
"""So many characters of an E.164 number nearly always tell its zones: the plus, the country and the area."""

_UNKNOWN = "Etc/Unknown"


@lru_cache(maxsize=50_000)
def zones_of(phone: str) -> Zones:
    """Return the names of the time zones of an E.164 number; empty when its place is unknown.

    A mobile prefix may cover several zones; all of them are returned, in the order of their names.
    """
    try:
        number = phonenumbers.parse(phone, None)
    except phonenumbers.NumberParseException:
        return ()
    return tuple(sorted(zone for zone in timezone.time_zones_for_number(number) if zone != _UNKNOWN))


def stretches_in(
    hours: WorkingHours, zones: Zones, *, start: datetime, until: datetime
) -> Iterator[tuple[float, float]]:
    """Yield when people of these zones may be written to, as `open_hours.stretches` does and `opens_in` decides."""
    local = [replace(hours, zone=ZoneInfo(name), per_recipient=False) for name in zones] or [hours]
    opens_at = hours.opens_in(zones, start)
    if opens_at is not None and any(each.opens_at(opens_at) != opens_at for each in local):
        local = local[:1]  # They have no hour in common.
    found = [stretches(each, start=start, until=until) for each in local]
    heads = [next(each, None) for each in found]
    while all(heads):
        opens, closes = max(head[0] for head in heads if head), min(head[1] for head in heads if head)
        if opens < closes:
            yield opens, closes
        heads = [
            next(each, None) if head is not None and head[1] <= closes else head
            for each, head in zip(found, heads, strict=True)
        ]
