"""People who must not be written to, and what people write back."""

from typing import Any

from marshmallow import fields

from web.schemas.base import PageQuery, Schema, page_of
from web.schemas.fields import Id, Instant, Text, one_of

KINDS = ("opted_out", "blocked", "held")
PHONE = "The contact's phone; of who is no contact, as the provider spells it. Every spelling means the same person."


class OptOutSchema(Schema):
    """A person who must not be written to, whatever the spelling given."""

    phone = Text(max_chars=100, required=True, metadata={"description": PHONE})
    kind = fields.String(
        load_default="opted_out",
        validate=one_of(*KINDS[:2]),
        metadata={
            "description": "`opted_out`: the person's wish; `blocked`: the company's own, which no reply of the person"
            " undoes; `held`: a reply may have meant it and somebody has to decide."
        },
    )
    note = Text(max_chars=500, allow_none=True, metadata={"description": "For the people of the company."})
    source = fields.String(
        dump_only=True, metadata={"description": "`api`, `reply`, `button`, `user_preferences`, `provider`."}
    )
    campaign_id = Id(dump_only=True, allow_none=True, metadata={"description": "The campaign that was answered."})
    opted_out_at = Instant(dump_only=True)


class OptOutQuery(PageQuery):
    """Which of them."""

    kind = fields.String(load_default=None, validate=one_of(*KINDS))


class ReplySchema(Schema):
    """What a person wrote back, and what it means for further messages."""

    id = Id()
    phone = fields.String(metadata={"description": PHONE})
    contact_id = Id(allow_none=True)
    account_id = Id()
    campaign_id = Id(allow_none=True, metadata={"description": "The campaign it answers, where that is known."})
    message_id = fields.UUID(allow_none=True)
    kind = fields.String(metadata={"description": "`text`, `button`, `interactive`, `image`, `reaction`, ..."})
    text = fields.String(allow_none=True)
    payload = fields.String(allow_none=True, metadata={"description": "Of a pressed button."})
    intent = fields.String(
        metadata={
            "description": "`certain`: opted out at once; `likely`: held until somebody decides; `resume`; `none`."
        }
    )
    received_at = Instant()
    decision = fields.String(allow_none=True, metadata={"description": "`opted_out` or `dismissed`."})
    decided_at = Instant(allow_none=True)
    decided_by = Id(
        allow_none=True,
        metadata={"description": "Null when it became clear by itself: by what the person did later or before."},
    )


class ReplyQuery(PageQuery):
    """Which replies."""

    campaign_id = Id(load_default=None)
    intent = fields.String(load_default=None, validate=one_of("certain", "likely", "resume", "none"))
    undecided = fields.Boolean(
        load_default=False, metadata={"description": "Only those that somebody has to decide on."}
    )


class DecisionSchema(Schema):
    """What somebody decided about a reply that may have meant stop."""

    decision = fields.String(required=True, validate=one_of("opted_out", "dismissed"))


OptOutPageSchema: Any = page_of(OptOutSchema)
ReplyPageSchema: Any = page_of(ReplySchema)
