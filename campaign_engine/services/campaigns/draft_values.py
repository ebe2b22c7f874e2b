"""The values of a draft, as a face gives them: of their type and in their range; what is left out is absent."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Required, TypedDict

from campaign_engine.json_types import Json
from campaign_engine.rules.hours.working_hours import WorkingHoursValues
from campaign_engine.rules.recurrence import RecurrenceValues


class RecipientValues(TypedDict, total=False):
    """Somebody named in the campaign itself; the phone as it was written."""

    phone: Required[str]
    name: str | None
    variables: Mapping[str, str | None] | None


class AudienceValues(TypedDict, total=False):
    """Who gets it: everybody on any of the lists, with any of the tags, or named here, less the excluded."""

    list_ids: Sequence[int]
    tags: Sequence[str]
    exclude_list_ids: Sequence[int]
    recipients: Sequence[RecipientValues]


class RotationValues(TypedDict, total=False):
    """How the messages are dealt out; weights are by account id, in digits."""

    sticky: bool
    weights: Mapping[str, int] | None


class DraftValues(TypedDict, total=False):
    """The fields of `POST /campaigns` and `PATCH /campaigns/{id}`, ids as integers."""

    name: str
    account_ids: Sequence[int]
    audience: AudienceValues
    content: Json
    scheduled_at: datetime | None
    timezone: str | None
    recurrence: RecurrenceValues | None
    start_late_s: float | None
    pacing: Mapping[str, float | None] | None
    working_hours: WorkingHoursValues | None
    rotation: RotationValues | None
    frequency_cap: str | None
