"""Before the launch: how many get a campaign and who is left out, when it ends, what holds it up, what to look at.

The audience is counted as `services.preparing` would write it, in one statement; nothing is changed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.errors import TransitionNotAllowed
from campaign_engine.models import Account, AccountStatus, Campaign, Company, Template
from campaign_engine.rules.bars import REASON_OF_BAR
from campaign_engine.rules.eta.ends import period_s
from campaign_engine.rules.eta.terms import Bound, End, NoEnd
from campaign_engine.rules.hours import working_hours
from campaign_engine.rules.hours.recipient_zone import TELLING, Zones
from campaign_engine.rules.hours.working_hours import WorkingHours
from campaign_engine.rules.pacing import Pacing
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.rules.texts import content as content_rules
from campaign_engine.rules.waiting import Wait, WaitReason, clock
from campaign_engine.services.campaigns.audiences import Audience
from campaign_engine.services.company import limits
from campaign_engine.services.messages.planning import pacing_of
from campaign_engine.services.outlook import forecasts
from campaign_engine.services.outlook.forecasts import LimiterOf
from campaign_engine.services.people import recipient_zones
from ratelimit import Rate

PUNCTUAL = timedelta(minutes=1)
"""A first message this soon after the start is no wait for the hours to open."""

LEFT_OUT = ("duplicate", *REASON_OF_BAR.values(), "excluded", "frequency_cap", "missing_variables")


@dataclass(frozen=True, slots=True)
class Counted:
    """An audience: how many it names, how many get a message, and why the others do not.

    `missing` has how many of those who are left lack each variable that the text needs; one may lack several. `zones`
    has the recipients by their time zones where the hours are each recipient's, and else all of them together.
    """

    named: int
    recipients: int
    left_out: Mapping[str, int]
    missing: Mapping[str, int]
    zones: Mapping[Zones, int]


def check(
    session: Session,
    campaign: Campaign,
    *,
    config: Config,
    now: datetime,
    must_end_by: datetime | None = None,
    waits: Mapping[int, Wait] | None = None,
    limiter_of: LimiterOf | None = None,
) -> dict[str, Any]:
    """Return what would become of a campaign if it started now, or at its time; times as datetimes, ids as integers.

    Args:
        session: reads, and nothing else.
        campaign: a draft, or one that is scheduled.
        config: the defaults of limits and pacing.
        now: the present.
        must_end_by: asks whether the last message leaves by then.
        waits: what the lanes of its accounts wait for, by account id.
        limiter_of: looks at what the limits of 24 hours have let through.

    Raises:
        TransitionNotAllowed: it has started; its progress says more.
    """
    if campaign.status not in (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED):
        raise TransitionNotAllowed(kind="campaign", verb="be checked", status=campaign.status)
    company = session.get_one(Company, campaign.company_id)
    counted = count(session, campaign, cap=limits.frequency_cap(campaign.frequency_cap, company), now=now)
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
    bound = _bound(campaign, end, outlook.accounts, load.paces, company, config)
    fits = None if must_end_by is None else end.at is not None and end.at <= must_end_by
    zone = ZoneInfo(campaign.timezone)
    return {
        "campaign_id": campaign.id,
        "status": campaign.status,
        "named": counted.named,
        "recipients": counted.recipients,
        "left_out": dict(counted.left_out),
        "missing_variables": dict(counted.missing),
        "starts_at": starts_at,
        "first_message_at": opens_at,
        "ends_at": end.at,
        "no_end": str(end.reason) if end.reason is not None else None,
        "must_end_by": must_end_by,
        "fits": fits,
        "bound": bound,
        "accounts": [_shown(account, load.paces[account.id], company, config) for account in accounts],
        "warnings": [
            {"code": code, "account_id": account_id, "text": said}
            for code, account_id, said in (
                *_warnings_of_audience(counted),
                *_warnings_of_accounts(session, accounts),
                *_warnings_of_content(accounts, campaign),
                *_warnings_of_template(session, campaign),
                *_warnings_of_hours(starts_at, opens_at, now, zone),
            )
        ],
        "summary": _summary(counted, end, must_end_by, now, zone),
    }


# --- The audience.

_REASON = "CASE o.kind {} END".format(" ".join(f"WHEN '{kind}' THEN '{why}'" for kind, why in REASON_OF_BAR.items()))

# By set operations from the lists outwards, so that a million contacts are a few scans and joins. An inline recipient
# goes before a contact of the same key, as in the preparation.
_COUNT = """
    WITH inline AS (
      SELECT DISTINCT ON (r.phone_key) r.phone_key, r.phone, coalesce(c.variables, '{{}}') || r.variables AS variables,
        coalesce(r.name, c.name) AS name, c.id AS contact_id
      FROM campaign_recipients r
      LEFT JOIN contacts c ON c.company_id = :company_id AND c.phone_key = r.phone_key
      WHERE r.campaign_id = :campaign_id ORDER BY r.phone_key, r.position
    ), listed AS (
      SELECT lm.contact_id AS id FROM contact_list_members lm WHERE lm.list_id = ANY(CAST(:list_ids AS bigint[]))
      UNION
      SELECT c.id FROM contacts c WHERE c.company_id = :company_id AND c.tags && CAST(:tags AS text[])
    ), excluded AS (
      SELECT DISTINCT lm.contact_id AS id FROM contact_list_members lm
      WHERE lm.list_id = ANY(CAST(:exclude_list_ids AS bigint[]))
    ), people AS (
      SELECT i.contact_id, i.phone, i.variables, i.name, {reason} AS reason
      FROM inline i LEFT JOIN opt_outs o ON o.company_id = :company_id AND o.phone_key = i.phone_key
      UNION ALL
      SELECT c.id, c.phone, c.variables, c.name, CASE WHEN i.phone_key IS NOT NULL THEN 'duplicate'
        ELSE coalesce({reason}, CASE WHEN x.id IS NOT NULL THEN 'excluded' END) END AS reason
      FROM listed l
      JOIN contacts c ON c.id = l.id AND c.company_id = :company_id
      LEFT JOIN inline i ON i.phone_key = c.phone_key
      LEFT JOIN excluded x ON x.id = c.id
      LEFT JOIN opt_outs o ON o.company_id = :company_id AND o.phone_key = c.phone_key
    ), capped AS (
      {capped}
    ), looked_at AS (
      SELECT {phone} AS phone,
        coalesce(p.reason, CASE WHEN k.contact_id IS NOT NULL THEN 'frequency_cap' END) AS reason{lacks}
      FROM people p LEFT JOIN capped k ON k.contact_id = p.contact_id
    )
    SELECT reason, min(phone) AS phone, count(*) AS people,
      (SELECT count(*) FROM campaign_recipients WHERE campaign_id = :campaign_id)
      - (SELECT count(*) FROM inline) AS repeated{counts}
    FROM looked_at GROUP BY reason, left(phone, {telling})
