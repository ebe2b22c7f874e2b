"""Accounts; secrets go in and never come out."""

from typing import Any
from urllib.parse import urlsplit

from marshmallow import fields, validate

from campaign_engine.models import Role
from campaign_engine.providers import REGISTRY
from campaign_engine.services.accounts.health import warnings_of
from web import auth
from web.schemas.base import Schema, page_of
from web.schemas.fields import Id, Instant, Name, Text, Whole, pace
from web.webhooks import address_for


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value


def _is_http_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and _is_plain(value)


class WarmUpSchema(Schema):
    """How a new number begins: a few messages a day, more as it ages. `{}` is the usual ladder, from now on."""

    started_at = Text(max_chars=40, metadata={"description": "RFC 3339; now when left out."})
    ladder = fields.List(
        fields.List(Whole(), validate=validate.Length(equal=2)), validate=validate.Length(min=1, max=30)
    )
    ends_on_day = Whole(validate=validate.Range(min=1, max=3650))


class AccountSchema(Schema):
    """A WhatsApp account; nulls in limits and pacing fall back to the company's and the installation's."""

    id = Id(dump_only=True)
    name = Name(required=True)
    provider = Text(
        max_chars=20,
        required=True,
        metadata={"description": " or ".join(f"`{each.traits.name}`" for each in REGISTRY) + "."},
    )
    base_url = Text(
        max_chars=500,
        accepts=_is_http_url,
        error="This must be an address that starts with https:// or http://.",
        allow_none=True,
    )
    phone_number_id = Text(
        max_chars=50,
        accepts=lambda number: number.isascii() and number.isalnum(),
        error="This is the id of the number at Meta (digits), not the telephone number.",
        metadata={"description": "The id of the number at Meta."},
    )
    instance = Text(
        max_chars=200,
        accepts=str.isprintable,
        error="This is the name of an instance at the provider.",
        allow_none=True,
        metadata={"description": "The name of the instance at the provider, where it has such."},
    )
    access_token = Text(
        max_chars=4096,
        accepts=_is_plain,
        error="A token has letters, digits and signs only; was something else copied along?",
        load_only=True,
        required=True,
        metadata={"description": "The token, or the API key."},
    )
    app_secret = Text(max_chars=500, load_only=True, allow_none=True)
    verify_token = Text(max_chars=500, load_only=True, allow_none=True)
    rate_limit = Text(max_chars=40, allow_none=True, metadata={"description": "COUNT/PERIOD, such as 20/minute."})
    burst = Whole(allow_none=True, validate=validate.Range(min=1, max=1_000_000))
    max_in_flight = Whole(allow_none=True, validate=validate.Range(min=1))
    message_interval_s = pace("message_interval_s")
    longer_interval_after = pace("longer_interval_after")
    greater_interval_s = pace("greater_interval_s")
    portfolio = Text(
        max_chars=100,
        allow_none=True,
        metadata={
            "description": "A name for Meta's business portfolio that owns the number. Numbers of one name share one"
            " count of recipients, and so do all without a name: name them when they belong to several portfolios."
        },
    )
    daily_recipient_limit = Whole(
        allow_none=True,
        validate=validate.Range(min=1, max=10_000_000),
        metadata={"description": "Meta's tier: different recipients in any 24 hours, over the whole portfolio."},
    )
    provider_recipient_limit = fields.Integer(
        dump_only=True,
        metadata={"description": "What the provider said last; it is followed where nobody set another."},
    )
    warm_up = fields.Nested(WarmUpSchema, allow_none=True)

    status = fields.String(dump_only=True)
    status_reason = fields.String(dump_only=True)
    consecutive_failures = fields.Integer(dump_only=True)
    on_probation = fields.Boolean(
        dump_only=True, metadata={"description": "Reactivated; the others follow when one message was accepted."}
    )
    warnings = fields.Function(
        warnings_of,
        metadata={
            "type": "array",
            "items": {"type": "string"},
            "description": "What may soon stop the account, or hides what becomes of its messages; stops nothing.",
        },
    )
    has_app_secret = fields.Function(
        lambda account: account.app_secret_encrypted is not None, metadata={"type": "boolean"}
    )
    has_verify_token = fields.Function(
        lambda account: account.verify_token_encrypted is not None, metadata={"type": "boolean"}
    )
    webhook_url = fields.Function(
        lambda account: address_for(account) if account.webhook_key is None or auth.may(Role.ADMIN) else None,
        metadata={
            "type": "string",
            "nullable": True,
            "description": "Where the provider is to post. One that ends in a secret is shown to administrators only.",
        },
    )
    health = fields.Raw(
        dump_only=True,
        metadata={
            "type": "object",
            "description": "What the provider says: `reachable`, `summary`; of a number at Meta `quality_rating`,"
            " `status`, `throughput`, `tier` (recipients a day), `can_send_message`, `verified_name`,"
            " `display_phone_number`. Shared for some seconds, renewed while campaigns run.",
        },
    )
    health_checked_at = Instant(dump_only=True)
    created_at = Instant(dump_only=True)


AccountPageSchema: Any = page_of(AccountSchema)
