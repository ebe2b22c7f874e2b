"""The accounts that would send a campaign: how fast each of them is, and what holds the campaign up most."""

from collections.abc import Mapping
from dataclasses import dataclass

from campaign_engine.config import Config
from campaign_engine.models import Account, AccountStatus, Campaign, Company
from campaign_engine.rules.eta.ends import period_s
from campaign_engine.rules.eta.terms import Bound, End
from campaign_engine.rules.pacing import Pacing
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.company import limits
from campaign_engine.services.messages.planning import pacing_of
from campaign_engine.services.outlook import forecasts
from campaign_engine.services.outlook.preflight.remarks import Remark
from campaign_engine.services.outlook.progress import AccountInProgress


@dataclass(frozen=True, slots=True)
class AccountBeforeLaunch(AccountInProgress):
    """An account of the campaign, with what it could send for it alone: `limit` and `pace` are in words."""

    live: bool
    limit: str
    pace: str | None
    messages_per_hour: int


def before_launch(account: Account, pace: Pacing, company: Company, config: Config) -> AccountBeforeLaunch:
    """Return what an account could send for a campaign of this pace alone."""
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
    campaign: Campaign,
    end: End,
    accounts: Mapping[int, Account],
    paces: Mapping[int, Pacing],
    company: Company,
    config: Config,
) -> Remark | None:
    """Return what holds the campaign up for most of its time."""
    if end.bound is None:
        return None
    bound, account_id = end.bound
    account = accounts[account_id] if account_id is not None else None
    if bound is Bound.USER_LIMIT:
        code, said = WaitReason.USER_LIMIT, f"user limit: {limits.owner_rate(company, config)}"
    elif bound is Bound.CAMPAIGN_DELAY or account is None:
        delay_s = max((pace.message_delay_s for pace in paces.values()), default=0)
        code, said = WaitReason.CAMPAIGN_DELAY, f"delay of the campaign: {delay_s:g} s between messages"
    elif bound is Bound.ACCOUNT_LIMIT:
        rate = limits.account_rate(account, company, config)
        code, said = WaitReason.ACCOUNT_LIMIT, f"{rate} of the account {account.name}"
    elif bound is Bound.PACING:
        pace = _pace_in_words(pacing_of(account, company, campaign.pacing, config))
        code, said = WaitReason.PACING, f"pace of the account {account.name}: {pace}"
    elif account.warm_up is not None:
        code, said = WaitReason.WARM_UP, f"warm-up of the account {account.name}"
    else:
        code = WaitReason.DAILY_RECIPIENTS
        said = f"{account.daily_recipient_limit} recipients in 24 hours of the account {account.name}"
    return Remark(str(code), account_id, said)
