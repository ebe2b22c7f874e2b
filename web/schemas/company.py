"""The company, its people, their tokens, and how its limits and queues stand."""

from typing import Any

from marshmallow import fields

from campaign_engine.config import START_LATE_S
from campaign_engine.models import Role
from web.schemas.base import Schema, page_of
from web.schemas.fields import Id, Instant, Name, Text, TimeZone, one_of, pace, seconds


class TokenSchema(Schema):
    """A bearer token; `token` is there once, in the answer that made it."""

    id = Id(dump_only=True)
    name = Name(required=True)
    prefix = fields.String(dump_only=True, metadata={"description": "Its first characters."})
    token = fields.String(dump_only=True, metadata={"description": "The secret; only in the answer to POST."})
    created_at = Instant(dump_only=True)
    last_used_at = Instant(dump_only=True)


class UserSchema(Schema):
    """A person of the company."""

    id = Id(dump_only=True)
    email = Text(max_chars=254, required=True)
    password = Text(max_chars=1000, required=True, load_only=True)
    role = fields.String(required=True, validate=one_of(*Role))
    created_at = Instant(dump_only=True)


class SettingsSchema(Schema):
    """The company and what it sets otherwise than the installation; null goes back to the installation's."""

    name = Name()
    timezone = TimeZone()
    whatsapp_rate_limit = Text(max_chars=40, allow_none=True, metadata={"description": "Of each account: 20/minute."})
    campaign_rate_limit = Text(max_chars=40, allow_none=True, metadata={"description": "Of each user: 100/minute."})
    frequency_cap = Text(
        max_chars=40,
        allow_none=True,
        metadata={"description": "Messages a person gets of all campaigns together: 2/7 days; at most 90 days."},
    )
    start_late_s = seconds(
        *START_LATE_S,
        metadata={"description": "How late a missed start is still made up for; later, a person decides."},
    )
    opt_out_confirmation = fields.Boolean(
        allow_none=True,
        truthy={True},
        falsy={False},
        metadata={"description": "Whether an opt-out is confirmed to the person, once, within 24 hours; null: yes."},
    )
    opt_out_confirmation_text = Text(
        max_chars=1000, allow_none=True, metadata={"description": "Instead of our own words in the person's language."}
    )
    message_interval_s = pace("message_interval_s")
    longer_interval_after = pace("longer_interval_after")
    greater_interval_s = pace("greater_interval_s")
    message_delay_s = pace("message_delay_s")
    jitter_s = pace("jitter_s")


class RateLimitSchema(Schema):
    """How one limit stands."""

    key = fields.String()
    name = fields.String()
    account_id = Id(allow_none=True)
    limit = fields.String(metadata={"description": "COUNT/PERIOD."})
    burst = fields.Integer()
    used = fields.Integer()
    remaining = fields.Integer(metadata={"description": "How many may go now."})
    next_free_at = Instant(allow_none=True, metadata={"description": "When one more may go; null: now."})


class QueueSchema(Schema):
    """A queue of jobs."""

    name = fields.String()
    queued = fields.Integer()
    started = fields.Integer()
    scheduled = fields.Integer(metadata={"description": "Jobs that wait for their exact time."})
    failed = fields.Integer()
    workers = fields.Integer(metadata={"description": "Those that gave a sign of life lately."})


TokenPageSchema: Any = page_of(TokenSchema)
UserPageSchema: Any = page_of(UserSchema)
RateLimitPageSchema: Any = page_of(RateLimitSchema)
QueuePageSchema: Any = page_of(QueueSchema)
