"""What a company should know: written with the change it speaks of, in the same transaction."""

from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaign_engine.models import Notification


def notify(
    session: Session,
    *,
    company_id: int,
    kind: str,
    severity: str,
    text: str,
    subject: tuple[str, object] | None = None,
) -> Notification:
    """Write a notification for the people of a company.

    Args:
        session: the transaction of the change that is spoken of.
        company_id: whose people are to know.
        kind: a stable name for programs, such as `account_deactivated`.
        severity: `info`, `warning` or `error`.
        text: a sentence for people.
        subject: what it is about: (`account`, its id), (`campaign`, its id), ...
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
    session: Session, company_id: int, *, before_id: int | None = None, limit: int = 50
) -> Sequence[Notification]:
    """Return the company's notifications, newest first, from before `before_id`."""
    query = select(Notification).where(Notification.company_id == company_id)
    if before_id is not None:
        query = query.where(Notification.id < before_id)
    return session.scalars(query.order_by(Notification.id.desc()).limit(limit)).all()


def unread_count(session: Session, company_id: int) -> int:
    """Return how many notifications nobody has marked as read."""
    found = session.scalar(
        text("SELECT count(*) FROM notifications WHERE company_id = :id AND read_at IS NULL"), {"id": company_id}
    )
    return int(found or 0)
