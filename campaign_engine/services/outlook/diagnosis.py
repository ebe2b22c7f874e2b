"""What is stuck, read from the rows: for `campaign-engine doctor` and the readiness check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, or_, select, text
from sqlalchemy.orm import Session

from campaign_engine.models import Account, AccountStatus
from campaign_engine.providers.base import Provider
from campaign_engine.rules.hours import working_hours
from campaign_engine.services.accounts.accounts import column_of

MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """Counts that should be small or zero."""

    overdue_campaigns: int  # scheduled in the past and not started
    unprepared_campaigns: int  # started, and not all messages written
    stale_claims: int  # claimed long ago and not settled
    unknown_messages: int
    waiting_webhooks: int
    oldest_webhook_s: float
    overdue_unknown: int  # unknown messages that wait for a person's decision, past the grace time
    deactivated_accounts: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """One account or campaign that is not as it should be: its id, its name, and why in words."""

    id: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.id} “{self.name}”: {self.reason}"


@dataclass(frozen=True, slots=True)
class Troubles:
    """What needs a person, or only seems to; at most `MOST_NAMED` of each kind."""

    deactivated_accounts: Sequence[Trouble]
    warned_accounts: Sequence[Trouble]
    accounts_without_webhook: Sequence[Trouble]
    waiting_campaigns: Sequence[Trouble]  # paused by the engine, not by a person, or with a start that was missed
    closed_campaigns: Sequence[Trouble]  # paused at closing time, as they should: nothing is wrong with them


def troubles(session: Session, *, providers: Mapping[str, Provider], now: datetime) -> Troubles:
    """Read which accounts and campaigns need a person, and why."""
    return Troubles(
        deactivated_accounts=_named(
            session,
            "SELECT id, name, coalesce(status_reason, 'deactivated') FROM accounts WHERE status = 'deactivated'",
        ),
        warned_accounts=_named(
            session,
            "SELECT id, name, concat_ws(' ', warning,"
            " (SELECT string_agg(each, ' ') FROM jsonb_array_elements_text(health -> 'warnings') AS each))"
            " FROM accounts WHERE status = 'active' AND (warning IS NOT NULL OR health ? 'warnings')",
        ),
        accounts_without_webhook=_without_webhook(session, providers),
        waiting_campaigns=_named(
            session,
            "SELECT id, name, coalesce(status_reason, status_code) FROM campaigns"
            " WHERE status = 'paused' AND status_code NOT IN ('operator', 'closing_time')"
            " OR status = 'draft' AND status_code IS NOT NULL",
        ),
        closed_campaigns=_closed(session, now=now),
    )


def _without_webhook(session: Session, providers: Mapping[str, Provider]) -> list[Trouble]:
    """Return the accounts that lack what their provider's door would know their webhooks by."""
    known_by = {name: provider.door.known_by for name, provider in providers.items()}
    lacking = [(Account.provider == name) & column_of(field).is_(None) for name, field in known_by.items()]
    rows = session.execute(
        select(Account.id, Account.name, Account.provider)
        .where(Account.status == AccountStatus.ACTIVE, or_(*lacking))
        .order_by(Account.id)
        .limit(MOST_NAMED)
    )
    return [Trouble(row.id, row.name, f"it has no {known_by[row.provider]} to know webhooks by") for row in rows]


def _closed(session: Session, *, now: datetime) -> list[Trouble]:
    rows = session.execute(
        text(
            "SELECT c.id, c.name, c.working_hours, c.timezone, o.timezone AS company_timezone"
            " FROM campaigns c JOIN companies o ON o.id = c.company_id"
            " WHERE c.status = 'paused' AND c.status_code = 'closing_time' ORDER BY c.id LIMIT :most"
        ),
        {"most": MOST_NAMED},
    )
    return [Trouble(row.id, row.name, _when_open(row, now)) for row in rows]


def _when_open(row: Row[Any], now: datetime) -> str:
    if row.working_hours is None:
        return "it has no working hours any more and can be resumed"
    hours = working_hours.of_campaign(row.working_hours, timezone=row.timezone, company_timezone=row.company_timezone)
    opens_at = hours.opens_at(now)
    if opens_at is None:
        return "its hours do not open within a year"
    if opens_at == now:
        return "its hours are open and it can be resumed"
    return f"its hours open at {opens_at.astimezone(hours.zone):%Y-%m-%d %H:%M} ({hours.zone.key})"


def _named(session: Session, query: str) -> list[Trouble]:
    rows = session.execute(text(f"{query} ORDER BY id LIMIT :most"), {"most": MOST_NAMED})  # our own constants
    return [Trouble(*row) for row in rows]


def standing(session: Session, *, unknown_grace_s: float, now: datetime) -> Standing:
    """Read what may be stuck."""
    row = session.execute(
        text(
            """
            SELECT
              (SELECT count(*) FROM campaigns WHERE status = 'scheduled' AND scheduled_at < :late) AS overdue_campaigns,
              (SELECT count(*) FROM campaigns WHERE status IN ('preparing', 'running') AND prepared_at IS NULL
                AND started_at < :late) AS unprepared_campaigns,
              (SELECT count(*) FROM messages WHERE status = 'sending' AND claimed_at < :late) AS stale_claims,
              (SELECT CAST(coalesce(sum(unknown_count), 0) AS bigint) FROM campaigns) AS unknown_messages,
              (SELECT count(*) FROM campaigns c JOIN messages m ON m.campaign_id = c.id
                WHERE c.unknown_count > 0 AND m.status = 'unknown' AND m.status_reason IS DISTINCT FROM 'dismissed'
                AND m.claimed_at < :past_grace) AS overdue_unknown,
              (SELECT count(*) FROM webhook_events WHERE applied_at IS NULL) AS waiting_webhooks,
              (SELECT coalesce(extract(epoch FROM CAST(:now AS timestamptz) - min(received_at))::float, 0)
                FROM webhook_events WHERE applied_at IS NULL) AS oldest_webhook_s,
              (SELECT count(*) FROM accounts WHERE status = 'deactivated') AS deactivated_accounts
            """
        ),
        {"now": now, "late": now - timedelta(minutes=1), "past_grace": now - timedelta(seconds=unknown_grace_s)},
    ).one()
    return Standing(**row._mapping)
