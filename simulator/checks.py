"""What a value from outside may look like. Each check returns the value to store, or raises ValueError.

The message of the error completes a sentence that begins with the name of the field.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from simulator.number_rules import RuleBook

N = TypeVar("N", int, float)
RangeMs = tuple[float, float]


def _between(lowest: float, highest: float, kind: type[N], sentence: str) -> Callable[[object], N]:
    """Return a check that takes the numbers of a range, whole ones only where `kind` is int."""

    def check(value: object) -> N:
        # NaN and the infinities pass json.loads; only the comparison keeps them out.
        if isinstance(value, bool) or not isinstance(value, (int, kind)) or not lowest <= value <= highest:
            raise ValueError(sentence)
        return kind(value)

    return check


number = _between(0, 1e12, float, "must be a number from 0 up")
share = _between(0, 1, float, "must be a number from 0 to 1")
count = _between(0, 10**12, int, "must be a whole number from 0 up")
positive = _between(1, 10**9, int, "must be a whole number from 1 up")
code = _between(0, 9_999_999, int, "must be one of Meta's error codes, for example 131026")


def range_ms(value: object) -> RangeMs:
    pair = list(value) if isinstance(value, (list, tuple)) else [value, value]
    try:
        shortest, longest = (number(each) for each in pair)
    except ValueError:
        raise ValueError("must be milliseconds: one number, or [shortest, longest]") from None
    if shortest > longest:
        raise ValueError("must have its shortest time first")
    return shortest, longest


def codes(value: object) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("must be a list of Meta's error codes, for example [131026, 131049]")
    return tuple(code(each) for each in value)


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def text(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 4096:
        raise ValueError("must be a text of 1 to 4096 characters")
    return value


def digits(value: object) -> str:
    if not isinstance(value, str) or not (value.isascii() and value.isdigit() and len(value) <= 32):
        raise ValueError("must be a text of 1 to 32 digits")
    return value


def digits_or_empty(value: object) -> str:
    return "" if value == "" else digits(value)


def phone(value: object) -> str:
    """Return the digits of a phone number."""
    found = "".join(character for character in text(value) if character.isdigit())
    if not (found.isascii() and 7 <= len(found) <= 15):
        raise ValueError("must be a phone number of 7 to 15 digits")
    return found


def url(value: object) -> str:
    address = text(value)
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be an http or https address")
    return address


def rules(value: object) -> RuleBook:
    if not isinstance(value, Mapping):
        raise ValueError('must be an object of suffix and rule, for example {"0001": "fail:131026"}')
    for suffix, rule in value.items():
        if not isinstance(suffix, str) or not (suffix.isascii() and suffix.isdigit() and len(suffix) <= 15):
            raise ValueError(f"has a suffix {suffix!r} that is not 1 to 15 digits")
        if not isinstance(rule, str):
            raise ValueError(f"has a rule for {suffix} that is not a text")
    return RuleBook(value)


def one_of(*allowed: str) -> Callable[[object], str]:
    """Return a check that takes these texts only."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return value

    return check
