"""What a company should know, and what was done in its name."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from campaign_engine.json_types import Json
from campaign_engine.models.base import Base, Identified, Timestamped


class Notification(Identified, Timestamped, Base):
    """Something a company should know; `kind` is stable (`account_deactivated`), `text` is a sentence."""

    __tablename__ = "notifications"
    __table_args__ = (
        CheckConstraint("severity IN ('info', 'warning', 'error')", name="severity"),
        Index("ix_notifications_company", "company_id", "id"),
        Index("ix_notifications_unread", "company_id", "id", postgresql_where=text("read_at IS NULL")),
        Index("ix_notifications_subject", "company_id", "kind", "subject_id"),
    )

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"))
    kind: Mapped[str]
    severity: Mapped[str]
    text: Mapped[str]
    subject_kind: Mapped[str | None]
    subject_id: Mapped[str | None]
    read_at: Mapped[datetime | None]


class AuditEntry(Identified, Timestamped, Base):
    """Who did what to what. `actor` is the person's name at that time, or `command line`; null: the engine itself.

    When the person is deleted, `actor_id` becomes null and `actor` stays.
    """

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_company", "company_id", "id"),)

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"))
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    actor: Mapped[str | None]
    action: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[str]
    details: Mapped[Json] = mapped_column(server_default="{}")
