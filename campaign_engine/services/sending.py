"""Choose and claim: which rows an account sends next, for which campaigns.

A turn of a lane asks for a `plan`, locks the rows that are next, charges every limit for them and claims those that
may go, all in one transaction; the calls are made after it, with no transaction open. What became of them is written by
`services.settling`.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, DateTime, Integer, Uuid

from campaign_engine.config import Config
from campaign_engine.models import Account, AccountStatus, Company
from campaign_engine.rules import fairness, pacing, waiting, working_hours
from campaign_engine.rules.retry import FIRST_LINE_ATTEMPTS
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.rules.working_hours import WorkingHours
from campaign_engine.services import limits
from ratelimit import Rate


class Line(StrEnum):
    """Which messages of a lane: the second line are those that failed as often as the first line tries."""

    FIRST = "first"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Due:
    """A message that waits for a time of its own: for a retry, its recipient's hours, the limit of its recipient."""

    at: datetime
    phone: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A running campaign that uses the account and has messages to send."""

    campaign_id: int
    owner_id: int
    content: Mapping[str, Any]
    pacing: pacing.Pacing
    fresh: bool  # has messages that were never tried
    first_due: Due | None  # of the messages that wait for a time of their own
    delayed_until: datetime | None
    pending_count: int
    begun: bool  # has sent something
    hours: WorkingHours | None
    frequency_cap: Rate | None

    def ready(self, now: datetime) -> tuple[datetime, WaitReason | None]:
        """Return the earliest time at which it can use the account, and what it waits for until then.

        `now` and None when it can already. Hours that never open are looked at again in a day. One that is to stop at
        closing time waits no longer than until then.
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
        """Whether its hours are over and it is to stop then, rather than go on when they open again."""
        return (
            self.hours is not None and self.hours.stops_at_close and self.begun and self.hours.open_until(now) is None
        )

    def stops_at(self, now: datetime) -> datetime | None:
        """Return when its hours close and it is to stop, if it has begun by then; None when they are closed already."""
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


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that may be sent next: locked until the transaction ends, and claimed with `claim`.

    `attempts` are those made before; a retry is a row that has made some.
    """

    message_id: uuid.UUID
    campaign_id: int
    contact_id: int | None
    phone: str
    phone_key: str
    attempts: int
    variables: Mapping[str, str]
    barred: str | None  # why this person is not written to: opted_out, blocked, held
    met_lately: bool  # got a message so lately that the limit of the pair may bind

    @property
    def is_retry(self) -> bool:
        """Whether it has been tried before."""
        return self.attempts > 0


# Of the rows that wait for a time, each line has an index of its own; the bounds are literals so that it is used.
_OF_LINE = {
    Line.FIRST: f"m.next_attempt_at IS NOT NULL AND m.attempts < {FIRST_LINE_ATTEMPTS}",
    Line.SECOND: f"m.next_attempt_at IS NOT NULL AND m.attempts >= {FIRST_LINE_ATTEMPTS}",
}
_MINE = "(m.planned_account_id IS NULL OR m.planned_account_id = ANY(:stands_in_for))"


# These statements run for every few messages, on tables whose statistics are always behind. Each look-up is a scalar
# subquery or a LATERAL with a LIMIT, in the order of the index that is meant: of an EXISTS or a plain join the planner
# may make a scan of the whole table, which is quick until the rows at its front are sent.
def _has_fresh(mine: str) -> str:
    """Return the condition that campaign `c` has messages never tried, for anybody or for the accounts of `mine`."""
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
    fresh = _has_fresh("unnest(:stands_in_for)")
    return text(
        f"""
        SELECT c.id AS campaign_id, c.owner_id, c.kind, c.content, c.pacing, c.pending_count, ca.delayed_until,
          c.working_hours, c.timezone, c.frequency_cap, c.funnel_sent_count > 0 AS begun,
          {fresh if line is Line.FIRST else "false"} AS fresh, w.next_attempt_at, w.attempts, w.phone
        FROM campaign_accounts ca JOIN campaigns c ON c.id = ca.campaign_id
        LEFT JOIN LATERAL (
          SELECT m.next_attempt_at, m.attempts, m.phone FROM messages m
          WHERE m.campaign_id = c.id AND m.status = 'pending' AND {_OF_LINE[line]} AND {_MINE}
          ORDER BY m.next_attempt_at LIMIT 1
        ) w ON true
        WHERE ca.account_id = :account_id AND c.status = 'running' AND c.pending_count > 0
        ORDER BY c.kind = 'test' DESC, ca.served_at NULLS FIRST, c.id
        """  # noqa: S608 - the inserted texts are our own
    ).bindparams(bindparam("stands_in_for", type_=ARRAY(BigInteger)))


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
                WHERE m.campaign_id = c.id AND m.status = 'pending' AND {_OF_LINE[line]}
                  AND (m.planned_account_id IS NULL OR m.planned_account_id IN {mine})
                ORDER BY m.next_attempt_at LIMIT 1
              ) IS NOT NULL {fresh}
            )
            """  # noqa: S608 - the inserted texts are our own
        )
    )
    return list(rows)


