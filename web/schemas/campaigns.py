"""Campaigns, how far they are, and what became of each message."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import marshmallow as ma
from marshmallow import fields, validate

from campaign_engine.config import START_LATE_S
from campaign_engine.rules import recurrence
from campaign_engine.rules.hours.local_time import first_instant
from campaign_engine.rules.hours.working_hours import COMPANY, RECIPIENT
from campaign_engine.rules.states import MessageStatus
from campaign_engine.services.campaigns.audiences import MAX_INLINE_RECIPIENTS
from campaign_engine.services.outlook.progress import STATES
from web.schemas.base import PageQuery, Schema, page_of
from web.schemas.fields import MAX_ID, Body, Id, Instant, Name, Text, TimeZone, Variables, Whole, pace, seconds

MAX_LISTS = 1000
MAX_WEIGHT = 1000

_CONTENT_FIELDS = {
    "text": {"type", "text"},
    "template": {"type", "name", "language", "components"},
    "media": {"type", "media_type", "link", "id", "caption", "filename"},
}


class RecipientSchema(Schema):
    """Somebody named in the campaign itself."""

    phone = Text(max_chars=100, required=True)
    name = Text(max_chars=200, allow_none=True)
    variables = Variables(allow_none=True)


class AudienceSchema(Schema):
    """Who gets it: everybody on any of the lists, with any of the tags, or named here, less the excluded."""

    list_ids = fields.List(Id(), validate=validate.Length(max=MAX_LISTS))
    tags = fields.List(Name(max_chars=100), validate=validate.Length(max=MAX_LISTS))
    recipients = fields.List(
        fields.Nested(RecipientSchema),
        load_only=True,
        validate=validate.Length(
            max=MAX_INLINE_RECIPIENTS,
            error=f"At most {MAX_INLINE_RECIPIENTS:,} recipients can be given inline; import a list instead.",
        ),
    )
    exclude_list_ids = fields.List(Id(), validate=validate.Length(max=MAX_LISTS))


class ContentSchema(Schema):
    """What it says: a text, an approved template, or media."""

    type = fields.String(required=True, metadata={"description": "`text`, `template` or `media`."})
    text = Text(max_chars=20_000)
    name = Text(max_chars=512)
    language = Text(max_chars=20)
    components = fields.List(fields.Dict(keys=fields.String()))
    media_type = Text(max_chars=20)
    link = Text(max_chars=2000)
    id = Text(max_chars=200)
    caption = Text(max_chars=20_000)
    filename = Text(max_chars=240)

    @ma.validates_schema
    def refuse_what_the_type_does_not_have(self, data: Body, **_: Any) -> None:
        """Name the fields that would be ignored."""
        known = _CONTENT_FIELDS.get(data["type"])
        stray = [name for name in data if known is not None and name not in known]
        if stray:
            raise ma.ValidationError({name: [f"A content of the type {data['type']} has none."] for name in stray})


class PacingSchema(Schema):
    """The campaign's own pace; what is left out or null falls back to the account's."""

    message_interval_s = pace("message_interval_s")
    longer_interval_after = pace("longer_interval_after")
    greater_interval_s = pace("greater_interval_s")
    message_delay_s = pace("message_delay_s")
    jitter_s = pace("jitter_s")


class WindowSchema(Schema):
    """A stretch of some weekdays, in local time; one that ends before it starts ends on the next day."""

    days = fields.List(Text(max_chars=3), required=True, validate=validate.Length(min=1, max=7))
    start = Text(max_chars=8, required=True, metadata={"description": "Such as 08:30."})
    end = Text(max_chars=8, required=True, metadata={"description": "Such as 18:00; 24:00 is the end of the day."})


class HoursZone(TimeZone):
    """The zone that windows are meant in: one of the IANA database, the company's, or each recipient's."""

    def _deserialize(self, value: Any, attr: str | None, data: Body | None, **kwargs: Any) -> Any:
        return value if value in (COMPANY, RECIPIENT) else super()._deserialize(value, attr, data, **kwargs)


class WorkingHoursSchema(Schema):
    """When the campaign may send."""

    windows = fields.List(fields.Nested(WindowSchema), required=True, validate=validate.Length(min=1, max=50))
    timezone = HoursZone(
        allow_none=True,
        metadata={"description": "Left out, the campaign's; `company` and `recipient` are accepted too."},
    )
    holidays = fields.List(Text(max_chars=10), validate=validate.Length(max=400))
    at_close = Text(max_chars=10, metadata={"description": "`resume` (the default) or `stop`."})


class DayOfMonth(Whole):
    """A day of the month: 1 to 31 (in a shorter month, its last day) or `last`."""

    def _deserialize(self, value: Any, attr: str | None, data: Body | None, **kwargs: Any) -> Any:
        return value if value == recurrence.LAST else super()._deserialize(value, attr, data, **kwargs)

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return value


class RecurrenceSchema(Schema):
    """When a campaign starts again, in its time zone."""

    every = Text(max_chars=10, required=True, metadata={"description": "`day`, `week` or `month`."})
    interval = Whole(metadata={"description": "Every so many of them; 1 unless given."})
    days = fields.List(
        Text(max_chars=3),
        validate=validate.Length(min=1, max=7),
        metadata={"description": "Of a week: `mon` to `sun`; the first start's unless given."},
    )
    day_of_month = DayOfMonth(
        metadata={
            "type": ["integer", "string"],
            "description": "1 to 31 or `last`; a shorter month's last day stands in. The first start's unless given.",
        }
    )
    time = Text(
        max_chars=5,
        required=True,
        metadata={
            "description": "Such as 09:00; one that a clock change skips comes right after it, a repeated one once."
        },
    )
    starts_on = Text(
        max_chars=10,
        metadata={"description": "Intervals are counted from this date; the first start's unless given."},
    )
    until = Text(max_chars=10, metadata={"description": "The last date on which it may start."})
    count = Whole(metadata={"description": "How many times it starts in all."})


class RotationSchema(Schema):
    """How the messages are dealt out to the accounts; left out, each account takes what comes next."""

    sticky = fields.Boolean(
        truthy={True},
        falsy={False},
        metadata={"description": "Keep contacts on the account of the campaign that last wrote to them."},
    )
    weights = fields.Dict(
        keys=fields.String(),
        values=Whole(validate=validate.Range(min=1, max=MAX_WEIGHT, error=f"Accepted is 1 to {MAX_WEIGHT}.")),
        allow_none=True,
        validate=validate.Length(max=MAX_LISTS),
        metadata={"description": "Shares by account id; accounts that are not named get 1."},
    )


class StartTime(Instant):
    """A moment to start at: with its offset, or as a local time of the `timezone` given with it."""

    def _deserialize(self, value: Any, attr: str | None, data: Body | None, **kwargs: Any) -> datetime:
        zone = data.get("timezone") if data else None
        local = _local_time(value)
        if local is None or not isinstance(zone, str):
            return super()._deserialize(value, attr, data, **kwargs)
        try:
            return first_instant(local, ZoneInfo(TimeZone().deserialize(zone)))
        except OverflowError as error:
            raise ma.ValidationError("This time is out of range.") from error


_STARTS_AT = {
    "description": "With its offset from UTC, or without one as a local time of the `timezone` given with it."
}
_RECURS = {
    "description": "Makes it a series: when one occurrence starts, the next is written, a campaign of its own. Without"
    " `scheduled_at` it begins at its first time. Null ends the series after this occurrence, cancelling it now."
}
_STARTS_LATE = {
    "description": "How many seconds late it may start by itself, such as after an outage; later, it becomes a draft"
    " with the `status_code` `missed_start` and a person decides. Null: the company's, else the installation's."
}
_CAPS = {
    "description": "Messages a person may get of all campaigns together, such as 2/7 days; `none` lifts the company's."
}


def _local_time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is None else None


class CampaignSchema(Schema):
    """A campaign to make."""

    name = Name(required=True)
    account_ids = fields.List(Id(), required=True, validate=validate.Length(max=MAX_LISTS))
    audience = fields.Nested(AudienceSchema, required=True)
    content = fields.Nested(ContentSchema, required=True)
    scheduled_at = StartTime(allow_none=True, metadata=_STARTS_AT)
    timezone = TimeZone(allow_none=True)
    recurrence = fields.Nested(RecurrenceSchema, allow_none=True, metadata=_RECURS)
    start_late_s = seconds(*START_LATE_S, metadata=_STARTS_LATE)
    pacing = fields.Nested(PacingSchema, allow_none=True)
    working_hours = fields.Nested(WorkingHoursSchema, allow_none=True)
    rotation = fields.Nested(RotationSchema, allow_none=True)
    frequency_cap = Text(max_chars=40, allow_none=True, metadata=_CAPS)


class CampaignChangeSchema(CampaignSchema):
    """What may change about a campaign; after the start only `name`, `content`, `pacing`, `working_hours` and
    `frequency_cap`.
    """

    optional = ("name", "account_ids", "audience", "content")

    scheduled_at = StartTime(metadata=_STARTS_AT)
    timezone = TimeZone()
    pacing = fields.Nested(PacingSchema)


# By from_dict, because a state has the name of an attribute of schemas: `unknown`.
CountsSchema: Any = Schema.from_dict({state: fields.Integer() for state in STATES}, name="CountsSchema")


class CampaignShownSchema(Schema):
    """A campaign as it is."""

    id = Id()
    name = fields.String()
    status = fields.String()
    status_code = fields.String(allow_none=True, metadata={"description": "`status_reason` for programs."})
    status_reason = fields.String(allow_none=True)
    owner_id = Id()
    account_ids = fields.List(Id())
    audience = fields.Nested(AudienceSchema)
    recipient_count = fields.Integer(metadata={"description": "Recipients named in the campaign itself."})
    content = fields.Raw(metadata={"type": "object"})
    pacing = fields.Raw(metadata={"type": "object"})
    working_hours = fields.Raw(allow_none=True, metadata={"type": "object"})
    rotation = fields.Nested(RotationSchema)
    frequency_cap = fields.String(allow_none=True)
    timezone = fields.String()
    scheduled_at = Instant(allow_none=True)
    start_late_s = fields.Float(allow_none=True)
    recurrence = fields.Nested(RecurrenceSchema, allow_none=True)
    occurrence = fields.Integer(metadata={"description": "Its number in its series, from 1."})
    parent_id = Id(allow_none=True, metadata={"description": "The first occurrence of its series; null of the first."})
    next_occurrence_at = Instant(allow_none=True, metadata={"description": "When its series starts next after it."})
    created_at = Instant()
    started_at = Instant(allow_none=True)
    finished_at = Instant(allow_none=True)
    total = fields.Integer()
    counts = fields.Nested(CountsSchema)
    version = fields.Integer()


class FunnelSchema(Schema):
    """Messages that got at least this far."""

    sent = fields.Integer()
    delivered = fields.Integer()
    read = fields.Integer()


class WaitSchema(Schema):
    """Why nothing leaves just now."""

    reason = fields.String(metadata={"description": "A stable word, such as `outside_hours` or `pacing`."})
    until = Instant(allow_none=True)
    text = fields.String(metadata={"description": "The reason in words with its end, in the campaign's time zone."})
    account_id = Id(allow_none=True, metadata={"description": "Which account waits; null: the campaign itself."})


class AccountInProgressSchema(Schema):
    """An account of the campaign."""

    id = Id()
    name = fields.String()
    status = fields.String()
    status_reason = fields.String(allow_none=True)


class ProgressSchema(Schema):
    """How far a campaign is."""

    campaign_id = Id()
    name = fields.String()
    status = fields.String()
    status_reason = fields.String(allow_none=True)
    total = fields.Integer()
    counts = fields.Nested(CountsSchema)
    funnel = fields.Nested(FunnelSchema)
    success_rate = fields.Float(allow_none=True, metadata={"description": "Of the settled ones, 0 to 1."})
    rate_per_minute = fields.Float()
    eta = Instant(allow_none=True)
    eta_seconds = fields.Float(allow_none=True)
    waiting = fields.List(fields.Nested(WaitSchema))
    accounts = fields.List(fields.Nested(AccountInProgressSchema))
    scheduled_at = Instant(allow_none=True)
    started_at = Instant(allow_none=True)
    finished_at = Instant(allow_none=True)
    version = fields.Integer()


class ProgressQuery(Schema):
    """What the caller has already."""

    since = fields.Integer(
        load_default=None,
        validate=validate.Range(min=0, max=MAX_ID),
        metadata={"description": "A `version`; 304 when it is still the present one."},
    )


class ProgressesQuery(Schema):
    """Whose progress."""

    ids = fields.String(required=True, metadata={"description": "Ids of campaigns, with commas between them."})


class ProgressesSchema(Schema):
    """The progress of several campaigns; ids that are none of the company's are left out."""

    items = fields.List(fields.Nested(ProgressSchema))


class MessageSchema(Schema):
    """What became of one recipient."""

    id = fields.String()
    contact_id = Id(allow_none=True)
    account_id = Id(allow_none=True)
    phone = fields.String()
    status = fields.String()
    status_reason = fields.String(allow_none=True)
    attempts = fields.Integer()
    next_attempt_at = Instant(allow_none=True)
    provider_message_id = fields.String(allow_none=True)
    error_class = fields.String(allow_none=True)
    error_code = fields.String(allow_none=True)
    error_detail = fields.String(allow_none=True)
    accepted_at = Instant(allow_none=True)
    sent_at = Instant(allow_none=True)
    delivered_at = Instant(allow_none=True)
    read_at = Instant(allow_none=True)
    failed_at = Instant(allow_none=True)


class MessageQuery(PageQuery):
    """Which messages."""

    status = fields.String(
        load_default=None,
        validate=validate.OneOf([*MessageStatus], error="Accepted are " + ", ".join(MessageStatus) + "."),
    )


CampaignPageSchema: Any = page_of(CampaignShownSchema)
MessagePageSchema: Any = page_of(MessageSchema)
