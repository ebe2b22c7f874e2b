"""Values from JSON that others wrote: whatever it holds, the values returned can be used and stored."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

LONGEST_TEXT = 500  # characters; longer than any provider's id, shorter than an index of PostgreSQL allows
LONGEST_MESSAGE = 4_096  # characters of what a person wrote that are kept


def object_in(body: bytes) -> Mapping[str, Any] | None:
    """Return a body as a JSON object, or None if it is no object."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def object_of(value: Any) -> Mapping[str, Any]:
    """Return a value that is an object; an empty one for any other."""
    return value if isinstance(value, dict) else {}


def objects_of(items: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a list; nothing if it is no list."""
    if isinstance(items, list):
        yield from (item for item in items if isinstance(item, dict))


def text_of(value: Any, *, longest: int = LONGEST_TEXT) -> str | None:
    """Return a text that PostgreSQL can store and index: JSON may hold NUL and lone surrogates, PostgreSQL not."""
    if not isinstance(value, str | int) or value == "":
        return None
    text = str(value).replace("\0", "")
    return text.encode("utf-8", "replace").decode()[:longest]


def words_of(value: Any) -> str | None:
    """Return what a person wrote, like `text_of`."""
    return text_of(value, longest=LONGEST_MESSAGE)


def moment_of(value: Any) -> datetime | None:
    """Return the time that Unix seconds stand for, written as a number or as its digits."""
    try:
        return datetime.fromtimestamp(int(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