def pacing_of(account: Account, company: Company, campaign_pacing: Mapping[str, Any], config: Config) -> pacing.Pacing:
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


# Due retries go before messages that were never tried, and those that are planned for this account before those that
# anybody may take; all by index, so that this costs the same in a campaign of a million rows. SKIP LOCKED: another
# account of the same campaign is choosing at the same time.
def _next_of(line: Line) -> TextClause:
    fresh = """
        UNION ALL
        SELECT planned.* FROM unnest(:stands_in_for) AS a(id) CROSS JOIN LATERAL (
          SELECT m.* FROM messages m
          WHERE m.campaign_id = w.campaign_id AND m.status = 'pending' AND m.next_attempt_at IS NULL
            AND m.planned_account_id = a.id
          ORDER BY m.position LIMIT w.room FOR UPDATE SKIP LOCKED
        ) AS planned
        UNION ALL
        SELECT * FROM (
          SELECT m.* FROM messages m
          WHERE m.campaign_id = w.campaign_id AND m.status = 'pending' AND m.next_attempt_at IS NULL
            AND m.planned_account_id IS NULL
          ORDER BY m.planned_account_id, m.position LIMIT w.room FOR UPDATE SKIP LOCKED
        ) AS anybodys
    """
    return text(
        f"""
        WITH wanted AS (
          SELECT * FROM unnest(:campaign_ids, :counts) AS w(campaign_id, room)
        ), picked AS (
          SELECT p.* FROM wanted w CROSS JOIN LATERAL (
            SELECT * FROM (
              SELECT m.* FROM messages m
              WHERE m.campaign_id = w.campaign_id AND m.status = 'pending' AND {_OF_LINE[line]}
                AND m.next_attempt_at <= :now AND {_MINE}
              ORDER BY m.next_attempt_at LIMIT w.room FOR UPDATE SKIP LOCKED
            ) AS retries
            {fresh if line is Line.FIRST else ""}
            LIMIT w.room
          ) p
        )
        SELECT p.id, p.campaign_id, p.contact_id, p.phone, p.phone_key, p.attempts, p.variables,
          c.name AS contact_name, c.variables AS contact_variables,
          (SELECT o.kind FROM opt_outs o WHERE o.company_id = :company_id AND o.phone_key = p.phone_key) AS barred,
          (
            SELECT x.accepted_at FROM messages x WHERE x.contact_id = p.contact_id AND x.accepted_at > :lately LIMIT 1
          ) IS NOT NULL AS met_lately
        FROM picked p LEFT JOIN LATERAL (
          SELECT c.name, c.variables FROM contacts c WHERE c.id = p.contact_id LIMIT 1
        ) AS c ON true
        ORDER BY p.next_attempt_at NULLS LAST, p.position
        """  # noqa: S608 - the inserted texts are our own
    ).bindparams(
        bindparam("campaign_ids", type_=ARRAY(BigInteger)),
        bindparam("counts", type_=ARRAY(Integer)),
        bindparam("stands_in_for", type_=ARRAY(BigInteger)),
        bindparam("now", type_=DateTime(timezone=True)),
        bindparam("lately", type_=DateTime(timezone=True)),
    )


_NEXT = {line: _next_of(line) for line in Line}


def next_rows(session: Session, *, plan: Plan, counts: Mapping[int, int], now: datetime) -> dict[int, list[Waiting]]:
    """Return the rows that are next, by campaign id: at most as many of each campaign as `counts` says.

    Side effects: locks the rows until the transaction ends. Claim those that are to be sent, and commit.
    """
    rows = session.execute(
        _NEXT[plan.line],
        {
            "campaign_ids": list(counts),
            "counts": list(counts.values()),
            "stands_in_for": plan.stands_in_for,
            "now": now,
            "lately": now - limits.PAIR_FULL_AFTER,
            "company_id": plan.company.id,
        },
    )
    found: dict[int, list[Waiting]] = {}
    for row in rows:
        found.setdefault(row.campaign_id, []).append(_waiting(row))
    return found


