"""The kinds of value that the API's bodies are made of, strict in what they take."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import marshmallow as ma
from marshmallow import fields, validate

from campaign_engine.rules.pacing import ACCEPTED

MAX_ID = 2**63 - 1
Body = Mapping[str, Any]
"""The object in a request that a field is taken out of; nothing in it is checked yet."""
NAME_CHARS = 200
MAX_VALUE_CHARS = 4096
MAX_DEPTH = 32
"""How deep objects and lists in a body may nest: far deeper than a campaign's content needs."""


def unstorable(given: Any) -> dict[str, list[str]]:
    """Return the faults of texts in `given`, by dotted field name: NUL characters and halves of surrogate pairs.

    PostgreSQL stores neither; json.loads lets both through.
    """
    faults: dict[str, list[str]] = {}
    waiting: list[tuple[str, Any, int]] = [("", given, 0)]
    while waiting:
        path, node, depth = waiting.pop()
        if isinstance(node, str):
            if "\0" in node:
                faults[path or "body"] = ["A NUL character is not accepted."]
            elif not _encodable(node):
                faults[path or "body"] = ["This text has half of a surrogate pair."]
        elif depth > MAX_DEPTH:
            faults[path] = ["This is nested too deeply."]
        elif isinstance(node, Mapping):
            for name in node:
                label = name if _encodable(str(name)) and "\0" not in str(name) else "name"
                inner = f"{path}.{label}" if path else label
                waiting.append((inner, name, depth + 1))
                waiting.append((inner, node[name], depth + 1))
        elif isinstance(node, list | tuple):
            waiting.extend((f"{path}.{at}" if path else str(at), each, depth + 1) for at, each in enumerate(node))
    return faults


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Id(fields.Field[int]):
    """An id: a string of digits in JSON, a number inside. A JSON number is taken too."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return None if value is None else str(value)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_ID:
            raise ma.ValidationError("This is not an id.")
        return value


class Instant(fields.Field[datetime]):
    """A moment: RFC 3339 with its offset when taken, in UTC with a Z when given."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if value is None:
            return None
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError) as error:
            raise ma.ValidationError("This is not a time; write for example 2030-01-31T09:00:00-03:00.") from error
        if moment.tzinfo is None:
            raise ma.ValidationError("A time needs its offset from UTC, for example 2030-01-31T09:00:00-03:00 or ...Z.")
        try:
            return moment.astimezone(UTC)
        except OverflowError as error:
            raise ma.ValidationError("This time is out of range.") from error


class Whole(fields.Integer):
    """A whole number that is a JSON number: neither "5" nor 5.0 nor true."""

    def _deserialize(self, value: Any, attr: str | None, data: Body | None, **kwargs: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ma.ValidationError("This is not a whole number.")
        return super()._deserialize(value, attr, data, **kwargs)


class Number(fields.Float):
    """A number that is a JSON number: neither "5" nor true."""

    def _deserialize(self, value: Any, attr: str | None, data: Body | None, **kwargs: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ma.ValidationError("This is not a number.")
        return super()._deserialize(value, attr, data, **kwargs)


def pace(name: str) -> fields.Field[Any]:
    """Return the field for a part of a pace; null falls back to the next layer."""
    least, most = ACCEPTED[name]
    if name.endswith("_s"):
        return seconds(least, most)
    error = f"Accepted is a whole number from {least} to {most}."
    return Whole(allow_none=True, validate=validate.Range(min=least, max=most, error=error))


def seconds(least: int, most: int, **kwargs: Any) -> Number:
    """Return the field for a number of seconds; null falls back to the next layer."""
    error = f"Accepted is a number of seconds from {least} to {most}."
    return Number(allow_none=True, validate=validate.Range(min=least, max=most, error=error), **kwargs)


def one_of(*words: str) -> validate.OneOf:
    """Return the check that a text is one of two or more words."""
    return validate.OneOf(words, error=f"Accepted are {', '.join(words[:-1])} and {words[-1]}.")


class Name(fields.String):
    """A short text that is not blank, without spaces at its ends."""

    def __init__(self, *, max_chars: int = NAME_CHARS, **kwargs: Any) -> None:
        super().__init__(
            validate=[
                validate.Length(min=1, error="This may not be empty."),
                validate.Length(max=max_chars, error=f"This has more than {max_chars} characters."),
            ],
            **kwargs,
        )

    def _deserialize(self, value: Any, attr: str | None, data: Body | None, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        return text.strip() if isinstance(text, str) else text


class Text(fields.String):
    """A text of bounded length, kept as it is; unless it is empty, only one of which `accepts` is true."""

    def __init__(
        self, *, max_chars: int, accepts: Callable[[str], bool] | None = None, error: str = "", **kwargs: Any
    ) -> None:
        def check(value: str) -> None:
            if value and accepts is not None and not accepts(value):
                raise ma.ValidationError(error)

        length = validate.Length(max=max_chars, error=f"This has more than {max_chars} characters.")
        super().__init__(validate=[length, check], **kwargs)


class TimeZone(fields.String):
    """A time zone of the IANA database."""

    def _deserialize(self, value: Any, attr: str | None, data: Body | None, **kwargs: Any) -> Any:
        name = super()._deserialize(value, attr, data, **kwargs)
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ma.ValidationError("This is not a time zone; write for example America/Sao_Paulo.") from error
        return name


class Value(fields.Field[str]):
    """A variable's value: a text or a number, kept as text; null leaves it out."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not isinstance(value, str) and (not number or value in (math.inf, -math.inf)):
            raise ma.ValidationError("A variable's value is a text or a number.")
        if len(str(value)) > MAX_VALUE_CHARS:
            raise ma.ValidationError(f"This has more than {MAX_VALUE_CHARS} characters.")
        return str(value)


class Variables(fields.Dict):
    """Variables by name."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            keys=fields.String(validate=validate.Length(min=1, max=NAME_CHARS)),
            values=Value(allow_none=True),
            validate=validate.Length(max=200, error="More than 200 variables."),
            **kwargs,
        )


class Tags(fields.List[str]):
    """Short labels."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(Name(max_chars=100), validate=validate.Length(max=100, error="More than 100 tags."), **kwargs)
