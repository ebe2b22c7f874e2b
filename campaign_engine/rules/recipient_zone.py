"""In which time zones the owner of a number may be, by its prefix (the data of libphonenumber)."""

from functools import lru_cache

import phonenumbers
from phonenumbers import timezone

_UNKNOWN = "Etc/Unknown"


@lru_cache(maxsize=50_000)
def zones_of(phone: str) -> tuple[str, ...]:
    """Return the names of the time zones of an E.164 number; empty when it belongs to no place that is known.

    A mobile prefix may cover several zones; all of them are returned, in the order of their names.
    """
    try:
        number = phonenumbers.parse(phone, None)
    except phonenumbers.NumberParseException:
        return ()
    return tuple(sorted(zone for zone in timezone.time_zones_for_number(number) if zone != _UNKNOWN))
