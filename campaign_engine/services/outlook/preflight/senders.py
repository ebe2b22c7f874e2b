"""The accounts that would send a campaign: how fast each of them is, and what slows the campaign down most."""

from dataclasses import dataclass
from datetime import datetime

from campaign_engine.config import Config
from campaign_engine.models import Account, AccountStatus, Campaign, Company
from campaign_engine.rules.eta.ends import period_s
from campaign_engine.rules.eta.terms import End
from campaign_engine.rules.pacing import Pacing
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.company import limits
from campaign_engine.services.outlook import forecasts
from campaign_engine.services.outlook.forecasts import Outlook
from campaign_engine.services.outlook.preflight.remarks import Remark
from campaign_engine.services.outlook.progress import AccountInProgress


@dataclass(frozen=True, slots=True)
class AccountBeforeLaunch(AccountInProgress):
    """An account, with what it could send if it served this campaign alone: `limit` and `pace` are in words."""

    live: bool
    limit: str
    pace: str | None
    messages_per_hour: int


def before_launch(account: Account, pace: Pacing, company: Company, config: Config) -> AccountBeforeLaunch:
    """Return what an account could send for a campaign of this pace if it served no other."""
    seconds, _ = period_s(pace, per_s=forecasts.per_s_of(account, company, config))
    return AccountBeforeLaunch(
        id=account.id,
        name=account.name,
        status=account.status,
        status_reason=account.status_reason,
        live=account.status == AccountStatus.ACTIVE,
        limit=str(limits.account_rate(account, company, config)),
        pace=_pace_in_words(pace),
        messages_per_hour=round(3600 / max(seconds, pace.message_delay_s)),
    )


def _pace_in_words(pace: Pacing) -> str | None:
    said = []
    if pace.message_interval_s > 0 or pace.jitter_s > 0:
        most = pace.message_interval_s + pace.jitter_s
        span = f"{pace.message_interval_s:g}" + (f" to {most:g}" if pace.jitter_s > 0 else "")
        said.append(f"{span} s between messages")
    if pace.longer_interval_after > 0 and pace.greater_interval_s > pace.message_interval_s:
        said.append(f"{pace.greater_interval_s:g} s after each {pace.longer_interval_after}")
    return ", ".join(said) or None


def bound_of(
    campaign: Campaign, end: End, outlook: Outlook, company: Company, config: Config, now: datetime
) -> Remark | None:
    """Return what slows the campaign down for most of its time."""
    if end.bound is None:
        return None
    reason, account_id = end.bound
    account, paces = outlook.accounts.get(account_id or 0), outlook.loads[campaign.id].paces
    if reason is WaitReason.CAMPAIGN_DELAY:
        said = f"delay of the campaign: {max(pace.message_delay_s for pace in paces.values()):g} s between messages"
    elif account is None:
        said = limits.of_owner(campaign.owner_id, company, config).said(None)
    elif reason is WaitReason.PACING:
        said = f"pace of the account {account.name}: {_pace_in_words(paces[account.id])}"
    else:
        charged = limits.of_send(account, campaign.owner_id, company, config, now=now)
        said = next(binding.said(account.name) for binding in charged if binding.reason is reason)
    return Remark(str(reason), account_id, said)
