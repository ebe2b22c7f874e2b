"""What recipients write back."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from campaign_engine.models.base import Base, Identified, Timestamped


class Reply(Identified, Timestamped, Base):
    """One inbound message, attributed to the message it answers where that can be known.

    `intent` is what it means for further messages: `certain` (opted out at once), `likely` (held until a person
    decides), `resume` (wants them again), `none`. `decision` is that person's: `opted_out` or `dismissed`; without
    `decided_by` a later message of the same person made it. `confirmation_claimed_at` is set before the opt-out is
    confirmed to the person, so that it is done once at most.
    """

    __tablename__ = "replies"
    __table_args__ = (
        CheckConstraint("intent IN ('certain', 'likely', 'resume', 'none')", name="intent"),
        CheckConstraint("decision IN ('opted_out', 'dismissed')", name="decision"),
        Index("uq_replies_provider_message_id", "account_id", "provider_message_id", unique=True),
        Index("ix_replies_company", "company_id", "id"),
        Index("ix_replies_campaign", "campaign_id", "id"),
        Index(
            "ix_replies_undecided",
            "company_id",
            "id",
            postgresql_where=text("intent = 'likely' AND decision IS NULL"),
        ),
    )

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"))
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id", ondelete="SET NULL"))
    message_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    contact_id: Mapped[int | None] = mapped_column(ForeignKey("contacts.id", ondelete="SET NULL"), index=True)
    provider_message_id: Mapped[str]
    phone_key: Mapped[str]
    kind: Mapped[str]
    text: Mapped[str | None]
    payload: Mapped[str | None]
    intent: Mapped[str] = mapped_column(server_default="none")
    received_at: Mapped[datetime]
    decision: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    confirmation_claimed_at: Mapped[datetime | None]
