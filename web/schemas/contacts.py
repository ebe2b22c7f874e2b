"""Contacts, their lists, and imports of them."""

import json
from typing import Any

import marshmallow as ma
from flask_smorest.fields import Upload
from marshmallow import fields
from werkzeug.datastructures import FileStorage

from web.schemas.base import PageQuery, Schema, page_of
from web.schemas.fields import Body, Id, Instant, Name, Tags, Text, Variables


class ContactSchema(Schema):
    """A contact; the number in any usual spelling goes in, E.164 comes out."""

    id = Id(dump_only=True)
    phone = Text(max_chars=100, required=True)
    name = Text(max_chars=200, allow_none=True)
    variables = Variables()
    tags = Tags()
    created_at = Instant(dump_only=True)


class ContactQuery(PageQuery):
    """Which contacts."""

    list_id = Id(load_default=None, metadata={"description": "Only those on this list."})


class ListSchema(Schema):
    """A list of contacts."""

    id = Id(dump_only=True)
    name = Name(required=True)
    contact_count = fields.Integer(dump_only=True)
    created_at = Instant(dump_only=True)


class MembershipSchema(Schema):
    """What became of a change of a list."""

    changed_count = fields.Integer(metadata={"description": "Contacts that were not (or were) on the list before."})
    contact_count = fields.Integer()


class JsonObject(fields.Dict):
    """An object written as JSON inside a form."""

    def _deserialize(self, value: Any, attr: str | None, data: Body | None, **kwargs: Any) -> Any:
        try:
            given = json.loads(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise ma.ValidationError("This is not a JSON object.") from error
        return super()._deserialize(given, attr, data, **kwargs)  # type: ignore[no-untyped-call]


class File(Upload):  # type: ignore[misc]
    """A file of a form."""

    def _deserialize(self, value: Any, attr: str | None, data: Body | None, **kwargs: Any) -> Any:
        if not isinstance(value, FileStorage):
            raise ma.ValidationError("This is not a file; send it as multipart/form-data.")
        return super()._deserialize(value, attr, data, **kwargs)


class ImportRequestSchema(Schema):
    """A file to import, and how to read it."""

    file = File(required=True, metadata={"description": "CSV."})
    list = Name(load_default=None, metadata={"description": "The name of a list to put the contacts on."})
    mapping = JsonObject(
        keys=fields.String(),
        values=fields.String(),
        load_default=None,
        metadata={"description": 'JSON: which column is what, `{"phone": "Celular"}`.'},
    )
    default_region = Text(
        max_chars=10, load_default=None, metadata={"description": "For numbers without a country code, such as BR."}
    )


class ImportCountsSchema(Schema):
    """Rows so far."""

    rows = fields.Integer(attribute="row_count")
    created = fields.Integer(attribute="created_count")
    updated = fields.Integer(attribute="updated_count")
    duplicates = fields.Integer(attribute="duplicate_count")
    errors = fields.Integer(attribute="error_count")


class ImportSchema(Schema):
    """An import and how far it is."""

    id = Id()
    status = fields.String(metadata={"description": "`pending`, `running`, `completed`, `failed`."})
    failure = fields.String(allow_none=True)
    percent = fields.Integer()
    counts = fields.Nested(ImportCountsSchema, attribute="record")
    filename = fields.String()
    size_bytes = fields.Integer()
    list_id = Id(allow_none=True)
    default_region = fields.String()
    created_at = Instant()
    finished_at = Instant(allow_none=True)


ContactPageSchema: Any = page_of(ContactSchema)
ListPageSchema: Any = page_of(ListSchema)
