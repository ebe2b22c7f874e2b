"""What a value from outside may look like. Each check returns the value to store, or raises ValueError.

The message of the error completes a sentence that begins with the name of the field.
"""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from simulator.number_rules import RuleBook

RangeMs = tuple[float, float]


def number(value: object) -> float:
    # NaN and the infinities pass json.loads; only the comparison keeps them out.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e12:
        raise ValueError("must be a number from 0 up")
    return float(value)


def share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError("must be a number from 0 to 1")
    return float(value)


def count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10**12:
        raise ValueError("must be a whole number from 0 up")
    return value


def positive(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**9:
        raise ValueError("must be a whole number from 1 up")
    return value


def range_ms(value: object) -> RangeMs:
    pair = list(value) if isinstance(value, (list, tuple)) else [value, value]
    try:
        shortest, longest = (number(each) for each in pair)
    except ValueError:
        raise ValueError("must be milliseconds: one number, or [shortest, longest]") from None
    if shortest > longest:
        raise ValueError("must have its shortest time first")
    return shortest, longest


def code(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9_999_999:
        raise ValueError("must be one of Meta's error codes, for example 131026")
    return value


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
