"""Read-only questions of the pages to the ledger of messages and to the history of imports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaign_engine.models import ContactImport, ContactList
from campaign_engine.rules.states import MessageStatus
from web.pages import words
from web.schemas.fields import MAX_ID

TRIED = (
    MessageStatus.SENDING,
    MessageStatus.SENT,
    MessageStatus.DELIVERED,
    MessageStatus.READ,
    MessageStatus.FAILED,
    MessageStatus.UNKNOWN,
)


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A row of the ledger as a page shows it; `since` is when it came into its state."""

    position: int
    phone: str
    name: str | None
    account: str | None
    status: str
    since: datetime | None
    attempts: int
    reason: str


# One walk along ix_messages_listing for each state, each as long as a page: as quick in a campaign of a million as in
# one of ten. Messages leave in the order of their positions, so the last positions are the latest.
_MESSAGES = """
    SELECT m.*, a.name AS account_name, coalesce(m.variables ->> 'name', c.name) AS contact_name
    FROM unnest(CAST(:statuses AS text[])) AS wanted(status) CROSS JOIN LATERAL (
      SELECT * FROM messages
      WHERE campaign_id = :campaign_id AND status = wanted.status AND {from_start}
      ORDER BY position {direction} LIMIT :count
    ) m
    LEFT JOIN accounts a ON a.id = m.account_id
    LEFT JOIN contacts c ON c.id = m.contact_id
    ORDER BY m.position {direction} LIMIT :count
"""
_LATEST_FIRST = text(_MESSAGES.format(from_start="position < :start", direction="DESC"))
_NEXT_FIRST = text(_MESSAGES.format(from_start="position > :start", direction="ASC"))


def cursor(given: str | None) -> int | None:
    """Return the id or position that a page begins after; None for the first page and for nonsense."""
    if given is None or not (given.isascii() and given.isdigit()) or len(given) > 19:
        return None
    return min(int(given), MAX_ID)


def messages(
    session: Session, campaign_id: int, *, status: str | None, start: int | None, limit: int
) -> list[ShownMessage]:
    """Return messages of a campaign in a state, or for None all that were tried, latest first.

    Pending and skipped messages come in the order in which they (would) leave.
    """
    in_order = status in (MessageStatus.PENDING, MessageStatus.SKIPPED)
    first = -1 if in_order else MAX_ID
    statement = _NEXT_FIRST if in_order else _LATEST_FIRST
    rows = session.execute(
        statement,
        {
            "campaign_id": campaign_id,
            "statuses": [status] if status is not None else list(TRIED),
            "start": first if start is None else start,
            "count": limit,
        },
    ).mappings()
    return [_shown(row) for row in rows]


def imports(
    session: Session, company_id: int, *, before: int | None, limit: int
) -> tuple[Sequence[ContactImport], dict[int, str]]:
    """Return the company's imports, newest first, and the names of the lists they filled."""
    query = select(ContactImport).where(ContactImport.company_id == company_id)
    if before is not None:
        query = query.where(ContactImport.id < before)
    found = session.scalars(query.order_by(ContactImport.id.desc()).limit(limit)).all()
    return found, list_names(session, found)


def list_names(session: Session, found: Sequence[ContactImport]) -> dict[int, str]:
    """Return the names of the lists that imports filled, by id."""
    wanted = {record.list_id for record in found if record.list_id is not None}
    rows = session.execute(select(ContactList.id, ContactList.name).where(ContactList.id.in_(wanted)))
    return {row.id: row.name for row in rows}


def _shown(row: Mapping[Any, Any]) -> ShownMessage:
    return ShownMessage(
        position=row["position"],
        phone=row["phone"],
        name=row["contact_name"],
        account=row["account_name"],
        status=row["status"],
        since=_since(row),
        attempts=row["attempts"],
        reason=_reason(row),
    )


def _since(row: Mapping[Any, Any]) -> datetime | None:
    moment: datetime | None = {
        MessageStatus.SENDING: row["claimed_at"],
        MessageStatus.UNKNOWN: row["claimed_at"],
        MessageStatus.SENT: row["sent_at"] or row["accepted_at"],
        MessageStatus.DELIVERED: row["delivered_at"],
        MessageStatus.READ: row["read_at"],
        MessageStatus.FAILED: row["failed_at"],
    }.get(row["status"])
    return moment


def _reason(row: Mapping[Any, Any]) -> str:
    error = ": ".join(part for part in (row["error_code"], row["error_detail"]) if part)
    if row["status"] == MessageStatus.FAILED:
        return error or words.reason(row["status_reason"])
    if row["status"] == MessageStatus.PENDING:
        return f"tried again later ({error})" if row["next_attempt_at"] is not None and error else ""
    return words.reason(row["status_reason"])
