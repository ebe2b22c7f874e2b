"""What is known about a campaign before its launch."""

from marshmallow import fields

from web.schemas.base import Schema
from web.schemas.campaigns import AccountInProgressSchema
from web.schemas.fields import Id, Instant


class PreflightQuery(Schema):
    """Which end would be too late."""

    must_end_by = Instant(load_default=None, metadata={"description": "Asks whether the last message leaves by then."})


class RemarkSchema(Schema):
    """Something to know before the start."""

    code = fields.String()
    account_id = Id(allow_none=True)
    text = fields.String()


class AccountBeforeLaunchSchema(AccountInProgressSchema):
    """An account of the campaign, with what it could send for it alone."""

    live = fields.Boolean()
    limit = fields.String()
    pace = fields.String(allow_none=True)
    messages_per_hour = fields.Integer()


class PreflightSchema(Schema):
    """What would become of a campaign if it started now or, when it is scheduled, at its time."""

    campaign_id = Id()
    status = fields.String()
    named = fields.Integer(metadata={"description": "All that its lists, tags and recipients name."})
    recipients = fields.Integer(metadata={"description": "Those who would get a message."})
    left_out = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={
            "description": "How many get none, by reason: duplicate, opted_out, blocked, held_for_review, excluded,"
            " frequency_cap, missing_variables."
        },
    )
    missing_variables = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={"description": "How many lack each variable that the text needs."},
    )
    starts_at = Instant()
    first_message_at = Instant(allow_none=True)
    ends_at = Instant(allow_none=True)
    no_end = fields.String(
        allow_none=True,
        metadata={"description": "Why no end can be told: no_account, never_opens, stops_at_close, beyond_horizon."},
    )
    must_end_by = Instant(allow_none=True)
    fits = fields.Boolean(allow_none=True)
    bound = fields.Nested(
        RemarkSchema,
        allow_none=True,
        metadata={
            "description": "What holds the campaign up for most of its time: the slowest of all limits and paces."
        },
    )
    accounts = fields.List(fields.Nested(AccountBeforeLaunchSchema))
    warnings = fields.List(fields.Nested(RemarkSchema))
    summary = fields.String()