"""
# What counts is what `screening.below_cap` counts.
_CAPPED = """SELECT m.contact_id FROM messages m
      WHERE m.contact_id IN (SELECT contact_id FROM people WHERE reason IS NULL) AND m.claimed_at > :since
        AND m.status NOT IN ('pending', 'failed', 'skipped')
      GROUP BY m.contact_id HAVING count(*) >= :cap"""
_NOBODY = "SELECT CAST(NULL AS bigint) AS contact_id WHERE false"


def count(session: Session, campaign: Campaign, *, cap: Rate | None, now: datetime) -> Counted:
    """Count who would get a campaign: as the preparation, the frequency cap and the text for each would have it.

    Whoever is at the cap when it starts counts as left out; in a campaign of many hours some may be below it again.
    """
    names = _needed(campaign)
    lacks = "".join(f", {_value(at, name)} IS NULL AS lacks_{at}" for at, name in enumerate(names))
    counts = "".join(f", count(*) FILTER (WHERE lacks_{at}) AS lack_{at}" for at, _ in enumerate(names))
    # Only where it matters in which zone people are, they are counted by the beginning of their numbers.
    by_recipient = (campaign.working_hours or {}).get("timezone") == working_hours.RECIPIENT
    any_lacks = " OR ".join(f"lacks_{at}" for at, _ in enumerate(names)) or "false"
    query = _COUNT.format(
        reason=_REASON,
        lacks=lacks,
        counts=f"{counts}, count(*) FILTER (WHERE {any_lacks}) AS lack",
        capped=_NOBODY if cap is None else _CAPPED,
        phone="p.phone" if by_recipient else "NULL",
        telling=TELLING,
    )
    starts_at = max(now, campaign.scheduled_at or now)
    audience = Audience.of(campaign.audience)
    rows = session.execute(
        text(query),
        {
            "campaign_id": campaign.id,
            "company_id": campaign.company_id,
            "list_ids": list(audience.list_ids),
            "tags": list(audience.tags),
            "exclude_list_ids": list(audience.exclude_list_ids),
            **({} if cap is None else {"cap": cap.count, "since": starts_at - timedelta(microseconds=cap.period_us)}),
            **{f"variable_{at}": name for at, name in enumerate(names) if name != "name"},
        },
    ).all()
    people: Counter[str | None] = Counter()
    for row in rows:
        people[row.reason] += row.people
    repeated = rows[0].repeated if rows else 0
    chosen = [row for row in rows if row.reason is None]
    lacking = sum(row.lack for row in chosen)
    recipients = people[None] - lacking
    zones = recipient_zones.by_zones((row.phone, row.people - row.lack) for row in chosen) if by_recipient else None
    left_out = {
        **people,
        "duplicate": people["duplicate"] + repeated,
        "missing_variables": lacking,
    }
    return Counted(
        named=sum(people.values()) + repeated,
        recipients=recipients,
        left_out={reason: left_out.get(reason, 0) for reason in LEFT_OUT},
        missing={
            name: missing
            for at, name in enumerate(names)
            if (missing := sum(getattr(row, f"lack_{at}") for row in chosen))
        },
        zones={(): recipients} if zones is None else +zones,
    )


def _opens_at(hours: WorkingHours, zones: Mapping[Zones, float], starts_at: datetime) -> datetime | None:
    """Return when the first message may leave; None when the hours never open."""
    opens = [hours.opens_in(each, starts_at) for each in zones or [()]]
    return min((each for each in opens if each is not None), default=None)


def _needed(campaign: Campaign) -> list[str]:
    """Return the variables without which a recipient gets no message; everybody has a phone."""
    required = {
        name: None for _, template in content_rules.templates_of(campaign.content) for name in template.required
    }
    return [name for name in required if name != "phone"]


def _value(at: int, name: str) -> str:
    """Return the SQL of a variable's value; null where there is none, or only blanks."""
    of_variables = f"p.variables ->> CAST(:variable_{at} AS text)" if name != "name" else "p.variables ->> 'name'"
    value = f"coalesce(p.name, {of_variables})" if name == "name" else of_variables
    return f"nullif(btrim({value}, E' \\t\\n\\r'), '')"


