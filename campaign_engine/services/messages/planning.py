"""Plan: for which campaigns an account could send something now, in which order, and what each of them waits for.

A turn of a lane asks for a `plan`. Then `claiming` finds the rows that are next and claims them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, TextClause, text
from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.json_types import Json
from campaign_engine.models import Account, AccountStatus, Company
from campaign_engine.rules import pacing, waiting
from campaign_engine.rules.hours import working_hours
from campaign_engine.rules.hours.working_hours import WorkingHours
from campaign_engine.rules.retry import FIRST_LINE_ATTEMPTS
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.company import limits
from ratelimit import Rate


class Line(StrEnum):
    """Which messages of a lane: the second line has those that failed on every attempt of the first line."""

    FIRST = "first"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Due:
    """A message that waits for a time of its own: for a retry, or for its recipient's hours or limit."""

    at: datetime
    phone: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A running campaign that uses the account and has messages to send."""

    campaign_id: int
    owner_id: int
    content: Json
    pacing: pacing.Pacing
    fresh: bool  # has messages that were never tried
    first_due: Due | None  # the earliest of the messages that wait for a time of their own
    delayed_until: datetime | None
    pending_count: int
    begun: bool  # has sent something
    hours: WorkingHours | None
    frequency_cap: Rate | None

    def ready(self, now: datetime) -> tuple[datetime, WaitReason | None]:
        """Return the earliest time at which it can use the account, and what it waits for until then.

        The answer is `now` and None when it can already. Hours that never open are looked at again in a day. A campaign
        that stops at closing time waits until then at most.
        """
        at, reason = now, None
        closes_at = self.stops_at(now)
        if not self.fresh and self.first_due is not None and self.first_due.at > now:
            at = self.first_due.at
            reason = waiting.of_row(self.first_due.phone, attempts=self.first_due.attempts, hours=self.hours, now=now)
        if self.delayed_until is not None and self.delayed_until > at:
            at, reason = self.delayed_until, WaitReason.CAMPAIGN_DELAY
        if closes_at is not None and at >= closes_at:
            return closes_at, reason
        if self.hours is not None and not self.hours.per_recipient:
            opens_at = self.hours.opens_at(at) or at + timedelta(days=1)
            if opens_at > at:
                at, reason = opens_at, WaitReason.OUTSIDE_HOURS
        return at, reason

    def stops_now(self, now: datetime) -> bool:
        """Whether its hours are over and it stops then, instead of going on when they open again."""
        return (
            self.hours is not None and self.hours.stops_at_close and self.begun and self.hours.open_until(now) is None
        )

    def stops_at(self, now: datetime) -> datetime | None:
        """Return when its hours close and it stops; None when they are closed, or when it goes on another day."""
        return self.hours.open_until(now) if self.hours is not None and self.hours.stops_at_close else None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account could do now. Candidates are in order of service: tests first, then least recently served.

    `stands_in_for` are the accounts whose planned messages it may send: itself, and those that have fallen away.
    """

    account: Account
    company: Company
    line: Line
    candidates: Sequence[Candidate]
    stands_in_for: Sequence[int]


# Each line has an index of its own over the rows that wait for a time; the bounds are literals so that it is used.
OF_LINE = {
    Line.FIRST: f"m.next_attempt_at IS NOT NULL AND m.attempts < {FIRST_LINE_ATTEMPTS}",
    Line.SECOND: f"m.next_attempt_at IS NOT NULL AND m.attempts >= {FIRST_LINE_ATTEMPTS}",
}
MINE = "(m.planned_account_id IS NULL OR m.planned_account_id = ANY(CAST(:stands_in_for AS bigint[])))"


# These statements run for every few messages, on tables whose statistics are always behind. So each look-up is a scalar
# subquery or a LATERAL with a LIMIT, in the order of the index that is meant. For an EXISTS or a plain join the planner
# may scan the whole table, which is quick only until the rows at its front are sent.
def _has_fresh(mine: str) -> str:
    """Return the condition that campaign `c` has untried messages, for any account or for those of `mine`."""
    return f"""
      (
        SELECT m.position FROM messages m
        WHERE m.campaign_id = c.id AND m.status = 'pending' AND m.next_attempt_at IS NULL
          AND m.planned_account_id IS NULL
        ORDER BY m.planned_account_id, m.position LIMIT 1
      ) IS NOT NULL OR (
        SELECT p.position FROM {mine} AS mine(id) CROSS JOIN LATERAL (
          SELECT m.position FROM messages m
          WHERE m.campaign_id = c.id AND m.status = 'pending' AND m.next_attempt_at IS NULL
            AND m.planned_account_id = mine.id
          ORDER BY m.position LIMIT 1
        ) AS p LIMIT 1
      ) IS NOT NULL
    """  # noqa: S608 - the inserted text is our own


