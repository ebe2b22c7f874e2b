"""What providers tell about accounts and templates, and what follows from it. People are told everything; the engine
acts where further sending would only fail or harm the number's reputation.

A notice speaks only of accounts whose secret signed it: of the number it names, or of the numbers known to belong to
the business account it names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from campaign_engine.logs import get_logger
from campaign_engine.models import Account, AccountStatus, Campaign
from campaign_engine.models.template import UNSENDABLE
from campaign_engine.providers.base import UNLIMITED, Health, Notice, NoticeKind
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services.accounts import accounts, activation
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.company import notifications

log = get_logger(__name__)

TEMPLATE_PAUSED = "template_paused"
"""The `status_code` of a campaign whose template cannot be sent."""

RESTORING = frozenset({"APPROVED", "REINSTATED", "UNARCHIVED"})
# Meta's words for a template's state; its other events (FLAGGED, LOCKED, ...) leave the state as it is.
_STATES = {
    **{word: word for word in (*UNSENDABLE, "PENDING", "IN_APPEAL", "PENDING_DELETION", "LIMIT_EXCEEDED")},
    **dict.fromkeys(RESTORING, "APPROVED"),
}


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A notice that came at `at`, and the accounts it speaks of."""

    notice: Notice
    accounts: Sequence[Account]
    at: datetime

    @property
    def by_company(self) -> list[tuple[int, list[Account]]]:
        """The companies of the accounts, each with its own."""
        company_ids = sorted({account.company_id for account in self.accounts})
        return [(each, [account for account in self.accounts if account.company_id == each]) for each in company_ids]


def apply(session: Session, notices: Sequence[Notice], *, account_ids: Sequence[int], at: datetime) -> None:
    """Do what the notices of a webhook ask for; it came at `at`, and `account_ids` are those whose secret signed it.

    Side effects: they depend on the kind; each company concerned always gets a notification.
    """
    signed = session.scalars(
        select(Account)
        .where(Account.id.in_(account_ids), Account.status != AccountStatus.DELETED)
        .order_by(Account.id)
        .execution_options(populate_existing=True)
    ).all()
    for notice in notices:
        spoken = _Spoken(notice, _spoken_of(notice, signed), at)
        account_ids = [account.id for account in spoken.accounts]
        log.info("notice.applied", kind=notice.kind, value=notice.value, account_ids=account_ids)
        _ACTIONS.get(notice.kind, _tell)(session, spoken)


def _spoken_of(notice: Notice, signed: Sequence[Account]) -> list[Account]:
    """Return the accounts a notice speaks of.

    For a business account these are the accounts known to belong to it. If there is none, they are the accounts whose
    business account is unknown.
    """
    if notice.number is not None:
        return [account for account in signed if notice.number in _names_of(account)]
    if notice.business is None:
        return list(signed)
    known = [account for account in signed if account.business_account_id == notice.business]
    return known or [account for account in signed if account.business_account_id is None]


def _names_of(account: Account) -> set[str]:
    shown = str((account.health or {}).get("display_phone_number", ""))
    return {accounts.number_of(account), "+" + "".join(char for char in shown if char.isdigit())}


def _template_status(session: Session, spoken: _Spoken) -> None:
    notice = spoken.notice
    state = _STATES.get(notice.value)
    for company_id, _ in spoken.by_company:
        if state is not None:
            _write_template(session, company_id, notice, "status", state)
        paused = _pause_campaigns(session, company_id, notice) if notice.value in UNSENDABLE else 0
        follows = f" {paused} {'campaign' if paused == 1 else 'campaigns'} paused." if paused else ""
        notifications.notify(
            session,
            company_id=company_id,
            kind="template_status",
            severity="warning" if notice.value in UNSENDABLE or notice.value == "FLAGGED" else "info",
            text=f"Meta says of the template {_template_of(notice)}: {_words(notice)}.{follows}",
            subject=("template", notice.subject),
        )


