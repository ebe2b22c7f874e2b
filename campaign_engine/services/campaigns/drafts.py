"""Drafts: campaigns made, changed and deleted, with every value checked before it is stored."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, insert, text
from sqlalchemy.orm import Session

from campaign_engine import following
from campaign_engine.errors import NotFound, TransitionNotAllowed
from campaign_engine.models import Campaign, CampaignAccount, CampaignRecipient
from campaign_engine.rules.states import CAMPAIGN_IS_OVER, CampaignStatus
from campaign_engine.services.campaigns import changes, lifecycle, reading
from campaign_engine.services.campaigns.changes import Change
from campaign_engine.services.campaigns.draft_values import DraftValues
from campaign_engine.services.company import audit

_NOTHING: DraftValues = {"account_ids": (), "audience": {}, "content": {}}
"""What every campaign needs: where it is left out, its check says so."""


def create(
    session: Session,
    *,
    company_id: int,
    owner_id: int,
    values: DraftValues,
    default_region: str,
    default_timezone: str,
    now: datetime,
) -> Campaign:
    """Create a campaign, as a draft or, with `scheduled_at` or `recurrence`, scheduled.

    A recurrence without `scheduled_at` begins at its first time from now.

    Side effects: an entry in the audit log; the start of a scheduled one follows the commit.

    Raises:
        InvalidInput: names every field that cannot be used.
    """
    campaign = Campaign(
        company_id=company_id,
        owner_id=owner_id,
        status=CampaignStatus.DRAFT,
        occurrence=1,
        audience={},
        content={},
        timezone=default_timezone,
        created_at=now,
    )
    change = changes.checked(session, campaign, {**_NOTHING, **values}, default_region=default_region, now=now)
    session.add(campaign)
    _write(change)
    audit.record(session, "campaign.created", company_id=company_id, subject=campaign.id, name=campaign.name)
    _schedule(change)
    return campaign


def update(session: Session, campaign: Campaign, *, values: DraftValues, default_region: str, now: datetime) -> None:
    """Change a campaign that is not over; a change of text or pace takes effect at the next message.

    Everything about a draft may change; once it has started, its audience and accounts stay. A change of the scheduled
    occurrence of a series also holds for the later ones, except that `scheduled_at` moves this one alone.

    Side effects: an entry in the audit log; its lanes are woken after the commit, and its start is armed again.

    Raises:
        InvalidInput: a value cannot be used, or may not change any more.
        TransitionNotAllowed: the campaign is over.
    """
    if "working_hours" in values:
        # This comes before the lock on the campaign: a sender locks the rows first, and then counts them.
        _free_waiting(session, campaign)
    # Locked, so that it cannot start while its audience is being replaced.
    reading.reread(session, campaign, locked=True)
    if campaign.status in CAMPAIGN_IS_OVER:
        raise TransitionNotAllowed(kind="campaign", verb="change", status=campaign.status)
    change = changes.checked(session, campaign, values, default_region=default_region, now=now)
    _write(change)
    given = sorted(values)
    audit.record(session, "campaign.changed", company_id=campaign.company_id, subject=campaign.id, fields=given)
    following.wake(session, reading.account_ids_of(session, [campaign.id])[campaign.id])
    _schedule(change)


def _write(change: Change) -> None:
    session, campaign, values = change.session, change.campaign, change.values
    given: Mapping[str, object] = values
    for name in ("name", "content", "working_hours", "frequency_cap", "start_late_s"):
        if name in given:
            setattr(campaign, name, given[name])
    if "pacing" in values:
        campaign.pacing = {name: part for name, part in (values["pacing"] or {}).items() if part is not None}
    if "rotation" in values:
        campaign.sticky = bool((values["rotation"] or {}).get("sticky"))
    campaign.timezone = values.get("timezone") or campaign.timezone
    campaign.recurrence = change.recurrence
    if change.recipients is not None:
        parts: Mapping[str, object] = values["audience"]
        campaign.audience = {key: parts[key] for key in ("list_ids", "tags", "exclude_list_ids") if parts.get(key)}
    session.flush()
    if change.recipients is not None:
        session.execute(delete(CampaignRecipient).where(CampaignRecipient.campaign_id == campaign.id))
        if change.recipients:
            session.execute(
                insert(CampaignRecipient),
                [{"campaign_id": campaign.id, "position": at, **row} for at, row in enumerate(change.recipients)],
            )
    if change.weights is not None:
        session.execute(delete(CampaignAccount).where(CampaignAccount.campaign_id == campaign.id))
        session.add_all(
            CampaignAccount(campaign_id=campaign.id, account_id=account_id, weight=weight)
            for account_id, weight in change.weights.items()
        )
        session.flush()


def _schedule(change: Change) -> None:
    if change.scheduled_at is not None:
        lifecycle.schedule(change.session, change.campaign, at=change.scheduled_at, now=change.now)
    else:
        lifecycle.arm(change.session, change.campaign)


def _free_waiting(session: Session, campaign: Campaign) -> None:
    """Look again at the rows that wait for their recipients' hours: the new hours may be open."""
    session.execute(
        text(
            "UPDATE messages SET next_attempt_at = NULL"
            " WHERE campaign_id = :id AND status = 'pending' AND attempts = 0 AND next_attempt_at IS NOT NULL"
        ),
        {"id": campaign.id},
    )


def delete_draft(session: Session, campaign: Campaign, *, now: datetime) -> None:
    """Delete a campaign that never started; its tests that still wait end with it.

    Side effects: an entry in the audit log.

    Raises:
        NotFound: somebody else has just deleted it.
        TransitionNotAllowed: it has started; what was sent is kept.
    """
    identity = {"id": campaign.id}
    # Locked before its tests are looked for: a test that somebody is just asking for is then found, or refused.
    status = session.scalar(text("SELECT status FROM campaigns WHERE id = :id FOR UPDATE"), identity)
    if status is None:
        raise NotFound("campaign", campaign.id)
    if status not in (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED):
        raise TransitionNotAllowed(kind="campaign", verb="be deleted", status=status)
    lifecycle.cancel_tests(session, campaign, now=now)
    session.execute(text("DELETE FROM campaigns WHERE id = :id"), identity)
    session.expunge(campaign)
    audit.record(session, "campaign.deleted", company_id=campaign.company_id, subject=campaign.id, name=campaign.name)
