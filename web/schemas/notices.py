"""What a company is told, and what was done in its name."""

from typing import Any

from marshmallow import fields, validate

from web.schemas.base import PageQuery, Schema, page_of
from web.schemas.fields import Id, Instant, Text


class NotificationQuery(PageQuery):
    """How notifications are asked for."""

    unread = fields.Boolean(
        load_default=None,
        metadata={"description": "`true`: those nobody has marked as read; `false`: the others; left out: all."},
    )


class NotificationSchema(Schema):
    """Something the company should know."""

    id = Id(dump_only=True)
    kind = fields.String(dump_only=True, metadata={"description": "Stable, for programs: `account_deactivated`."})
    severity = fields.String(dump_only=True, metadata={"description": "`info`, `warning` or `error`."})
    text = fields.String(dump_only=True, metadata={"description": "A sentence for people."})
    subject_kind = fields.String(dump_only=True, metadata={"description": "What it is about: `account`, ..."})
    subject_id = fields.String(dump_only=True)
    created_at = Instant(dump_only=True)
    read_at = Instant(dump_only=True, metadata={"description": "When somebody marked it as read; null: unread."})


class ReadAllSchema(Schema):
    """Which notifications were seen."""

    up_to = Id(load_default=None, metadata={"description": "The newest that was seen; left out: all there are."})


class MarkedSchema(Schema):
    """What marking did."""

    marked = fields.Integer(metadata={"description": "How many were unread until now."})


class AuditQuery(PageQuery):
    """How the audit log is asked for; what is given narrows it down."""

    subject = fields.String(
        load_default=None,
        validate=validate.Regexp(r"^[a-z_]{1,40}(:[\w-]{1,64})?\Z", error="Write a kind or kind:id: account:7."),
        metadata={"description": "A kind, or kind:id: `campaign`, `account:7`."},
    )
    actor = Id(load_default=None, metadata={"description": "The id of the user who did it."})
    action = Text(max_chars=100, load_default=None, metadata={"description": "Such as `campaign.started`."})


class AuditEntrySchema(Schema):
    """Who did what to what."""

    id = Id(dump_only=True)
    created_at = Instant(dump_only=True)
    actor_id = Id(dump_only=True, metadata={"description": "The user, if it was one and is there still."})
    actor = fields.String(
        dump_only=True,
        metadata={"description": "What the user was called then, or `command line`; null: the engine itself."},
    )
    action = fields.String(dump_only=True, metadata={"description": "Stable, for programs: `account.deleted`."})
    subject_kind = fields.String(dump_only=True)
    subject_id = fields.String(dump_only=True)
    details = fields.Raw(dump_only=True, metadata={"type": "object"})


NotificationPageSchema: Any = page_of(NotificationSchema)
AuditEntryPageSchema: Any = page_of(AuditEntrySchema)
