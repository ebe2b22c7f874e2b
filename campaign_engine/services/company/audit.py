"""Who did what: written with the change itself, in the same transaction, and never changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from campaign_engine.models import AuditEntry, User

CAMPAIGN_ACTIONS: Mapping[str, str] = {
    "start": "campaign.started",
    "pause": "campaign.paused",
    "resume": "campaign.resumed",
    "cancel": "campaign.cancelled",
}
"""What the log calls the verbs of a campaign."""


def record(
    session: Session,
    *,
    company_id: int,
    action: str,
    subject: tuple[str, object],
    actor_id: int | None = None,
    actor: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write that somebody did `action` to `subject` (kind, id).

    Args:
        session: the transaction of the change that is spoken of.
        company_id: in whose name it was done.
        action: a stable name for programs, such as `account.deleted`.
        subject: what it was done to: (`account`, its id), (`campaign`, its id), ...
        actor_id: the user who did it.
        actor: who did it when it was no user, such as `command line`; both None: the engine itself.
        details: ids, names of fields and reasons; no message bodies, no secrets.
    """
    kind, identity = subject
    user = session.get(User, actor_id) if actor_id is not None else None
    session.add(
        AuditEntry(
            company_id=company_id,
            actor_id=actor_id,
            actor=user.email if user is not None else actor,
            action=action,
            subject_kind=kind,
            subject_id=str(identity),
            details=dict(details or {}),
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
    query = select(AuditEntry).where(AuditEntry.company_id == company_id)
    if before_id is not None:
        query = query.where(AuditEntry.id < before_id)
    if subject is not None:
        kind, identity = subject
        query = query.where(AuditEntry.subject_kind == kind)
        if identity is not None:
            query = query.where(AuditEntry.subject_id == identity)
    if actor_id is not None:
        query = query.where(AuditEntry.actor_id == actor_id)
    if action is not None:
        query = query.where(AuditEntry.action == action)
    return session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)).all()
