"""What all bodies share: names in the order of their declaration, pages, and the shape of a problem."""

from collections.abc import Mapping
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from campaign_engine.errors import InvalidInput
from web.schemas.fields import Id

MAX_PAGE = 200


class Schema(ma.Schema):
    """A body; what it does not name is refused."""

    error_messages = {"unknown": "This field is not known.", "type": "This is not an object."}  # noqa: RUF012


def loaded(schema: ma.Schema, body: Mapping[str, object]) -> Any:
    """Return a body as a view would get it, for callers without HTTP.

    Raises:
        InvalidInput: names every field that cannot be used.
    """
    try:
        return schema.load(body)
    except ma.ValidationError as error:
        raise InvalidInput(flattened(error.messages)) from error


def flattened(messages: Any, prefix: str = "") -> dict[str, list[str]]:
    """Return marshmallow's nested messages under dotted names: `audience.recipients.3.phone`."""
    if isinstance(messages, Mapping):
        found: dict[str, list[str]] = {}
        for name, inner in messages.items():
            # A message about an object as a whole goes under the object's own name.
            path = prefix if name == "_schema" else f"{prefix}.{name}" if prefix else str(name)
            for field_name, sentences in flattened(inner, path).items():
                found.setdefault(field_name, []).extend(sentences)
        return found
    sentences = messages if isinstance(messages, list) else [messages]
    return {prefix or "body": [str(sentence) for sentence in sentences]}


class PageQuery(Schema):
    """How a list is asked for."""

    limit = fields.Integer(
        load_default=50,
        validate=validate.Range(min=1, max=MAX_PAGE, error=f"Accepted is a whole number from 1 to {MAX_PAGE}."),
        metadata={"description": "How many items, 1 to 200."},
    )
    cursor = fields.String(load_default=None, metadata={"description": "The `next_cursor` of the page before."})


class Ids(Schema):
    """Ids of contacts."""

    contact_ids = fields.List(
        Id(),
        required=True,
        validate=validate.Length(min=1, max=10_000, error="Accepted are 1 to 10,000 ids."),
    )


class ProblemSchema(Schema):
    """An error (RFC 9457)."""

    type = fields.String()
    title = fields.String()
    status = fields.Integer()
    detail = fields.String(metadata={"description": "A sentence for a person."})
    code = fields.String(metadata={"description": "Stable, for programs."})
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata={"description": "Sentences by field, `audience.recipients.3.phone`."},
    )
    reference = fields.String(metadata={"description": "Of an internal error: what the log has it under."})


def page_of(item: type[Schema]) -> Any:
    """Return the schema of a page of `item`."""
    name = item.__name__.removesuffix("Schema") + "PageSchema"
    return Schema.from_dict(
        {"items": fields.List(fields.Nested(item)), "next_cursor": fields.String(allow_none=True)}, name=name
    )
