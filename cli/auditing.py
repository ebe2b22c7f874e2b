"""What is done at the terminal, kept beside what people do on the pages."""

from typing import Any

from sqlalchemy.orm import Session

from campaign_engine.services.company import audit

ACTOR = "command line"


def audited(session: Session, company_id: int, action: str, subject: tuple[str, object], **details: Any) -> None:
    """Write to the audit log that the command line did `action` to `subject` (kind, id): it knows no user."""
    audit.record(session, company_id=company_id, actor=ACTOR, action=action, subject=subject, details=details)
