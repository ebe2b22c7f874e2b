"""How far campaigns are: read from the counters of their rows, in time that does not grow with the campaign."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger

from campaign_engine.config import Config
from campaign_engine.models import Account, AccountStatus, Campaign, Company
from campaign_engine.rules import eta
from campaign_engine.rules.states import CAMPAIGN_IS_OVER, CampaignStatus
from campaign_engine.services import limits
from campaign_engine.services.sending import pacing_of

YOUNGEST_S = 3.0
"""A campaign younger than this is taken for as old: the rate of its first messages would be a wild guess."""

STATES = ("pending", "sending", "sent", "delivered", "read", "failed", "unknown", "skipped")


@dataclass(frozen=True, slots=True)
class Wait:
    """Why an account is not sending just now, and until when at the earliest (None: nobody knows)."""

    reason: str
    until: datetime | None


def read(
    session: Session,
    selected: Sequence[Campaign],
    *,
    config: Config,
    now: datetime,
    waits: Mapping[int, Wait] | None = None,
) -> list[dict[str, Any]]:
    """Return the progress of campaigns in the shape of the contract, times as datetimes, ids as integers.

    Args:
        session: reads accounts and companies, in a constant number of statements.
        selected: the campaigns, as they are now.
        config: the defaults of limits and pacing, for the ETA.
        now: the present.
        waits: what the lanes of accounts last waited for, by account id.
    """
    uses = _accounts_of(session, [campaign.id for campaign in selected])
    busy = _running_campaigns_by_account(session, {account.id for accounts in uses.values() for account in accounts})
    companies = {campaign.company_id: session.get_one(Company, campaign.company_id) for campaign in selected}
    return [
        _progress(
            campaign,
            uses[campaign.id],
            companies[campaign.company_id],
            busy=busy,
            config=config,
            now=now,
            waits=waits or {},
        )
        for campaign in selected
    ]


def _progress(
    campaign: Campaign,
    accounts: Sequence[Account],
    company: Company,
    *,
    busy: Mapping[int, int],
    config: Config,
    now: datetime,
    waits: Mapping[int, Wait],
) -> dict[str, Any]:
    counts = {state: getattr(campaign, f"{state}_count") for state in STATES}
    sent = campaign.funnel_sent_count
    finished_well = counts["sent"] + counts["delivered"] + counts["read"]
    settled = finished_well + counts["failed"]
    eta_s = _eta_s(campaign, accounts, company, busy=busy, config=config)
    return {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "status": campaign.status,
        "status_reason": campaign.status_reason,
        "total": campaign.total_count,
        "counts": counts,
        "funnel": {
            "sent": sent,
            "delivered": campaign.funnel_delivered_count,
            "read": campaign.funnel_read_count,
        },
        "success_rate": finished_well / settled if settled else None,
        "rate_per_minute": round(_rate_per_minute(campaign, now), 1),
        "eta": now + timedelta(seconds=eta_s) if eta_s is not None else None,
        "eta_seconds": eta_s,
        "waiting": _waiting(campaign, accounts, waits, now),
        "accounts": [
            {
                "id": account.id,
                "name": account.name,
                "status": account.status,
                "status_reason": account.status_reason,
            }
            for account in accounts
        ],
        "scheduled_at": campaign.scheduled_at,
        "started_at": campaign.started_at,
        "finished_at": campaign.finished_at,
        "version": campaign.version,
    }


def _rate_per_minute(campaign: Campaign, now: datetime) -> float:
    """Return acceptances a minute over the last minute, or since the start when that is not a minute ago.

    The stored counts are those of the running minute and of the one before, of which the part still inside counts.
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


def _eta_s(
    campaign: Campaign,
    accounts: Sequence[Account],
    company: Company,
    *,
    busy: Mapping[int, int],
    config: Config,
) -> float | None:
    """Return the seconds until the last message leaves, or None while nothing moves."""
    if campaign.status != CampaignStatus.RUNNING:
        return None
    owner = limits.owner_rate(company, config)
    rates = []
    for account in accounts:
        if account.status != AccountStatus.ACTIVE:
            continue
        rate = limits.account_rate(account, company, config)
        own_pace = pacing_of(account, company, campaign.pacing, config)
        shared = min(rate.count * 1e6 / rate.period_us, own_pace.messages_per_s)
        rates.append(shared / max(1, busy.get(account.id, 1)))
    per_s = min(sum(rates), owner.count * 1e6 / owner.period_us)
    return eta.seconds_left(campaign.pending_count + campaign.sending_count, per_s=per_s)


def _waiting(
    campaign: Campaign, accounts: Sequence[Account], waits: Mapping[int, Wait], now: datetime
) -> list[dict[str, Any]]:
    if campaign.status in CAMPAIGN_IS_OVER or campaign.status == CampaignStatus.DRAFT:
        return []
    if campaign.status == CampaignStatus.SCHEDULED:
        return [_reason("schedule", campaign.scheduled_at, "It starts by itself at its time.")]
    if campaign.status == CampaignStatus.PAUSED:
        return [_reason("paused", None, f"Paused: {campaign.status_reason or 'by an operator'}.")]
    if campaign.pending_count == 0:
        return []
    reasons = []
    for account in accounts:
        if account.status != AccountStatus.ACTIVE:
            text_ = f"{account.name} is {account.status}: {account.status_reason or 'no reason given'}."
            reasons.append(_reason("account_inactive", None, text_))
            continue
        wait = waits.get(account.id)
        if wait is not None and (wait.until is None or wait.until > now):
            reasons.append(_reason(wait.reason, wait.until, f"{account.name}: {wait.reason}."))
    return reasons


def _reason(reason: str, until: datetime | None, sentence: str) -> dict[str, Any]:
    return {"reason": reason, "until": until, "text": sentence}


def _accounts_of(session: Session, campaign_ids: Sequence[int]) -> dict[int, list[Account]]:
    found: dict[int, list[Account]] = {campaign_id: [] for campaign_id in campaign_ids}
    rows = session.execute(
        text(
            "SELECT campaign_id, account_id FROM campaign_accounts WHERE campaign_id = ANY(:ids) ORDER BY account_id"
        ).bindparams(bindparam("ids", type_=ARRAY(BigInteger))),
        {"ids": list(campaign_ids)},
    ).all()
    accounts = {
        account.id: account
        for account in session.query(Account).filter(Account.id.in_({row.account_id for row in rows}))
    }
    for row in rows:
        found[row.campaign_id].append(accounts[row.account_id])
    return found


def _running_campaigns_by_account(session: Session, account_ids: set[int]) -> dict[int, int]:
    rows = session.execute(
        text(
            "SELECT ca.account_id, count(*) AS running FROM campaign_accounts ca"
            " JOIN campaigns c ON c.id = ca.campaign_id AND c.status = 'running' AND c.pending_count > 0"
            " WHERE ca.account_id = ANY(:ids) GROUP BY ca.account_id"
        ).bindparams(bindparam("ids", type_=ARRAY(BigInteger))),
        {"ids": list(account_ids)},
    )
    return {row.account_id: row.running for row in rows}


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
