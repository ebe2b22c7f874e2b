"""The fields that a registration is made of: each has its check, and some may be null."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from simulator.errors import InvalidField

Fields = Mapping[str, tuple[Callable[[object], object], bool]]
"""Field: how it is checked, and whether null is a value."""


def checked(given: Mapping[str, object], fields: Fields, *, owner: str, needed: Iterable[str]) -> dict[str, Any]:
    """Return the given fields as they are stored. `owner` names the thing that has them, with its article: "a number".

    Raises InvalidField for a field that is not known, cannot be used, or is needed and not given.
    """
    for name in given:
        if name not in fields:
            raise InvalidField(name, f"is not a field of {owner}; the fields are {', '.join(fields)}")
    values = {name: _value(name, value, *fields[name]) for name, value in given.items()}
    for name in needed:
        if name not in values:
            raise InvalidField(name, "is required")
    return values


def _value(name: str, value: object, check: Callable[[object], object], allows_null: bool) -> object:
    if value is None and allows_null:
        return None
    try:
        return check(value)
    except ValueError as problem:
        raise InvalidField(name, f"{problem}{', or null' if allows_null else ''}") from None