def _candidates_of(line: Line) -> TextClause:
    fresh = _has_fresh("unnest(CAST(:stands_in_for AS bigint[]))")
    return text(
        f"""
        SELECT c.id AS campaign_id, c.owner_id, c.kind, c.content, c.pacing, c.pending_count, ca.delayed_until,
          c.working_hours, c.timezone, c.frequency_cap, c.funnel_sent_count > 0 AS begun,
          {fresh if line is Line.FIRST else "false"} AS fresh, w.next_attempt_at, w.attempts, w.phone
        FROM campaign_accounts ca JOIN campaigns c ON c.id = ca.campaign_id
        LEFT JOIN LATERAL (
          SELECT m.next_attempt_at, m.attempts, m.phone FROM messages m
          WHERE m.campaign_id = c.id AND m.status = 'pending' AND {OF_LINE[line]} AND {MINE}
          ORDER BY m.next_attempt_at LIMIT 1
        ) w ON true
        WHERE ca.account_id = :account_id AND c.status = 'running' AND c.pending_count > 0
        ORDER BY c.kind = 'test' DESC, ca.served_at NULLS FIRST, c.id
        """  # noqa: S608 - the inserted texts are our own
    )


_CANDIDATES = {line: _candidates_of(line) for line in Line}


def plan(session: Session, account_id: int, *, config: Config, line: Line = Line.FIRST) -> Plan | None:
    """Return what the account could send for whom, or None when it may not send at all."""
    account = session.get(Account, account_id, populate_existing=True)
    if account is None or account.status != AccountStatus.ACTIVE:
        return None
    company = session.get_one(Company, account.company_id, populate_existing=True)
    stands_in_for = [account_id, *_fallen_away(session, company.id)]
    rows = session.execute(_CANDIDATES[line], {"account_id": account_id, "stands_in_for": stands_in_for})
    candidates = [
        _candidate(row, account, company, config) for row in rows if row.fresh or row.next_attempt_at is not None
    ]
    return Plan(account=account, company=company, line=line, candidates=candidates, stands_in_for=stands_in_for)


def _fallen_away(session: Session, company_id: int) -> Sequence[int]:
    return session.scalars(
        text("SELECT id FROM accounts WHERE company_id = :id AND status <> 'active'"), {"id": company_id}
    ).all()


def _candidate(row: Row[Any], account: Account, company: Company, config: Config) -> Candidate:
    is_test = row.kind == "test"
    hours = None
    if row.working_hours and not is_test:
        hours = working_hours.of_campaign(row.working_hours, timezone=row.timezone, company_timezone=company.timezone)
    return Candidate(
        campaign_id=row.campaign_id,
        owner_id=row.owner_id,
        content=row.content,
        pacing=pacing_of(account, company, row.pacing, config),
        fresh=row.fresh,
        first_due=Due(row.next_attempt_at, row.phone, row.attempts) if row.next_attempt_at is not None else None,
        delayed_until=row.delayed_until,
        pending_count=row.pending_count,
        begun=row.begun,
        hours=hours,
        frequency_cap=None if is_test else limits.frequency_cap(row.frequency_cap, company),
    )


def drained_campaigns(session: Session, account_id: int) -> list[int]:
    """Return the running campaigns that use an account and have nothing left to send."""
    return list(
        session.scalars(
            text(
                "SELECT c.id FROM campaign_accounts ca JOIN campaigns c ON c.id = ca.campaign_id"
                " WHERE ca.account_id = :account_id AND c.status = 'running' AND c.pending_count = 0"
            ),
            {"account_id": account_id},
        )
    )


def busy_lanes(session: Session, line: Line) -> list[int]:
    """Return the active accounts that have something to send on a line, now or later."""
    mine = "(SELECT f.id FROM accounts f WHERE f.company_id = c.company_id AND (f.id = a.id OR f.status <> 'active'))"
    fresh = f"OR {_has_fresh(mine)}" if line is Line.FIRST else ""
    rows = session.scalars(
        text(
            f"""
            SELECT DISTINCT a.id FROM campaigns c
            JOIN campaign_accounts ca ON ca.campaign_id = c.id
            JOIN accounts a ON a.id = ca.account_id AND a.status = 'active'
            WHERE c.status = 'running' AND c.pending_count > 0 AND (
              (
                SELECT m.next_attempt_at FROM messages m
                WHERE m.campaign_id = c.id AND m.status = 'pending' AND {OF_LINE[line]}
                  AND (m.planned_account_id IS NULL OR m.planned_account_id IN {mine})
                ORDER BY m.next_attempt_at LIMIT 1
              ) IS NOT NULL {fresh}
            )
            """  # noqa: S608 - the inserted texts are our own
        )
    )
    return list(rows)


def pacing_of(
    account: Account, company: Company, campaign_pacing: Mapping[str, float | None], config: Config
) -> pacing.Pacing:
    """Return the pacing in force: the campaign's, else the account's, else the company's, else the environment's."""
    return pacing.resolve(
        campaign_pacing,
        {name: getattr(account, name, None) for name in pacing.PACING_FIELDS},
        company.settings,
        {
            "message_interval_s": config.message_interval_s,
            "longer_interval_after": config.longer_interval_after,
            "greater_interval_s": config.greater_interval_s,
            "message_delay_s": config.campaign_message_delay_s,
        },
    )