def _waiting(row: Row[Any]) -> Waiting:
    variables = {**(row.contact_variables or {}), **(row.variables or {})}
    variables["phone"] = row.phone
    if row.contact_name and not (row.variables or {}).get("name"):
        variables["name"] = row.contact_name
    return Waiting(
        message_id=row.id,
        campaign_id=row.campaign_id,
        contact_id=row.contact_id,
        phone=row.phone,
        phone_key=row.phone_key,
        attempts=row.attempts,
        variables=variables,
        barred=row.barred,
        met_lately=row.met_lately,
    )


_RECEIVED = text(
    """
    SELECT w.place FROM unnest(:contact_ids, :sinces, :counts) WITH ORDINALITY AS w(contact_id, since, cap, place)
    WHERE w.cap <= (
      SELECT count(*) FROM messages m WHERE m.contact_id = w.contact_id AND m.claimed_at > w.since
        AND m.status NOT IN ('pending', 'failed', 'skipped')
    )
    """
).bindparams(
    bindparam("contact_ids", type_=ARRAY(BigInteger)),
    bindparam("sinces", type_=ARRAY(DateTime(timezone=True))),
    bindparam("counts", type_=ARRAY(Integer)),
)


def at_cap(session: Session, caps: Collection[tuple[int, Rate]], *, now: datetime) -> set[tuple[int, Rate]]:
    """Return those of (contact id, cap) whose contact has had as many messages, of all campaigns, as the cap allows.

    Side effects: locks the contacts until the transaction ends, so that two accounts that are about to write to the
    same person count each other's message.
    """
    if not caps:
        return set()
    wanted = sorted(caps, key=lambda each: each[0])
    session.execute(
        text("SELECT id FROM contacts WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE").bindparams(
            bindparam("ids", type_=ARRAY(BigInteger))
        ),
        {"ids": [contact_id for contact_id, _ in wanted]},
    )
    places = session.scalars(
        _RECEIVED,
        {
            "contact_ids": [contact_id for contact_id, _ in wanted],
            "sinces": [now - timedelta(microseconds=cap.period_us) for _, cap in wanted],
            "counts": [cap.count for _, cap in wanted],
        },
    )
    return {wanted[place - 1] for place in places}


_CLAIM = text(
    """
    WITH served AS (
      UPDATE campaign_accounts ca SET served_at = :now + s.place * interval '1 microsecond'
      FROM unnest(:campaign_ids, :places) AS s(campaign_id, place)
      WHERE ca.account_id = :account_id AND ca.campaign_id = s.campaign_id
    )
    UPDATE messages SET
      status = 'sending', claim_token = :token, claimed_at = :now, account_id = :account_id, attempts = attempts + 1
    WHERE id = ANY(:ids) AND status = 'pending'
    """
).bindparams(
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("campaign_ids", type_=ARRAY(BigInteger)),
    bindparam("places", type_=ARRAY(Integer)),
    bindparam("token", type_=Uuid),
    bindparam("now", type_=DateTime(timezone=True)),
)


def claim(session: Session, *, account: Account, token: uuid.UUID, rows: Sequence[Waiting], now: datetime) -> None:
    """Claim locked rows for the turn `token`: they move from `pending` to `sending`, and an attempt is counted.

    Side effects: the campaigns of the rows count as served now, in the order of their last rows.
    """
    if rows:
        served = fairness.last_served(rows)
        session.execute(
            _CLAIM,
            {
                "ids": [row.message_id for row in rows],
                "campaign_ids": list(served),
                "places": list(served.values()),
                "token": token,
                "now": now,
                "account_id": account.id,
            },
        )


def skip(session: Session, rows: Sequence[Waiting], *, reason: str) -> None:
    """Leave locked rows out for good, with the reason."""
    if rows:
        session.execute(
            text(
                "UPDATE messages SET status = 'skipped', status_reason = :reason, next_attempt_at = NULL"
                " WHERE id = ANY(:ids) AND status = 'pending'"
            ).bindparams(bindparam("ids", type_=ARRAY(Uuid))),
            {"ids": [row.message_id for row in rows], "reason": reason},
        )


def postpone(session: Session, rows: Sequence[tuple[Waiting, datetime]]) -> None:
    """Let locked rows wait until a time of their own, while others go."""
    if rows:
        session.execute(
            text(
                "UPDATE messages m SET next_attempt_at = p.until FROM unnest(:ids, :untils) AS p(id, until)"
                " WHERE m.id = p.id AND m.status = 'pending'"
            ).bindparams(
                bindparam("ids", type_=ARRAY(Uuid)), bindparam("untils", type_=ARRAY(DateTime(timezone=True)))
            ),
            {"ids": [row.message_id for row, _ in rows], "untils": [until for _, until in rows]},
        )
