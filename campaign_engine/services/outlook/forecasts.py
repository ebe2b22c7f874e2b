"""When campaigns will be through: gathers what `rules.eta` needs, in a constant number of statements."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.models import Account, AccountStatus, Company
from campaign_engine.rules.cool_down import Throttle
from campaign_engine.rules.eta import ends
from campaign_engine.rules.eta.terms import End, Load, Quota, SenderTerms
from campaign_engine.rules.hours import working_hours
from campaign_engine.rules.hours.recipient_zone import Zones
from campaign_engine.rules.hours.working_hours import WorkingHours, WorkingHoursValues
from campaign_engine.rules.pacing import Pacing
from campaign_engine.rules.waiting import OF_THE_ACCOUNT, Wait
from campaign_engine.services.campaigns import audience_sizes
from campaign_engine.services.company import limits
from campaign_engine.services.company.limits import Binding, LimiterOf
from campaign_engine.services.messages.planning import OF_LINE, Due, pacing_of
from campaign_engine.services.people import recipient_zones
from ratelimit import Limit, Limiter, LimiterUnavailable

DAY = timedelta(days=1)


@dataclass(slots=True)
class Outlook:
    """The accounts that send and the campaigns to send, of some companies; `companies` and `accounts` are by id."""

    companies: Mapping[int, Company]
    accounts: dict[int, Account] = field(default_factory=dict)
    senders: dict[int, SenderTerms] = field(default_factory=dict)
    loads: dict[int, Load] = field(default_factory=dict)  # by campaign
    owners: dict[int, float] = field(default_factory=dict)
    quotas: dict[str, Quota] = field(default_factory=dict)

    def ends(self, *, now: datetime) -> dict[int, End]:
        """Return the end of each campaign."""
        return ends.ends_of(self.loads.values(), self.senders, owners=self.owners, quotas=self.quotas, now=now)


# A row that is claimed but not settled yet (`sending`) needs no turn any more.
_LIVE = text(
    """
    SELECT c.id, c.company_id, c.owner_id, c.status, c.kind, c.pending_count, c.total_count, c.pacing,
      c.working_hours, c.timezone, c.scheduled_at, c.prepared_at IS NOT NULL AS prepared,
      (SELECT jsonb_object_agg(ca.account_id, ca.weight) FROM campaign_accounts ca WHERE ca.campaign_id = c.id) AS uses
    FROM campaigns c
    WHERE c.company_id = ANY(CAST(:company_ids AS bigint[])) AND (
      c.id = ANY(CAST(:also AS bigint[]))
      OR c.status IN ('scheduled', 'preparing')
      OR c.status = 'running' AND (c.pending_count > 0 OR c.prepared_at IS NULL)
    )
    """
)


def outlook(
    session: Session,
    companies: Mapping[int, Company],
    *,
    config: Config,
    now: datetime,
    waits: Mapping[int, Wait] | None = None,
    limiter_of: LimiterOf | None = None,
    drafts: Mapping[int, Mapping[Zones, int]] | None = None,
) -> Outlook:
    """Gather all live campaigns of companies and the accounts they send from.

    Args:
        session: reads, and nothing else.
        companies: by id; campaigns of different companies share nothing.
        config: the defaults of limits and pacing.
        now: the present.
        waits: what the lanes of accounts wait for, by account id.
        limiter_of: reads the limits of 24 hours; without it nothing is known of what they have let through.
        drafts: campaigns to count although they have not started, with the exact number of messages to each zone.
    """
    drafts = drafts or {}
    found = Outlook(companies)
    rows = session.execute(_LIVE, {"company_ids": list(companies), "also": list(drafts)}).all()
    accounts = session.scalars(
        select(Account).where(Account.company_id.in_(list(companies)), Account.status != AccountStatus.DELETED)
    )
    found.accounts.update((account.id, account) for account in accounts)
    for account in found.accounts.values():
        if account.status == AccountStatus.ACTIVE:
            company = companies[account.company_id]
            wait = (waits or {}).get(account.id)
            found.senders[account.id] = _sender(account, company, wait, config=config, now=now)
    found.quotas.update(_quotas(found, limiter_of=limiter_of, now=now))
    estimates = audience_sizes.estimated(session, [row.id for row in rows if not row.prepared and row.id not in drafts])

    @cache  # campaigns with the same overrides share a pace
    def pace_on(account_id: int, overrides: str) -> Pacing:
        account = found.accounts[account_id]
        return pacing_of(account, companies[account.company_id], json.loads(overrides), config)

    zones = recipient_zones.remaining(session, [row.id for row in rows if _is_by_recipient(row) and row.pending_count])
    for row in rows:
        company = companies[row.company_id]
        spread: Mapping[Zones, int] = zones.get(row.id, {})
        if row.id in drafts:
            spread = drafts[row.id]
            left = sum(spread.values())
        else:
            unwritten = 0 if row.prepared else max(0, estimates.get(row.id, 0) - row.total_count)
            left = row.pending_count + unwritten
        overrides = json.dumps(row.pacing, sort_keys=True)
        paces = {each: pace_on(each, overrides) for each in map(int, row.uses or ()) if each in found.accounts}
        found.loads[row.id] = _load(
            row, company, paces, message_count=left, zones=spread if _is_by_recipient(row) else {}, now=now
        )
        owner = limits.owner_rate(company, config)
        found.owners[row.owner_id] = owner.count * 1e6 / owner.period_us
    return found


def _is_by_recipient(row: Row[Any]) -> bool:
    hours = row.working_hours
    return hours is not None and row.kind != "test" and hours.get("timezone") == working_hours.RECIPIENT


def hours_of(value: WorkingHoursValues, *, timezone: str, company: Company) -> WorkingHours:
    """Return a campaign's hours from its row; if they are those of each recipient, the company's zone stands in."""
    return _hours(json.dumps(value, sort_keys=True), timezone, company.timezone)


@lru_cache(maxsize=4096)
def _hours(written: str, timezone: str, company_timezone: str) -> WorkingHours:
    return working_hours.of_campaign(json.loads(written), timezone=timezone, company_timezone=company_timezone)


def _load(
    row: Row[Any],
    company: Company,
    paces: Mapping[int, Pacing],
    *,
    message_count: int,
    zones: Mapping[Zones, int],
    now: datetime,
) -> Load:
    has_hours = row.working_hours is not None and row.kind != "test"
    uses = {int(account_id): weight for account_id, weight in (row.uses or {}).items()}
    starts_later = row.status in ("draft", "scheduled") and row.scheduled_at is not None and row.scheduled_at > now
    return Load(
        campaign_id=row.id,
        owner_id=row.owner_id,
        message_count=message_count,
        paces=paces,
        hours=hours_of(row.working_hours, timezone=row.timezone, company=company) if has_hours else None,
        starts_at=row.scheduled_at if starts_later else None,
        weights={account_id: weight for account_id, weight in uses.items() if weight},
        zones=zones,
    )


def per_s_of(account: Account, company: Company, config: Config) -> float:
    """Return how many messages a second the account's limit lets through in the long run, without bursts."""
    rate = limits.account_rate(account, company, config)
    burst = min(account.burst, rate.count) if config.rate_limit_strategy == "token-bucket" else 1
    return (rate.count - burst + 1) * 1e6 / rate.period_us


