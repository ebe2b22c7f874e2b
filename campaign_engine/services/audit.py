"""Who did what: written with the change itself, in the same transaction, and never changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from campaign_engine.models import AuditEntry


def record(
    session: Session,
    *,
    company_id: int,
    action: str,
    subject: tuple[str, object],
    actor_id: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write that somebody (`actor_id`; None: the engine itself) did `action` to `subject` (kind, id).

    `details` hold ids and reasons; no message bodies, no secrets.
    """
    kind, identity = subject
    session.add(
        AuditEntry(
            company_id=company_id,
            actor_id=actor_id,
            action=action,
            subject_kind=kind,
            subject_id=str(identity),
            details=dict(details or {}),
        )
    )
    session.flush()


def of_company(
    session: Session, company_id: int, *, before_id: int | None = None, limit: int = 50
) -> Sequence[AuditEntry]:
    """Return the company's entries, newest first, from before `before_id`."""
    query = select(AuditEntry).where(AuditEntry.company_id == company_id)
    if before_id is not None:
        query = query.where(AuditEntry.id < before_id)
    return session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)).all()
