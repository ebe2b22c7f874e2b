"""What would become of a campaign if it started now, or at its time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.errors import TransitionNotAllowed
from campaign_engine.models import Campaign, Company
from campaign_engine.rules.eta.terms import End, NoEnd
from campaign_engine.rules.hours.recipient_zone import Zones
from campaign_engine.rules.hours.working_hours import WorkingHours
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.rules.waiting import Wait, clock
from campaign_engine.services.company import limits
from campaign_engine.services.company.limits import LimiterOf
from campaign_engine.services.outlook import forecasts
from campaign_engine.services.outlook.preflight import audience, remarks, senders
from campaign_engine.services.outlook.preflight.audience import AudienceCount
from campaign_engine.services.outlook.preflight.remarks import Remark
from campaign_engine.services.outlook.preflight.senders import AccountBeforeLaunch


@dataclass(frozen=True, slots=True)
class Preflight:
    """How many get a campaign, who is left out, and when it would end.

    `left_out` has people by reason, `missing_variables` people by the variable they lack. `fits` is None if nobody
    asked. `no_end` says why no end can be told; `bound` is what slows the campaign down for most of its time.
    """

    campaign_id: int
    status: str
    named: int
    recipients: int
    left_out: Mapping[str, int]
    missing_variables: Mapping[str, int]
    starts_at: datetime
    first_message_at: datetime | None
    ends_at: datetime | None
    no_end: str | None
    must_end_by: datetime | None
    fits: bool | None
    bound: Remark | None
    accounts: Sequence[AccountBeforeLaunch]
    warnings: Sequence[Remark]
    summary: str


def check(
    session: Session,
    campaign: Campaign,
    *,
    config: Config,
    now: datetime,
    must_end_by: datetime | None = None,
    waits: Mapping[int, Wait] | None = None,
    limiter_of: LimiterOf | None = None,
) -> Preflight:
    """Return what would become of a campaign if it started now, or at its time.

    `fits` says whether the last message leaves until `must_end_by`. `waits` is what the lanes of accounts wait for, by
    account id; `limiter_of` looks at what the limits of 24 hours have let through.

    Raises:
        TransitionNotAllowed: it has started; its progress says more.
    """
    if campaign.status not in (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED):
        raise TransitionNotAllowed(kind="campaign", verb="be checked", status=campaign.status)
    company = session.get_one(Company, campaign.company_id)
    counted = audience.count(session, campaign, cap=limits.frequency_cap(campaign.frequency_cap, company), now=now)
    outlook = forecasts.outlook(
        session,
        {company.id: company},
        config=config,
        now=now,
        waits=waits,
        limiter_of=limiter_of,
        drafts={campaign.id: counted.zones},
    )
    load, end = outlook.loads[campaign.id], outlook.ends(now=now)[campaign.id]
    if counted.recipients == 0:
        end = End(None)
    starts_at = load.starts_at or now
    opens_at = _opens_at(load.hours, load.zones, starts_at) if load.hours is not None else starts_at
    accounts = [account for account in outlook.accounts.values() if account.id in load.paces]
    bound = senders.bound_of(campaign, end, outlook, company, config, now)
    fits = None if must_end_by is None else end.at is not None and end.at <= must_end_by
    zone = ZoneInfo(campaign.timezone)
    return Preflight(
        campaign_id=campaign.id,
        status=campaign.status,
        named=counted.named,
        recipients=counted.recipients,
        left_out=counted.left_out,
        missing_variables=counted.missing,
        starts_at=starts_at,
        first_message_at=opens_at,
        ends_at=end.at,
        no_end=str(end.reason) if end.reason is not None else None,
        must_end_by=must_end_by,
        fits=fits,
        bound=bound,
        accounts=[senders.before_launch(account, load.paces[account.id], company, config) for account in accounts],
        warnings=[
            *remarks.of_audience(counted),
            *remarks.of_accounts(session, accounts),
            *remarks.of_content(accounts, campaign),
            *remarks.of_template(session, campaign),
            *remarks.of_hours(starts_at, opens_at, now, zone),
        ],
        summary=_summary(counted, end, must_end_by, now, zone),
    )


def _opens_at(hours: WorkingHours, zones: Mapping[Zones, float], starts_at: datetime) -> datetime | None:
    """Return when the first message may leave; None when the hours never open."""
    opens = [hours.opens_in(each, starts_at) for each in zones or [()]]
    return min((each for each in opens if each is not None), default=None)


_NO_END = {
    NoEnd.NO_ACCOUNT: "does not end: none of its accounts is active",
    NoEnd.NEVER_OPENS: "does not end: its hours never open",
    NoEnd.STOPS_AT_CLOSE: "is not through when its hours close, and stops then",
    NoEnd.BEYOND_HORIZON: "does not end within 400 days",
}


def _summary(counted: AudienceCount, end: End, must_end_by: datetime | None, now: datetime, zone: ZoneInfo) -> str:
    """Return the gist: `ends Thu 26 Nov, 16:40; does not fit before Fri 20 Nov, 18:00`."""
    if counted.recipients == 0:
        return "nobody would get it"
    if end.at is None:
        return _NO_END[end.reason] if end.reason is not None else "does not end"
    said = f"ends {clock(end.at, now=now, zone=zone)}"
    if must_end_by is None:
        return said
    fits = "fits" if end.at <= must_end_by else "does not fit"
    return f"{said}; {fits} before {clock(must_end_by, now=now, zone=zone)}"
