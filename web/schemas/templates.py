"""Message templates as approved by Meta."""

from typing import Any

from marshmallow import fields, validate

from web.schemas.base import Schema, page_of
from web.schemas.fields import Id, Instant, Name


class TemplateSchema(Schema):
    """A template by name and language."""

    id = Id(dump_only=True)
    name = Name(required=True, max_chars=512)
    language = Name(required=True, max_chars=20)
    category = Name(max_chars=50, allow_none=True)
    status = Name(max_chars=50)
    components = fields.List(fields.Dict(keys=fields.String()), validate=validate.Length(max=50))
    created_at = Instant(dump_only=True)


TemplatePageSchema: Any = page_of(TemplateSchema)