# --- The accounts.


def _shown(account: Account, pace: Pacing, company: Company, config: Config) -> dict[str, Any]:
    rate = limits.account_rate(account, company, config)
    seconds, _ = period_s(pace, per_s=forecasts.per_s_of(account, company, config))
    return {
        "id": account.id,
        "name": account.name,
        "status": account.status,
        "status_reason": account.status_reason,
        "live": account.status == AccountStatus.ACTIVE,
        "limit": str(rate),
        "pace": _pace_in_words(pace),
        "messages_per_hour": round(3600 / max(seconds, pace.message_delay_s)),
    }


def _pace_in_words(pace: Pacing) -> str | None:
    said = []
    if pace.message_interval_s > 0 or pace.jitter_s > 0:
        most = pace.message_interval_s + pace.jitter_s
        span = f"{pace.message_interval_s:g}" + (f" to {most:g}" if pace.jitter_s > 0 else "")
        said.append(f"{span} s between messages")
    if pace.longer_interval_after > 0 and pace.greater_interval_s > pace.message_interval_s:
        said.append(f"{pace.greater_interval_s:g} s after each {pace.longer_interval_after}")
    return ", ".join(said) or None


def _bound(
    campaign: Campaign,
    end: End,
    accounts: Mapping[int, Account],
    paces: Mapping[int, Pacing],
    company: Company,
    config: Config,
) -> dict[str, Any] | None:
    """Return what holds the campaign up for most of its time, as a code and in words."""
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
    return {"code": str(code), "account_id": account_id, "text": said}


