"""Series: the occurrences of a recurring campaign, each a campaign of its own that carries the recurrence on.

The last occurrence written is the head: scheduled, with the recurrence. When it starts or is missed, the next one is
written in the same transaction as a copy of it, so changes of the head hold from then on. The compare-and-set of the
start makes sure that there is only one copy. If the head is cancelled or deleted, the series ends. `parent_id` is the
id of the first occurrence.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.logs import get_logger
from campaign_engine.models import Campaign
from campaign_engine.rules import recurrence as rules
from campaign_engine.rules.recurrence import Recurrence, RecurrenceValues
from campaign_engine.rules.states import CampaignStatus

log = get_logger(__name__)

_COPY = text(
    """
    INSERT INTO campaigns (company_id, owner_id, name, parent_id, status, audience, content, pacing, working_hours,
      timezone, sticky, frequency_cap, start_late_s, recurrence, occurrence, scheduled_at, created_at)
    SELECT company_id, owner_id, name, coalesce(parent_id, id), 'scheduled', audience, content, pacing, working_hours,
      timezone, sticky, frequency_cap, start_late_s, recurrence || jsonb_build_object('slot_at', CAST(:slot AS text)),
      occurrence + 1, :at, :now
    FROM campaigns WHERE id = :id
    RETURNING id
    """
)
_COPY_ACCOUNTS = text(
    "INSERT INTO campaign_accounts (campaign_id, account_id, weight)"
    " SELECT :copy, account_id, weight FROM campaign_accounts WHERE campaign_id = :id"
)
_COPY_RECIPIENTS = text(
    "INSERT INTO campaign_recipients (campaign_id, position, phone, phone_key, name, variables)"
    " SELECT :copy, position, phone, phone_key, name, variables FROM campaign_recipients WHERE campaign_id = :id"
)


def stored(recurrence: Recurrence, *, at: datetime) -> RecurrenceValues:
    """Return a recurrence as a campaign stores it, with the time `at` that it gave this occurrence."""
    return {**recurrence.stored(), "slot_at": at.isoformat()}


def is_moved(campaign: Campaign) -> bool:
    """Return whether a person has moved this occurrence from the time that the recurrence gave it."""
    return campaign.recurrence is not None and campaign.scheduled_at != datetime.fromisoformat(
        campaign.recurrence["slot_at"]
    )


def in_zone(campaign: Campaign, zone: ZoneInfo) -> RecurrenceValues | None:
    """Return the recurrence with its own time at the same hour of another zone, so that the occurrence comes once."""
    if campaign.recurrence is None:
        return None
    slot = datetime.fromisoformat(campaign.recurrence["slot_at"]).astimezone(ZoneInfo(campaign.timezone))
    return {**campaign.recurrence, "slot_at": slot.replace(tzinfo=zone).astimezone(UTC).isoformat()}


def following(campaign: Campaign, *, after: datetime) -> datetime | None:
    """Return when the series goes on after this occurrence, later than `after`; None when it ends with it."""
    if campaign.recurrence is None:
        return None
    recurrence = rules.parse(campaign.recurrence)
    if recurrence.count is not None and campaign.occurrence >= recurrence.count:
        return None
    slot = datetime.fromisoformat(campaign.recurrence["slot_at"])
    return rules.next_after(recurrence, ZoneInfo(campaign.timezone), max(slot, after))


def write_next(session: Session, campaign: Campaign, *, after: datetime, now: datetime) -> int | None:
    """Write the occurrence that follows this one, at the first time after `after`; return its id, None at the end."""
    at = following(campaign, after=after)
    if at is None:
        return None
    identity = {"id": campaign.id}
    copy: int = session.execute(_COPY, {**identity, "at": at, "slot": at.isoformat(), "now": now}).scalar_one()
    session.execute(_COPY_ACCOUNTS, {**identity, "copy": copy})
    session.execute(_COPY_RECIPIENTS, {**identity, "copy": copy})
    log.info("campaign.recurs", campaign_id=campaign.id, next_campaign_id=copy, at=at.isoformat())
    return copy


def has_gone_on(session: Session, campaign: Campaign) -> bool:
    """Return whether a later occurrence of the campaign's series exists."""
    found = session.scalar(
        text(
            "SELECT EXISTS (SELECT 1 FROM campaigns"
            " WHERE parent_id = :root AND kind = 'campaign' AND occurrence > :occurrence)"
        ),
        {"root": campaign.parent_id or campaign.id, "occurrence": campaign.occurrence},
    )
    return bool(found)


def next_starts_of(session: Session, selected: Sequence[Campaign]) -> dict[int, datetime]:
    """Return when the series of each campaign starts next, after the campaign itself, in one statement.

    Campaigns without such a time are absent.
    """
    found: dict[int, datetime] = {}
    roots: dict[int, int] = {}
    for campaign in selected:
        if campaign.status == CampaignStatus.SCHEDULED and campaign.scheduled_at is not None:
            at = following(campaign, after=campaign.scheduled_at)
            if at is not None:
                found[campaign.id] = at
        else:
            roots[campaign.id] = campaign.parent_id or campaign.id
    if not roots:
        return found
    rows = session.execute(
        text(
            "SELECT parent_id, scheduled_at FROM campaigns WHERE parent_id = ANY(CAST(:roots AS bigint[]))"
            " AND kind = 'campaign'"
            " AND status = 'scheduled' AND recurrence IS NOT NULL"
        ),
        {"roots": list(set(roots.values()))},
    )
    heads = {row.parent_id: row.scheduled_at for row in rows}
    return found | {campaign_id: heads[root] for campaign_id, root in roots.items() if root in heads}
