"""What to look at before the launch of a campaign."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.core import traits_of
from campaign_engine.models import Account, AccountStatus, Campaign, Template
from campaign_engine.rules.waiting import clock
from campaign_engine.services.outlook.preflight.audience import AudienceCount

PUNCTUAL = timedelta(minutes=1)
"""If the first message leaves this soon after the start, it does not wait for the hours to open."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A stable word for programs, the account that it is about (None: the whole campaign), and a sentence."""

    code: str
    account_id: int | None
    text: str


def of_audience(counted: AudienceCount) -> Iterator[Remark]:
    """Yield how many people would get no message because they lack a variable, and whether nobody gets one."""
    if counted.recipients == 0:
        yield Remark("no_recipients", None, "Nobody would get it.")
    for name, missing in counted.missing.items():
        yield Remark(
            "missing_variables",
            None,
            f"{missing:,} recipients have no {{{{{name}}}}} and the text gives no fallback: they get no message.",
        )


def of_accounts(session: Session, accounts: Sequence[Account]) -> Iterator[Remark]:
    """Yield what keeps accounts from sending, or may soon."""
    heard_of = _heard_of(session, [account.id for account in accounts])
    if not any(account.status == AccountStatus.ACTIVE for account in accounts):
        yield Remark("no_active_account", None, "None of its accounts is active: it would not start.")
    for account in accounts:
        if account.status != AccountStatus.ACTIVE:
            reason = account.status_reason or "no reason given"
            yield Remark("account_inactive", account.id, f"{account.name} is {account.status}: {reason}.")
            continue
        health = account.health or {}
        if account.warning:
            yield Remark("account_warning", account.id, f"{account.name}: {account.warning}")
        for said in health.get("warnings") or []:
            yield Remark("account_health", account.id, f"{account.name}: {said}")
        if account.on_probation:
            yield Remark("on_probation", account.id, f"{account.name} was reactivated: one message goes first.")
        if account.id not in heard_of:
            yield Remark(
                "no_webhook",
                account.id,
                f"No delivery of a message of {account.name} has ever been reported: check its webhook.",
            )


def _heard_of(session: Session, account_ids: Sequence[int]) -> set[int]:
    """Return the accounts with a campaign of which some message was reported delivered."""
    rows = session.scalars(
        text(
            "SELECT a.id FROM unnest(CAST(:ids AS bigint[])) AS a(id) WHERE EXISTS (SELECT 1 FROM campaign_accounts ca"
            " JOIN campaigns c ON c.id = ca.campaign_id WHERE ca.account_id = a.id AND c.funnel_delivered_count > 0)"
        ),
        {"ids": list(account_ids)},
    )
    return set(rows)


def of_content(accounts: Sequence[Account], campaign: Campaign) -> Iterator[Remark]:
    """Yield the accounts whose provider cannot send the content."""
    for account in accounts:
        unsuited = traits_of(account.provider).unsuited(campaign.content)
        if unsuited is not None:
            yield Remark("content_not_supported", account.id, f"{account.name} cannot send it. {unsuited}")


def of_template(session: Session, campaign: Campaign) -> Iterator[Remark]:
    """Yield what the provider last said against the template."""
    if campaign.content.get("type") != "template":
        return
    name, language = campaign.content["name"], campaign.content["language"]
    found = session.query(Template).filter_by(company_id=campaign.company_id, name=name, language=language).first()
    if found is None:
        return
    status, quality = found.status.lower(), (found.quality or "").upper()
    if status not in ("approved", "unknown"):
        yield Remark(
            f"template_{status}", None, f"The template {name} ({language}) is {status}: the provider refuses it."
        )
    if quality == "RED":
        yield Remark(
            "template_quality", None, f"Meta rates the quality of the template {name} RED: it may be paused soon."
        )


def of_hours(starts_at: datetime, opens_at: datetime | None, now: datetime, zone: ZoneInfo) -> Iterator[Remark]:
    """Yield that the campaign starts while its hours are closed."""
    if opens_at is None:
        yield Remark("never_opens", None, "Its hours do not open within a year.")
    elif opens_at > starts_at + PUNCTUAL:
        opens = clock(opens_at, now=now, zone=zone)
        yield Remark("closed_hours", None, f"It starts outside its hours: the first message leaves at {opens}.")
