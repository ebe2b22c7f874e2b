"""What recipients write back."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from campaign_engine.models.base import Base, Identified, Timestamped


class Reply(Identified, Timestamped, Base):
    """One inbound message, attributed to the message it answers where that can be known.

    `phone_key` is the person's identity, `sender` the number as the provider spelled it, in E.164; null where it
    spelled none or an alias of another identity.
    `intent` is what it means for further messages: `certain` (opted out at once), `likely` (held until somebody of the
    company decides), `resume` (wants them again), `none`. `decision` is `opted_out` or `dismissed`. Where `decided_by`
    is null nobody decided: what the writer did before or later made it clear.
    The opt-out may be confirmed to the person until `confirm_until`; null: no confirmation is owed (any more).
    """

    __tablename__ = "replies"
    __table_args__ = (
        CheckConstraint("intent IN ('certain', 'likely', 'resume', 'none')", name="intent"),
        CheckConstraint("decision IN ('opted_out', 'dismissed')", name="decision"),
        Index("uq_replies_provider_message_id", "account_id", "provider_message_id", unique=True),
        Index("ix_replies_company", "company_id", "id"),
        Index("ix_replies_campaign", "campaign_id", "id"),
        Index("ix_replies_person", "company_id", "phone_key", "id"),
        Index(
            "ix_replies_undecided", "company_id", "id", postgresql_where=text("intent = 'likely' AND decision IS NULL")
        ),
        Index(
            "ix_replies_unconfirmed", "confirm_until", "account_id", postgresql_where=text("confirm_until IS NOT NULL")
        ),
    )

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"))
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id", ondelete="SET NULL"))
    message_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    contact_id: Mapped[int | None] = mapped_column(ForeignKey("contacts.id", ondelete="SET NULL"), index=True)
    provider_message_id: Mapped[str]
    phone_key: Mapped[str]
    sender: Mapped[str | None]
    kind: Mapped[str]
    text: Mapped[str | None]
    payload: Mapped[str | None]
    intent: Mapped[str] = mapped_column(server_default="none")
    received_at: Mapped[datetime]
    decision: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    confirm_until: Mapped[datetime | None]
