"""Who did what: written with the change itself, in the same transaction, and never changed."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from campaign_engine.db import actor_of
from campaign_engine.models import AuditEntry


def record(session: Session, action: str, *, company_id: int, subject: object, **details: Any) -> None:
    """Write that the actor of the transaction, or without one the engine, did `action` to the thing with id `subject`.

    `action` is a stable name for programs, such as `account.deleted`; the part before the dot is the subject's kind.
    `details` are ids, names of fields and reasons; no message bodies, no secrets, so no values of fields.
    """
    actor = actor_of(session)
    session.add(
        AuditEntry(
            company_id=company_id,
            actor_id=actor.user_id if actor else None,
            actor=actor.name if actor else None,
            action=action,
            subject_kind=action.partition(".")[0],
            subject_id=str(subject),
            details=details,
        )
    )
    session.flush()


def of_company(
    session: Session,
    company_id: int,
    *,
    subject: tuple[str, str | None] | None = None,
    actor_id: int | None = None,
    action: str | None = None,
    before_id: int | None = None,
    limit: int = 50,
) -> Sequence[AuditEntry]:
    """Return the company's entries, newest first, from before `before_id`.

    `subject` is (kind, id), or (kind, None) for all of a kind.
    """
    kind, identity = subject or (None, None)
    wanted = {"subject_kind": kind, "subject_id": identity, "actor_id": actor_id, "action": action}
    query = select(AuditEntry).filter_by(company_id=company_id)
    query = query.filter_by(**{name: value for name, value in wanted.items() if value is not None})
    if before_id is not None:
        query = query.where(AuditEntry.id < before_id)
    return session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)).all()
