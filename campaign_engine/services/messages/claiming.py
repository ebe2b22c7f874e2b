"""Send next: which rows an account sends next for the campaigns of its plan, and claiming them.

A turn of a lane locks the rows that are next, charges every limit for them and claims those that may go, all in one
transaction. It makes the calls after that, with no transaction open. `settling` writes what became of them.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, TextClause, text
from sqlalchemy.orm import Session

from campaign_engine.models import Account
from campaign_engine.rules import fairness
from campaign_engine.services.company import limits
from campaign_engine.services.messages.planning import MINE, OF_LINE, Line, Plan


@dataclass(frozen=True, slots=True)
class LockedRow:
    """A row that may be sent next: locked until the transaction ends, and claimed with `claim`.

    `attempts` counts the earlier attempts; a row that has had any is a retry.
    """

    message_id: uuid.UUID
    campaign_id: int
    contact_id: int | None
    phone: str
    phone_key: str
    attempts: int
    variables: Mapping[str, str]
    barred: str | None  # why this person is not written to: opted_out, blocked, held
    met_lately: bool  # got a message within the time in which the limit of the pair may bind

    @property
    def is_retry(self) -> bool:
        """Whether it has been tried before."""
        return self.attempts > 0


# Due retries go first, then untried messages planned for this account, then untried messages that any account may take.
# All are found by index, so that this costs the same in a campaign of a million rows. SKIP LOCKED: another account of
# the same campaign may choose at the same time. `wanted`: how many rows of each campaign; `picked`: the locked rows.
def _next_of(line: Line) -> TextClause:
    fresh = """
        UNION ALL
        SELECT planned.* FROM unnest(CAST(:stands_in_for AS bigint[])) AS a(id) CROSS JOIN LATERAL (
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
          SELECT * FROM unnest(CAST(:campaign_ids AS bigint[]), CAST(:counts AS integer[])) AS w(campaign_id, room)
        ), picked AS (
          SELECT p.* FROM wanted w CROSS JOIN LATERAL (
            SELECT * FROM (
              SELECT m.* FROM messages m
              WHERE m.campaign_id = w.campaign_id AND m.status = 'pending' AND {OF_LINE[line]}
                AND m.next_attempt_at <= CAST(:now AS timestamptz) AND {MINE}
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
            SELECT x.accepted_at FROM messages x WHERE x.contact_id = p.contact_id
              AND x.accepted_at > CAST(:lately AS timestamptz) LIMIT 1
          ) IS NOT NULL AS met_lately
        FROM picked p LEFT JOIN LATERAL (
          SELECT c.name, c.variables FROM contacts c WHERE c.id = p.contact_id LIMIT 1
        ) AS c ON true
        ORDER BY p.next_attempt_at NULLS LAST, p.position
        """  # noqa: S608 - the inserted texts are our own
    )


_NEXT = {line: _next_of(line) for line in Line}


def next_rows(session: Session, *, plan: Plan, counts: Mapping[int, int], now: datetime) -> dict[int, list[LockedRow]]:
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
    found: dict[int, list[LockedRow]] = {}
    for row in rows:
        found.setdefault(row.campaign_id, []).append(_waiting(row))
    return found


def _waiting(row: Row[Any]) -> LockedRow:
    variables = {**(row.contact_variables or {}), **(row.variables or {})}
    variables["phone"] = row.phone
    if row.contact_name and not (row.variables or {}).get("name"):
        variables["name"] = row.contact_name
    return LockedRow(
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


# `served`: the campaigns count as served now, in the order of their places.
_CLAIM = text(
    """
    WITH served AS (
      UPDATE campaign_accounts ca SET served_at = CAST(:now AS timestamptz) + s.place * interval '1 microsecond'
      FROM unnest(CAST(:campaign_ids AS bigint[]), CAST(:places AS integer[])) AS s(campaign_id, place)
      WHERE ca.account_id = :account_id AND ca.campaign_id = s.campaign_id
    )
    UPDATE messages SET
      status = 'sending', claim_token = CAST(:token AS uuid), claimed_at = CAST(:now AS timestamptz),
      account_id = :account_id, attempts = attempts + 1
    WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'pending'
    """
)


def claim(session: Session, *, account: Account, token: uuid.UUID, rows: Sequence[LockedRow], now: datetime) -> None:
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


def skip(session: Session, rows: Sequence[LockedRow], *, reason: str) -> None:
    """Leave locked rows out for good, with the reason."""
    if rows:
        session.execute(
            text(
                "UPDATE messages SET status = 'skipped', status_reason = :reason, next_attempt_at = NULL"
                " WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'pending'"
            ),
            {"ids": [row.message_id for row in rows], "reason": reason},
        )


def postpone(session: Session, rows: Sequence[tuple[LockedRow, datetime]]) -> None:
    """Let each locked row wait until its given time, while others go."""
    if rows:
        session.execute(
            text(
                "UPDATE messages m SET next_attempt_at = p.until"
                " FROM unnest(CAST(:ids AS uuid[]), CAST(:untils AS timestamptz[])) AS p(id, until)"
                " WHERE m.id = p.id AND m.status = 'pending'"
            ),
            {"ids": [row.message_id for row, _ in rows], "untils": [until for _, until in rows]},
        )
