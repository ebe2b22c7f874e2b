"""Schedules: what becomes of a scheduled campaign when its time has come.

It starts. Or it cannot start just now, says why and is tried again for a while. Or its time passed too long ago, and a
person decides. To look twice is harmless: the row is locked, and only a scheduled campaign is touched.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine import following
from campaign_engine.config import Config
from campaign_engine.errors import InvalidInput
from campaign_engine.logs import get_logger
from campaign_engine.models import Campaign, Company
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services.campaigns import lifecycle, series
from campaign_engine.services.company import notifications
from campaign_engine.services.company.settings import CompanySettings

log = get_logger(__name__)

PUNCTUAL = timedelta(minutes=1)
"""A start this late counts as on time, whatever is set: the queue and the periodic verification may take as long."""


def due(session: Session, *, now: datetime) -> Sequence[int]:
    """Return the scheduled campaigns whose time has come, however long ago."""
    is_due = text("SELECT id FROM campaigns WHERE status = 'scheduled' AND scheduled_at <= :now")
    return session.scalars(is_due, {"now": now}).all()


def due_within(session: Session, *, now: datetime, until: datetime) -> list[tuple[int, datetime]]:
    """Return (campaign id, start time) of the scheduled campaigns that start after `now` and by `until`."""
    rows = session.execute(
        text(
            "SELECT id, scheduled_at FROM campaigns"
            " WHERE status = 'scheduled' AND scheduled_at > :now AND scheduled_at <= :until"
        ),
        {"now": now, "until": until},
    )
    return [(row.id, row.scheduled_at) for row in rows]


def start_due(session: Session, campaign_id: int, *, config: Config, now: datetime) -> bool:
    """Start a scheduled campaign if its time has come; return whether it started.

    If its time passed longer ago than `patience_of` allows, it becomes a draft again, with the reason (`missed_start`).
    The next occurrence of a recurring campaign is still written. If it cannot start, it says why (`no_active_account`,
    `no_recipients`, `content_not_supported`, `template_paused`) and stays scheduled.

    Side effects: its preparation follows the commit; one notification when it is missed, and one when it cannot start
    for a new reason.
    """
    campaign = session.get(Campaign, campaign_id, populate_existing=True, with_for_update=True)
    if campaign is None or campaign.status != CampaignStatus.SCHEDULED:
        return False
    if campaign.scheduled_at is None or campaign.scheduled_at > now:
        return False
    patience = patience_of(campaign, session.get_one(Company, campaign.company_id), config)
    if now - campaign.scheduled_at > patience:
        _miss(session, campaign, scheduled_at=campaign.scheduled_at, patience=patience, now=now)
        return False
    try:
        lifecycle.begin(session, campaign, now=now)
    except InvalidInput as error:
        _hold(session, campaign, error)
        return False
    following.note(session, following.Prepare(campaign_id))
    return True


def patience_of(campaign: Campaign, company: Company, config: Config) -> timedelta:
    """Return how late the campaign may start by itself: its own `start_late_s`, else the company's, else ours."""
    chosen = (campaign.start_late_s, CompanySettings.of(company).start_late_s, config.start_late_s)
    return max(PUNCTUAL, timedelta(seconds=next(seconds for seconds in chosen if seconds is not None)))


def _miss(session: Session, campaign: Campaign, *, scheduled_at: datetime, patience: timedelta, now: datetime) -> None:
    reason = f"its start at {_spoken(campaign, scheduled_at)} was missed"
    if campaign.status_reason is not None:
        reason = f"{reason}: {campaign.status_reason}"
    # The next time that can still start in time is not passed over; an earlier one would only be missed as well.
    next_id = series.write_next(session, campaign, after=now - patience, now=now)
    lifecycle.miss(session, campaign, reason=reason)
    goes_on = " Its series goes on." if next_id is not None else ""
    notifications.notify(
        session,
        company_id=campaign.company_id,
        kind="campaign_start_missed",
        severity="warning",
        text=f"The campaign {campaign.name} was not started: {reason}. Start it now or schedule it anew.{goes_on}",
        subject=("campaign", campaign.id),
    )


def _hold(session: Session, campaign: Campaign, error: InvalidInput) -> None:
    """Write down why a campaign that is due does not start."""
    [reason, *_] = next(iter(error.errors.values()))
    known = campaign.status_code == error.code
    campaign.status_code, campaign.status_reason = error.code, reason.removesuffix(".")
    session.flush()
    if known:
        return
    log.warning("campaign.start_held", campaign_id=campaign.id, code=error.code)
    notifications.notify(
        session,
        company_id=campaign.company_id,
        kind="campaign_start_held",
        severity="warning",
        text=f"The campaign {campaign.name} is due and cannot start: {reason} It is tried again for a while.",
        subject=("campaign", campaign.id),
    )


def _spoken(campaign: Campaign, at: datetime) -> str:
    return f"{at.astimezone(ZoneInfo(campaign.timezone)):%Y-%m-%d %H:%M} ({campaign.timezone})"