def _sender(account: Account, company: Company, wait: Wait | None, *, config: Config, now: datetime) -> SenderTerms:
    ends = [account.paced_until]
    if wait is not None and wait.reason in OF_THE_ACCOUNT:
        ends.append(wait.until)
    later = [each for each in ends if each is not None and each > now]
    return SenderTerms(
        per_s=per_s_of(account, company, config),
        free_at=max(later, default=None),
        series_count=account.series_count,
        throttle=Throttle(account.throttle_step, account.throttled_at),
        quotas=tuple(_key(account, binding) for binding in limits.of_day(account, now=now)),
    )


# --- Limits of 24 hours.


def _quotas(found: Outlook, *, limiter_of: LimiterOf | None, now: datetime) -> Iterator[tuple[str, Quota]]:
    for account_id in found.senders:
        account = found.accounts[account_id]
        limiter = limiter_of(account.company_id) if limiter_of is not None else None
        for binding in limits.of_day(account, now=now):
            used = list(_used(limiter, binding.limit, now)) if limiter is not None else []
            yield _key(account, binding), Quota(binding.reason, binding.steps, used)


def _key(account: Account, binding: Binding) -> str:
    """Return a key over all companies; accounts with the same one share the quota."""
    return f"{account.company_id}:{binding.limit.key}"


