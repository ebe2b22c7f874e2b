"""How far campaigns are: read from the counters of their rows, in time that does not grow with the campaign."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.models import Account, AccountStatus, Campaign, CampaignAccount, Company
from campaign_engine.rules import waiting
from campaign_engine.rules.eta.terms import End
from campaign_engine.rules.states import CAMPAIGN_IS_OVER, CampaignStatus
from campaign_engine.rules.waiting import Wait, WaitReason, sentence
from campaign_engine.services.company.limits import LimiterOf
from campaign_engine.services.outlook import forecasts
from campaign_engine.services.outlook.forecasts import WaitingRows

YOUNGEST_S = 3.0
"""A younger campaign counts as this old: the rate of its first messages would be a wild guess."""

STATES = ("pending", "sending", "sent", "delivered", "read", "failed", "unknown", "skipped")


@dataclass(frozen=True, slots=True)
class Funnel:
    """How many messages got at least this far."""

    sent: int
    delivered: int
    read: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why nothing leaves just now, for a program and in words; without an account the campaign itself waits."""

    reason: str
    until: datetime | None
    text: str
    account_id: int | None = None


@dataclass(frozen=True, slots=True)
class AccountInProgress:
    """An account of the campaign."""

    id: int
    name: str
    status: str
    status_reason: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is; `counts` is by state, `success_rate` is the share (0 to 1) of the settled messages."""

    campaign_id: int
    name: str
    status: str
    status_reason: str | None
    total: int
    counts: Mapping[str, int]
    funnel: Funnel
    success_rate: float | None
    rate_per_minute: float
    eta: datetime | None
    eta_seconds: float | None
    waiting: Sequence[Waiting]
    accounts: Sequence[AccountInProgress]
    scheduled_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    version: int


_HAS_AN_END = (CampaignStatus.SCHEDULED, CampaignStatus.PREPARING, CampaignStatus.RUNNING)


_Use = tuple[Account, datetime | None]
"""An account of a campaign, and until when the campaign's own delay holds there."""


def read(
    session: Session,
    selected: Sequence[Campaign],
    *,
    config: Config,
    now: datetime,
    waits: Mapping[int, Wait] | None = None,
    limiter_of: LimiterOf | None = None,
) -> list[Progress]:
    """Return the progress of campaigns, given as they are now, in a constant number of statements.

    `waits` is what the lanes of accounts last waited for, by account id. Through `limiter_of` the ETA counts what the
    limits of 24 hours have let through.
    """
    uses = _uses_of(session, [campaign.id for campaign in selected])
    companies = {campaign.company_id: session.get_one(Company, campaign.company_id) for campaign in selected}
    moving = {each.company_id: companies[each.company_id] for each in selected if each.status in _HAS_AN_END}
    ends: Mapping[int, End] = {}
    if moving:
        outlook = forecasts.outlook(session, moving, config=config, now=now, waits=waits, limiter_of=limiter_of)
        ends = outlook.ends(now=now)
    sending = [each.id for each in selected if each.status == CampaignStatus.RUNNING and each.pending_count > 0]
    waiting_rows = forecasts.waiting_rows(session, sending)
    found = []
    for campaign in selected:
        rows = waiting_rows.get(campaign.id, WaitingRows(fresh=True))
        waiting = _waiting(campaign, companies[campaign.company_id], uses[campaign.id], rows, waits or {}, now)
        ends_at = _ends_at(campaign, ends.get(campaign.id), rows, now)
        found.append(_progress(campaign, [account for account, _ in uses[campaign.id]], waiting, ends_at, now=now))
    return found


