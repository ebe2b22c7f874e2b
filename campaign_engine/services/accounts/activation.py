"""Whether an account sends: consecutive failures of its own deactivate it, a person reactivates it. And what that means
for the campaigns that use it.

Health checks have no part in it: only the fate of real messages, and the provider's own word, stop an account.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, exists, select, text
from sqlalchemy.orm import Session

from campaign_engine import following
from campaign_engine.logs import get_logger
from campaign_engine.models import Account, AccountStatus, Campaign, CampaignAccount
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services.campaigns import lifecycle, reading
from campaign_engine.services.company import audit, notifications

log = get_logger(__name__)

NO_ACCOUNT = "no_account"
"""The `status_code` of a campaign that is paused because none of its accounts is active."""


def note_results(session: Session, *, account_id: int, consecutive_failures: int, accepted: bool) -> None:
    """Write the count of consecutive account-class failures; an accepted message ends the probation.

    Failures of recipients and of content are not counted.
    """
    session.execute(
        text(
            "UPDATE accounts SET consecutive_failures = :failures, on_probation = on_probation AND NOT :accepted"
            " WHERE id = :id AND (consecutive_failures <> :failures OR (on_probation AND :accepted))"
        ),
        {"failures": consecutive_failures, "accepted": accepted, "id": account_id},
    )


def expect_acknowledgement(session: Session, *, account_id: int, now: datetime) -> None:
    """Remember since when accepted messages of an account wait for their first webhook."""
    session.execute(
        text("UPDATE accounts SET unacknowledged_since = :now WHERE id = :id AND unacknowledged_since IS NULL"),
        {"now": now, "id": account_id},
    )


def deactivate(session: Session, account_id: int, *, reason: str) -> bool:
    """Stop an account from sending, for a reason people can read; False when it was not active.

    Side effects: a notification, an entry in the audit log. Campaigns with no active account left pause, and go on by
    themselves when one is reactivated. Messages not sent yet stay for the other accounts.
    """
    row = session.execute(
        text(
            "UPDATE accounts SET status = 'deactivated', status_reason = :reason WHERE id = :id AND status = 'active'"
            " RETURNING company_id, name"
        ),
        {"reason": reason, "id": account_id},
    ).one_or_none()
    if row is None:
        return False
    log.error("account.deactivated", account_id=account_id, reason=reason)
    notifications.notify(
        session,
        company_id=row.company_id,
        kind="account_deactivated",
        severity="error",
        text=f"The account {row.name} sends no more: {reason}",
        subject=("account", account_id),
    )
    audit.record(session, "account.deactivated", company_id=row.company_id, subject=account_id, reason=reason)
    pause_stranded(session, account_id=account_id)
    return True


def pause_stranded(session: Session, *, account_id: int | None = None) -> list[int]:
    """Pause the running campaigns (that use the account, or all) with no active account left; return which.

    Side effects: a notification for each. They go on by themselves when one of their accounts is reactivated.
    """
    paused = []
    for campaign in _stranded(session, account_id):
        why = reading.why_not_active(reading.accounts_of(session, campaign))
        lifecycle.interrupt(session, campaign, reason=f"none of its accounts is active ({why})", code=NO_ACCOUNT)
        paused.append(campaign.id)
        if campaign.kind == "campaign":  # A test send is watched by whoever asked for it.
            notifications.notify(
                session,
                company_id=campaign.company_id,
                kind="campaign_paused",
                severity="error",
                text=f"The campaign {campaign.name} waits: none of its accounts is active.",
                subject=("campaign", campaign.id),
            )
    return paused


def reactivate(session: Session, account: Account, *, now: datetime) -> list[int]:
    """Let a deactivated account send again, one message first; return the campaigns that go on because of it.

    The others follow when that message was accepted. If it is refused because of the account, the account is
    deactivated again at once.

    Side effects: an entry in the audit log; resumes the campaigns that paused because no account was active; the
    account's lane is woken after the commit.
    """
    following.wake(session, [account.id])
    changed = session.execute(
        text(
            "UPDATE accounts SET status = 'active', status_reason = NULL, consecutive_failures = 0, on_probation = true"
            " WHERE id = :id AND status = 'deactivated' RETURNING id"
        ),
        {"id": account.id},
    ).one_or_none()
    session.refresh(account)
    if changed is None:
        return []
    audit.record(session, "account.reactivated", company_id=account.company_id, subject=account.id)
    return resume_what_can_send(session, account_id=account.id, now=now)


def resume_what_can_send(session: Session, *, now: datetime, account_id: int | None = None) -> list[int]:
    """Resume campaigns that wait for an account (for this one, or any) and have an active one; return which.

    The verification resumes all: a deactivation and a reactivation at the same moment do not see each other.
    """
    uses = _active_account_of_campaign()
    if account_id is not None:
        uses = uses.where(Account.id == account_id)
    waiting = session.scalars(
        select(Campaign)
        .where(Campaign.status == CampaignStatus.PAUSED, Campaign.status_code == NO_ACCOUNT, exists(uses))
        .order_by(Campaign.id)
        .with_for_update()
    ).all()
    for campaign in waiting:
        lifecycle.go_on(session, campaign, now=now)
    return [campaign.id for campaign in waiting]


def _active_account_of_campaign() -> Select[int]:
    return (
        select(CampaignAccount.account_id)
        .join(Account, Account.id == CampaignAccount.account_id)
        .where(CampaignAccount.campaign_id == Campaign.id, Account.status == AccountStatus.ACTIVE)
    )


def _stranded(session: Session, account_id: int | None) -> Sequence[Campaign]:
    """Return, locked, the running campaigns with no active account."""
    query = select(Campaign).where(
        Campaign.status == CampaignStatus.RUNNING, Campaign.pending_count > 0, ~exists(_active_account_of_campaign())
    )
    if account_id is not None:
        mine = select(CampaignAccount).where(
            CampaignAccount.campaign_id == Campaign.id, CampaignAccount.account_id == account_id
        )
        query = query.where(exists(mine))
    return session.scalars(query.order_by(Campaign.id).with_for_update()).all()