# --- What to look at.

Remark = tuple[str, int | None, str]


def _warnings_of_audience(counted: Counted) -> Iterator[Remark]:
    if counted.recipients == 0:
        yield "no_recipients", None, "Nobody would get it."
    for name, missing in counted.missing.items():
        yield (
            "missing_variables",
            None,
            f"{missing:,} recipients have no {{{{{name}}}}} and the text gives no fallback: they get no message.",
        )


def _warnings_of_accounts(session: Session, accounts: Sequence[Account]) -> Iterator[Remark]:
    heard_of = _heard_of(session, [account.id for account in accounts])
    if not any(account.status == AccountStatus.ACTIVE for account in accounts):
        yield "no_active_account", None, "None of its accounts is active: it would not start."
    for account in accounts:
        if account.status != AccountStatus.ACTIVE:
            reason = account.status_reason or "no reason given"
            yield "account_inactive", account.id, f"{account.name} is {account.status}: {reason}."
            continue
        health = account.health or {}
        if account.warning:
            yield "account_warning", account.id, f"{account.name}: {account.warning}"
        for said in health.get("warnings") or []:
            yield "account_health", account.id, f"{account.name}: {said}"
        if account.on_probation:
            yield "on_probation", account.id, f"{account.name} was reactivated: one message goes first."
        if account.id not in heard_of:
            yield (
                "no_webhook",
                account.id,
                f"No delivery of a message of {account.name} has ever been reported: check its webhook.",
            )


def _heard_of(session: Session, account_ids: Sequence[int]) -> set[int]:
    """Return the accounts of whose campaigns some message was reported delivered."""
    rows = session.scalars(
        text(
            "SELECT a.id FROM unnest(CAST(:ids AS bigint[])) AS a(id) WHERE EXISTS (SELECT 1 FROM campaign_accounts ca"
            " JOIN campaigns c ON c.id = ca.campaign_id WHERE ca.account_id = a.id AND c.funnel_delivered_count > 0)"
        ),
        {"ids": list(account_ids)},
    )
    return set(rows)


def _warnings_of_content(accounts: Sequence[Account], campaign: Campaign) -> Iterator[Remark]:
    for account in accounts:
        unsuited = content_rules.unsuited_to(account.provider, campaign.content)
        if unsuited is not None:
            yield "content_not_supported", account.id, f"{account.name} cannot send it. {unsuited}"


def _warnings_of_template(session: Session, campaign: Campaign) -> Iterator[Remark]:
    if campaign.content.get("type") != "template":
        return
    name, language = campaign.content["name"], campaign.content["language"]
    found = session.query(Template).filter_by(company_id=campaign.company_id, name=name, language=language).first()
    if found is None:
        return
    status, quality = found.status.lower(), (found.quality or "").upper()
    if status not in ("approved", "unknown"):
        yield f"template_{status}", None, f"The template {name} ({language}) is {status}: the provider refuses it."
    if quality == "RED":
        yield "template_quality", None, f"Meta rates the quality of the template {name} RED: it may be paused soon."


def _warnings_of_hours(
    starts_at: datetime, opens_at: datetime | None, now: datetime, zone: ZoneInfo
) -> Iterator[Remark]:
    if opens_at is None:
        yield "never_opens", None, "Its hours do not open within a year."
    elif opens_at > starts_at + PUNCTUAL:
        opens = clock(opens_at, now=now, zone=zone)
        yield "closed_hours", None, f"It starts outside its hours: the first message leaves at {opens}."


_NO_END = {
    NoEnd.NO_ACCOUNT: "does not end: none of its accounts is active",
    NoEnd.NEVER_OPENS: "does not end: its hours never open",
    NoEnd.STOPS_AT_CLOSE: "is not through when its hours close, and stops then",
    NoEnd.BEYOND_HORIZON: "does not end within 400 days",
}


def _summary(counted: Counted, end: End, must_end_by: datetime | None, now: datetime, zone: ZoneInfo) -> str:
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