def _progress(
    campaign: Campaign,
    accounts: Sequence[Account],
    waiting: Iterable[Waiting],
    ends_at: datetime | None,
    *,
    now: datetime,
) -> Progress:
    counts = {state: getattr(campaign, f"{state}_count") for state in STATES}
    finished_well = counts["sent"] + counts["delivered"] + counts["read"]
    settled = finished_well + counts["failed"]
    return Progress(
        campaign_id=campaign.id,
        name=campaign.name,
        status=campaign.status,
        status_reason=campaign.status_reason,
        total=campaign.total_count,
        counts=counts,
        funnel=Funnel(campaign.funnel_sent_count, campaign.funnel_delivered_count, campaign.funnel_read_count),
        success_rate=finished_well / settled if settled else None,
        rate_per_minute=round(_rate_per_minute(campaign, now), 1),
        eta=ends_at,
        eta_seconds=None if ends_at is None else round((ends_at - now).total_seconds(), 1),
        waiting=list(waiting),
        accounts=[AccountInProgress(each.id, each.name, each.status, each.status_reason) for each in accounts],
        scheduled_at=campaign.scheduled_at,
        started_at=campaign.started_at,
        finished_at=campaign.finished_at,
        version=campaign.version,
    )


def _ends_at(campaign: Campaign, end: End | None, rows: WaitingRows, now: datetime) -> datetime | None:
    """Return when the last message leaves, or None while nothing moves or nobody knows."""
    if campaign.status not in _HAS_AN_END:
        return None
    if campaign.status == CampaignStatus.RUNNING and campaign.pending_count == 0 and campaign.prepared_at is not None:
        return now
    if end is None or end.at is None:
        return None
    # The last known retry may be due after all other messages are through.
    return max(end.at, rows.last_at or now)


def _rate_per_minute(campaign: Campaign, now: datetime) -> float:
    """Return acceptances a minute over the last minute, or since the start when that is not a minute ago.

    The stored counts are of the running minute and of the one before; of that one, only the part still inside counts.
    """
    if campaign.rate_minute is None or campaign.started_at is None:
        return 0.0
    age_s = max(0.0, (now - campaign.rate_minute).total_seconds())
    if age_s < 60:
        count = campaign.rate_count + campaign.rate_previous_count * (1 - age_s / 60)
    elif age_s < 120:
        count = campaign.rate_count * (1 - (age_s - 60) / 60)
    else:
        return 0.0
    running_s = (now - campaign.started_at).total_seconds()
    return count * 60 / min(60.0, max(running_s, YOUNGEST_S))


def _waiting(
    campaign: Campaign,
    company: Company,
    uses: Iterable[_Use],
    rows: WaitingRows,
    waits: Mapping[int, Wait],
    now: datetime,
) -> Iterator[Waiting]:
    """Yield what a campaign waits for: what holds the campaign itself, or else what holds each of its accounts."""
    if campaign.status in CAMPAIGN_IS_OVER or campaign.status in (CampaignStatus.DRAFT, CampaignStatus.PREPARING):
        return
    if campaign.status == CampaignStatus.PAUSED:
        reason = campaign.status_reason or "paused"
        yield Waiting(WaitReason.PAUSED, None, reason if reason.startswith("paused") else f"paused: {reason}")
    elif campaign.status == CampaignStatus.SCHEDULED:
        start = _reason(campaign, Wait(WaitReason.SCHEDULE, campaign.scheduled_at), None, now)
        held = campaign.status_reason
        yield start if held is None else replace(start, text=f"{start.text}; {held}")
    elif campaign.pending_count > 0:
        own = _own_wait(campaign, company, rows, now)
        if own is not None:
            yield _reason(campaign, own, None, now)
            return
        for account, delayed_until in uses:
            wait = _wait_of(account, delayed_until, waits.get(account.id), now)
            if wait is not None:
                yield _reason(campaign, wait, account, now)


def _own_wait(campaign: Campaign, company: Company, rows: WaitingRows, now: datetime) -> Wait | None:
    """Return what the campaign itself waits for, on whichever account."""
    hours = None
    if campaign.working_hours is not None and campaign.kind != "test":
        hours = forecasts.hours_of(campaign.working_hours, timezone=campaign.timezone, company=company)
        if not hours.per_recipient and (opens_at := hours.opens_at(now)) != now:
            return Wait(WaitReason.OUTSIDE_HOURS, opens_at)
    first = rows.first
    if not rows.fresh and first is not None and first.at > now:
        return Wait(waiting.of_row(first.phone, attempts=first.attempts, hours=hours, now=now), first.at)
    return None


