"""What people do about single messages: unknown outcomes, failures tried again, tests."""

from typing import Any

from marshmallow import fields, validate

from campaign_engine.rules.failures import ErrorClass
from web.schemas.base import PageQuery, Schema, page_of
from web.schemas.campaigns import MessageSchema
from web.schemas.fields import Id, Instant, Text, Variables

MAX_CODES = 100


class UnknownMessagesQuery(PageQuery):
    """Which unknown messages."""

    campaign_id = Id(load_default=None, metadata={"description": "Of this campaign only."})


class UnknownMessageSchema(MessageSchema):
    """A message whose outcome is unknown after the grace time."""

    campaign_id = Id()
    campaign_name = fields.String()
    claimed_at = Instant(metadata={"description": "When it was handed to the provider."})
    resendable = fields.Boolean(metadata={"description": "Whether its campaign may send again; it was not cancelled."})


class ExclusionSchema(Schema):
    """Messages that are left as they are."""

    reason = fields.String()
    count = fields.Integer()
    text = fields.String()


class ResentMessageSchema(Schema):
    """A message that goes out again."""

    message = fields.Nested(MessageSchema)
    warning = fields.String()


class ResentMessagesSchema(Schema):
    """How many messages go out again."""

    count = fields.Integer()
    excluded = fields.List(fields.Nested(ExclusionSchema))
    warning = fields.String()


class DismissedMessagesSchema(Schema):
    """How many messages are listed no more."""

    count = fields.Integer()


class RetrySchema(Schema):
    """Which failed messages go out again."""

    classes = fields.List(
        fields.String(validate=validate.OneOf([*ErrorClass], error="Accepted are " + ", ".join(ErrorClass) + ".")),
        required=True,
        validate=validate.Length(min=1, max=len(ErrorClass), error="Name at least one class, and each once."),
    )
    codes = fields.List(
        Text(max_chars=100),
        allow_none=True,
        validate=validate.Length(min=1, max=MAX_CODES, error=f"Give 1 to {MAX_CODES} codes."),
        metadata={"description": "Of these codes only; `none` is a failure without one."},
    )
    dry_run = fields.Boolean(load_default=False, truthy={True}, falsy={False}, metadata={"description": "Count only."})


class RetriedGroupSchema(Schema):
    """Failed messages of one class and code."""

    error_class = fields.String()
    code = fields.String(allow_none=True)
    detail = fields.String(allow_none=True)
    count = fields.Integer(attribute="message_count", metadata={"description": "All of them."})
    retried = fields.Integer(
        attribute="retryable_count", metadata={"description": "Those that go out again, or would."}
    )


class RetriedSchema(Schema):
    """What a retry does, or with `dry_run` would do."""

    dry_run = fields.Boolean()
    count = fields.Integer()
    groups = fields.List(fields.Nested(RetriedGroupSchema))
    excluded = fields.List(fields.Nested(ExclusionSchema))


class TestSchema(Schema):
    """To whom a test goes; what is left out comes from the contact with this number."""

    __test__ = False

    phone = Text(max_chars=100, required=True)
    name = Text(max_chars=200, allow_none=True)
    variables = Variables(allow_none=True)
    account_id = Id(allow_none=True, metadata={"description": "One of the campaign's; else its first active one."})


class TestShownSchema(Schema):
    """A test and what became of its message."""

    __test__ = False

    id = Id(attribute="campaign.id")
    account_id = Id()
    created_at = Instant(attribute="campaign.created_at")
    message = fields.Nested(MessageSchema)


UnknownMessagePageSchema: Any = page_of(UnknownMessageSchema)
TestPageSchema: Any = page_of(TestShownSchema)