def _used(limiter: Limiter, limit: Limit, now: datetime) -> Iterator[tuple[datetime, datetime, float]]:
    """Yield when the messages of the last 24 hours stop counting: evenly, from the first to the last of them."""
    try:
        [usage] = limiter.peek([limit]).usage
        if usage.used <= 0:
            return
        first, last = usage.next_at or now, now + DAY
        if limit.kind == "window":
            # Asked for one more than fits, and for all, the limiter says when the first stops counting, and the last.
            more = min(usage.remaining + 1, usage.capacity)
            first = limiter.peek([limit], cost=more).usage[0].next_at or now
            last = limiter.peek([limit], cost=usage.capacity).usage[0].next_at or first
    except LimiterUnavailable:
        return
    yield first, max(first, last), float(usage.used)


# --- What the rows of single campaigns wait for.


def _of_lines(columns: str, *, order: str) -> str:
    """Select the first, or last, pending row of campaign `c` in each line, by the index of that line."""
    return " UNION ALL ".join(
        f"(SELECT {columns} FROM messages m WHERE m.campaign_id = c.id AND m.status = 'pending' AND {of_line}"  # noqa: S608
        f" ORDER BY m.next_attempt_at {order} LIMIT 1)"
        for of_line in OF_LINE.values()
    )


_WAITING_ROWS = text(
    f"""
    SELECT c.id, f.attempts, f.phone, f.next_attempt_at AS first_at, l.next_attempt_at AS last_at,
      EXISTS (
        SELECT 1 FROM messages m WHERE m.campaign_id = c.id AND m.status = 'pending' AND m.next_attempt_at IS NULL
      ) AS fresh
    FROM campaigns c
    LEFT JOIN LATERAL (
      SELECT * FROM ({_of_lines("m.attempts, m.phone, m.next_attempt_at", order="ASC")}) AS lines
      ORDER BY next_attempt_at LIMIT 1
    ) f ON true
    LEFT JOIN LATERAL (
      SELECT * FROM ({_of_lines("m.next_attempt_at", order="DESC")}) AS lines
      ORDER BY next_attempt_at DESC LIMIT 1
    ) l ON true
    WHERE c.id = ANY(CAST(:ids AS bigint[]))
    """  # noqa: S608 - the inserted texts are our own
)


@dataclass(frozen=True, slots=True)
class WaitingRows:
    """A campaign's pending messages: whether some may go at any time, and the first and last time of all others."""

    fresh: bool
    first: Due | None = None
    last_at: datetime | None = None


def waiting_rows(session: Session, campaign_ids: Collection[int]) -> dict[int, WaitingRows]:
    """Return what the rows of campaigns wait for, in one statement that costs the same for big campaigns."""
    if not campaign_ids:
        return {}
    return {
        row.id: WaitingRows(
            fresh=row.fresh,
            first=Due(row.first_at, row.phone, row.attempts) if row.first_at is not None else None,
            last_at=row.last_at,
        )
        for row in session.execute(_WAITING_ROWS, {"ids": list(campaign_ids)})
    }