def _pause_campaigns(session: Session, company_id: int, notice: Notice) -> int:
    running = session.scalars(
        select(Campaign)
        .where(
            Campaign.company_id == company_id,
            Campaign.status == CampaignStatus.RUNNING,
            Campaign.content["type"].astext == "template",
            Campaign.content["name"].astext == notice.subject,
            *([Campaign.content["language"].astext == notice.language] if notice.language else []),
        )
        .order_by(Campaign.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    reason = f"Meta says of its template {_template_of(notice)}: {_words(notice)}"
    for campaign in running:
        lifecycle.interrupt(session, campaign, reason=reason, code=TEMPLATE_PAUSED)
        notifications.notify(
            session,
            company_id=company_id,
            kind="campaign_paused",
            severity="error",
            text=f"The campaign {campaign.name} is paused: {reason}.",
            subject=("campaign", campaign.id),
        )
    return len(running)


def _template_changed(session: Session, spoken: _Spoken) -> None:
    notice = spoken.notice
    for company_id, _ in spoken.by_company:
        if notice.aspect in ("quality", "category"):
            _write_template(session, company_id, notice, notice.aspect, notice.value)
        worse = notice.aspect == "category" or notice.value in ("RED", "YELLOW")
        price = " A template's category decides its price." if notice.aspect == "category" else ""
        notifications.notify(
            session,
            company_id=company_id,
            kind=f"template_{notice.aspect}",
            severity="warning" if worse else "info",
            text=f"The {notice.aspect} of the template {_template_of(notice)}: {_words(notice)}.{price}",
            subject=("template", notice.subject),
        )


def _write_template(session: Session, company_id: int, notice: Notice, column: str, value: str) -> None:
    """Store what is said about a template; if no language is given, for all known templates of its name."""
    values = {"company_id": company_id, "name": notice.subject, "value": value}
    if notice.language is None:
        session.execute(
            text(f"UPDATE templates SET {column} = :value WHERE company_id = :company_id AND name = :name"),  # noqa: S608
            values,
        )
        return
    session.execute(
        text(
            f"INSERT INTO templates (company_id, name, language, {column})"  # noqa: S608 - the column is our own word
            " VALUES (:company_id, :name, :language, :value)"
            f" ON CONFLICT (company_id, name, language) DO UPDATE SET {column} = excluded.{column}"
        ),
        {**values, "language": notice.language},
    )


def _account_stopped(session: Session, spoken: _Spoken) -> None:
    notice = spoken.notice
    until = f", until {notice.until:%Y-%m-%d %H:%M} UTC" if notice.until is not None else ""
    for account in spoken.accounts:
        activation.deactivate(session, account.id, reason=f"Meta says: {_words(notice)}{until}")


def _limit_changed(session: Session, spoken: _Spoken) -> None:
    """Store a new limit, unless a person chose the present one."""
    notice = spoken.notice
    if spoken.accounts and (notice.limit is not None or notice.value == UNLIMITED):
        session.execute(
            text(
                "UPDATE accounts SET provider_recipient_limit = CAST(:limit AS bigint), daily_recipient_limit = CASE"
                " WHEN daily_recipient_limit IS NULL OR daily_recipient_limit = provider_recipient_limit"
                " THEN CAST(:limit AS bigint) ELSE daily_recipient_limit END WHERE id = ANY(CAST(:ids AS bigint[]))"
            ),
            {"ids": [account.id for account in spoken.accounts], "limit": notice.limit},
        )
    said = f"{notice.limit:,} people a day" if notice.limit is not None else _words(notice)
    _notify_each(session, spoken, kind="account_limit", severity="info", text=f"the messaging limit is now {said}")


def _connection(session: Session, spoken: _Spoken) -> None:
    state = spoken.notice.value
    if spoken.notice.health is not None:
        _keep_health(session, spoken, spoken.notice.health)
    if state in ("close", "refused"):
        reason = f" ({spoken.notice.detail})" if spoken.notice.detail else ""
        said = f"the phone's session is closed{reason}; connect it again"
        _notify_each(session, spoken, kind="connection_lost", severity="warning", text=said)
    elif state == "open":
        for _, mine in spoken.by_company:
            is_off = any(account.status == AccountStatus.DEACTIVATED for account in mine)
            stays = "; an account that was deactivated stays so until somebody reactivates it" if is_off else ""
            said = f"the phone's session is open{stays}"
            _notify_each(session, replace(spoken, accounts=mine), kind="connection_open", severity="info", text=said)


def _keep_health(session: Session, spoken: _Spoken, health: Health) -> None:
    """Store what a health check would have found when the notice came, for accounts that had no check since."""
    outdated = session.scalars(
        select(Account)
        .where(
            Account.id.in_([account.id for account in spoken.accounts]),
            or_(Account.health_checked_at.is_(None), Account.health_checked_at <= spoken.at),
        )
        .order_by(Account.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    for account in outdated:
        accounts.keep_health(account, health, now=spoken.at)


def _tell(session: Session, spoken: _Spoken) -> None:
    said = f"Meta says {_words(spoken.notice)}"
    if spoken.notice.kind is NoticeKind.ACCOUNT_RESTORED:
        said += "; an account that was deactivated can be reactivated"
        _notify_each(session, spoken, kind="account_restored", severity="info", text=said)
    else:
        _notify_each(session, spoken, kind="account_alert", severity="warning", text=said)


def _notify_each(session: Session, spoken: _Spoken, *, kind: str, severity: str, text: str) -> None:
    """Notify each company once, about all its accounts that are spoken of."""
    for company_id, mine in spoken.by_company:
        notifications.notify(
            session,
            company_id=company_id,
            kind=kind,
            severity=severity,
            text=f"{', '.join(account.name for account in mine)}: {text}.",
            subject=("account", mine[0].id) if len(mine) == 1 else None,
        )


_ACTIONS = {
    NoticeKind.TEMPLATE_STATUS: _template_status,
    NoticeKind.TEMPLATE_CHANGED: _template_changed,
    NoticeKind.ACCOUNT_STOPPED: _account_stopped,
    NoticeKind.LIMIT_CHANGED: _limit_changed,
    NoticeKind.CONNECTION: _connection,
}
"""What is done about a notice; all others are only told."""


def _template_of(notice: Notice) -> str:
    return f"{notice.subject} ({notice.language})" if notice.language else str(notice.subject)


def _words(notice: Notice) -> str:
    return f"{notice.value} ({notice.detail})" if notice.detail else notice.value
