"""What a company should know: written with the change itself, in the same transaction."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, true, update
from sqlalchemy.orm import Session

from campaign_engine.db import affected
from campaign_engine.errors import NotFound
from campaign_engine.models import Notification

MOST_COUNTED = 100
"""Unread notifications are counted up to here: every page shows the count."""


def notify(
    session: Session,
    *,
    company_id: int,
    kind: str,
    severity: str,
    text: str,
    subject: tuple[str, object] | None = None,
) -> Notification:
    """Write a notification for the people of a company; `text` is a sentence.

    `kind` is a stable name for programs, such as `account_deactivated`; `severity` is `info`, `warning` or `error`.
    `subject` is what it is about: (`account`, its id), (`campaign`, its id), ...
    """
    written = Notification(
        company_id=company_id,
        kind=kind,
        severity=severity,
        text=text,
        subject_kind=subject[0] if subject else None,
        subject_id=str(subject[1]) if subject else None,
    )
    session.add(written)
    session.flush()
    return written


def of_company(
    session: Session, company_id: int, *, unread: bool | None = None, before_id: int | None = None, limit: int = 50
) -> Sequence[Notification]:
    """Return the company's notifications, newest first, from before `before_id`; all, the unread or the read ones."""
    query = select(Notification).where(Notification.company_id == company_id)
    if unread is not None:
        query = query.where(Notification.read_at.is_(None) if unread else Notification.read_at.is_not(None))
    if before_id is not None:
        query = query.where(Notification.id < before_id)
    return session.scalars(query.order_by(Notification.id.desc()).limit(limit)).all()


def get(session: Session, company_id: int, notification_id: int) -> Notification:
    """Return a notification of the company.

    Raises:
        NotFound: there is none.
    """
    found = session.get(Notification, notification_id)
    if found is None or found.company_id != company_id:
        raise NotFound("notification", notification_id)
    return found


def mark_read(notification: Notification, *, now: datetime) -> None:
    """Note that somebody of the company has read it; the first time counts."""
    notification.read_at = notification.read_at or now


def mark_all_read(session: Session, company_id: int, *, up_to_id: int | None = None, now: datetime) -> int:
    """Mark all of the company's notifications as read, or those up to the newest that was seen; return how many."""
    result = session.execute(
        update(Notification)
        .where(
            Notification.company_id == company_id,
            Notification.read_at.is_(None),
            true() if up_to_id is None else Notification.id <= up_to_id,
        )
        .values(read_at=now),
        execution_options={"synchronize_session": False},
    )
    return affected(result)


def unread_count(session: Session, company_id: int, *, most: int = MOST_COUNTED) -> int:
    """Return how many notifications nobody has marked as read, counted up to `most`."""
    unread = select(Notification.id).where(Notification.company_id == company_id, Notification.read_at.is_(None))
    return session.scalar(select(func.count()).select_from(unread.limit(most).subquery())) or 0
