"""What people do, kept: one line in the view that does it, written in the transaction of the deed."""

from typing import Any

from sqlalchemy.orm import Session

from campaign_engine.services.company import audit
from web.auth import current_user


def audited(session: Session, action: str, subject: tuple[str, object], **details: Any) -> None:
    """Write to the audit log that the present user did `action` to `subject` (kind, id).

    `details` are ids, names of fields and reasons; what a field held is not among them: it may be a secret.
    """
    user = current_user()
    audit.record(
        session,
        company_id=user.company_id,
        actor_id=user.id,
        actor=user.email,
        action=action,
        subject=subject,
        details=details,
    )
