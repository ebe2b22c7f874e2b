"""How many in how long, as a value: `Rate.parse("10/5 minutes")`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ratelimit.errors import InvalidLimit

SECOND_US = 1_000_000
LONGEST_PERIOD_US = 366 * 86_400 * SECOND_US
"""Periods and debts must stay exact in the 53 bits of a Lua number next to an epoch of 51 bits."""

_UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "millisecond": 1_000,
    "s": SECOND_US,
    "sec": SECOND_US,
    "second": SECOND_US,
    "m": 60 * SECOND_US,
    "min": 60 * SECOND_US,
    "minute": 60 * SECOND_US,
    "h": 3_600 * SECOND_US,
    "hour": 3_600 * SECOND_US,
    "d": 86_400 * SECOND_US,
    "day": 86_400 * SECOND_US,
}
_SPOKEN = (
    ("day", 86_400 * SECOND_US),
    ("hour", 3_600 * SECOND_US),
    ("minute", 60 * SECOND_US),
    ("s", SECOND_US),
    ("ms", 1_000),
)
_PATTERN = re.compile(r"\s*([0-9]{1,14})\s*(?:/|\bper\b)\s*(?:([0-9]{1,14})\s*)?([a-z]+)\s*", re.IGNORECASE)
_ACCEPTED = (
    "accepted is COUNT/PERIOD with whole numbers, such as 20/minute, 10/5 minutes, 1/6 s or 1000 per day; "
    "units: us, ms, s, minute, hour, day"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` per `period_us` microseconds. A value: equal rates are equal, and nothing else is in it.

    Raises:
        InvalidLimit: the count or the period is outside what can be kept exactly.
    """

    count: int
    period_us: int

    def __post_init__(self) -> None:
        if not 1 <= self.period_us <= LONGEST_PERIOD_US:
            raise InvalidLimit(f"a period of {self.period_us} µs is not between 1 µs and 366 days")
        if not 1 <= self.count <= self.period_us:
            raise InvalidLimit(
                f"a count of {self.count} is not accepted: it must be at least 1, at most one per microsecond"
            )

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read `20/minute`, `10/5 minutes`, `1/6 s`, `1000 per day`.

        Raises:
            InvalidLimit: the text is something else; the message says what is accepted.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise InvalidLimit(f"{text!r} is not a rate: {_ACCEPTED}")
        count, times, unit = match.groups()
        word = unit.lower()
        unit_us = _UNITS_US.get(word) or _UNITS_US.get(word.removesuffix("s"))
        if unit_us is None:
            raise InvalidLimit(f"{text!r} is not a rate, {unit!r} is no unit: {_ACCEPTED}")
        try:
            return cls(int(count), int(times or 1) * unit_us)
        except InvalidLimit as error:
            raise InvalidLimit(f"{text!r} is not accepted: {error}") from None

    def __str__(self) -> str:
        for word, unit_us in _SPOKEN:
            times, rest = divmod(self.period_us, unit_us)
            if rest == 0:
                plural = "s" if times > 1 and len(word) > 2 else ""
                return f"{self.count}/{'' if times == 1 else f'{times} '}{word}{plural}"
        return f"{self.count}/{self.period_us} us"