def _wait_of(account: Account, delayed_until: datetime | None, lane: Wait | None, now: datetime) -> Wait | None:
    """Return what the campaign waits for on an account: what holds the lane, or its own delay there.

    If the lane serves others, or waits for something that concerns only others, the campaign does not wait for it.
    """
    if account.status != AccountStatus.ACTIVE:
        return Wait(WaitReason.ACCOUNT_INACTIVE, None)
    waits = []
    if delayed_until is not None and delayed_until > now:
        waits.append(Wait(WaitReason.CAMPAIGN_DELAY, delayed_until))
    if lane is not None and lane.reason not in _OF_ONE_CAMPAIGN and (lane.until is None or lane.until > now):
        waits.append(lane)
    return max(waits, key=lambda wait: (wait.until is None, wait.until), default=None)


_OF_ONE_CAMPAIGN = (
    WaitReason.OUTSIDE_HOURS,
    WaitReason.RETRY_BACKOFF,
    WaitReason.PAIR_RATE_LIMIT,
    WaitReason.CAMPAIGN_DELAY,
)


def _reason(campaign: Campaign, wait: Wait, account: Account | None, now: datetime) -> Waiting:
    of_account = account.name if account is not None and wait.reason != WaitReason.USER_LIMIT else None
    said = sentence(wait.reason, account=of_account, until=wait.until, now=now, zone=ZoneInfo(campaign.timezone))
    if wait.reason == WaitReason.ACCOUNT_INACTIVE and account is not None:
        said = f"{account.name} is {account.status}: {account.status_reason or 'no reason given'}"
    return Waiting(wait.reason, wait.until, said, account.id if account is not None else None)


def _uses_of(session: Session, campaign_ids: Sequence[int]) -> dict[int, list[_Use]]:
    found: dict[int, list[_Use]] = {campaign_id: [] for campaign_id in campaign_ids}
    rows = session.execute(
        select(CampaignAccount.campaign_id, Account, CampaignAccount.delayed_until)
        .join(Account, Account.id == CampaignAccount.account_id)
        .where(CampaignAccount.campaign_id.in_(campaign_ids))
        .order_by(Account.id)
    )
    for campaign_id, account, delayed_until in rows:
        found[campaign_id].append((account, delayed_until))
    return found


# What a reconciliation would count; the difference to the stored counters must be zero.
_RECOUNT = text(
    """
    SELECT c.id FROM campaigns c
    LEFT JOIN LATERAL (
      SELECT count(*) AS total,
        count(*) FILTER (WHERE status = 'pending') AS pending,
        count(*) FILTER (WHERE status = 'sending') AS sending,
        count(*) FILTER (WHERE status = 'sent') AS sent,
        count(*) FILTER (WHERE status = 'delivered') AS delivered,
        count(*) FILTER (WHERE status = 'read') AS read,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE status = 'unknown') AS unknown,
        count(*) FILTER (WHERE status = 'skipped') AS skipped,
        count(*) FILTER (WHERE accepted_at IS NOT NULL) AS funnel_sent,
        count(*) FILTER (WHERE delivered_at IS NOT NULL) AS funnel_delivered,
        count(*) FILTER (WHERE read_at IS NOT NULL) AS funnel_read
      FROM messages m WHERE m.campaign_id = c.id
    ) r ON true
    WHERE (c.total_count, c.pending_count, c.sending_count, c.sent_count, c.delivered_count, c.read_count,
        c.failed_count, c.unknown_count, c.skipped_count, c.funnel_sent_count, c.funnel_delivered_count,
        c.funnel_read_count)
      <> (r.total, r.pending, r.sending, r.sent, r.delivered, r.read, r.failed, r.unknown, r.skipped, r.funnel_sent,
        r.funnel_delivered, r.funnel_read)
    ORDER BY c.id
    """
)


def miscounted(session: Session) -> list[int]:
    """Return the campaigns whose counters differ from a recount of their rows: always none, or we have a bug."""
    return list(session.scalars(_RECOUNT))
