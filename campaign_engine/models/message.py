"""The ledger: one row a recipient, claimed before the call and settled after it."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from campaign_engine.models.base import Base
from campaign_engine.rules.retry import FIRST_LINE_ATTEMPTS
from campaign_engine.rules.states import MessageStatus


class Message(Base):
    """What became of one recipient of one campaign.

    `id` travels to the provider as `biz_opaque_callback_data` and comes back in every status webhook; it is a
    time-ordered UUID so that a webhook of another installation can never name one of our rows.
    `claim_token` names the turn that may settle the row. `next_attempt_at` is the earliest time of the next attempt,
    null for a message that was never tried.
    `provider_message_id` is the id of the try that brought the row into its state. While the row waits to be sent again
    or is being sent, it is the id of an earlier try that is known to have failed (see `services.webhooks.deliveries`).
    `planned_account_id` is the account that is to send it (sticky or weighted campaigns); null: any account may. It has
    no foreign key, because checking one would cost every row and accounts are never removed.
    `variables` holds only what the campaign gave inline; the contact's own are read at the moment of sending.
    """

    __tablename__ = "messages"
    __table_args__ = (
        CheckConstraint("status IN ({})".format(", ".join(f"'{status}'" for status in MessageStatus)), name="status"),
        Index("uq_messages_recipient", "campaign_id", "phone_key", unique=True),
        Index(
            "ix_messages_fresh",
            "campaign_id",
            "planned_account_id",
            "position",
            postgresql_where=text("status = 'pending' AND next_attempt_at IS NULL"),
        ),
        # The second line has what failed on every attempt of the first line (`rules.retry.FIRST_LINE_ATTEMPTS`).
        Index(
            "ix_messages_first_line",
            "campaign_id",
            "next_attempt_at",
            postgresql_where=text(
                f"status = 'pending' AND next_attempt_at IS NOT NULL AND attempts < {FIRST_LINE_ATTEMPTS}"
            ),
        ),
        Index(
            "ix_messages_second_line",
            "campaign_id",
            "next_attempt_at",
            postgresql_where=text(
                f"status = 'pending' AND next_attempt_at IS NOT NULL AND attempts >= {FIRST_LINE_ATTEMPTS}"
            ),
        ),
        Index("ix_messages_claimed", "claimed_at", postgresql_where=text("status = 'sending'")),
        Index(
            "ix_messages_provider_message_id",
            "provider_message_id",
            postgresql_where=text("provider_message_id IS NOT NULL"),
        ),
        Index("ix_messages_listing", "campaign_id", "status", "position"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, server_default=text("time_ordered_uuid()"))
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    position: Mapped[int]
    contact_id: Mapped[int | None] = mapped_column(ForeignKey("contacts.id", ondelete="SET NULL"), index=True)
    phone: Mapped[str]
    phone_key: Mapped[str]
    variables: Mapped[dict[str, str] | None]
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    planned_account_id: Mapped[int | None]

    status: Mapped[str] = mapped_column(server_default=MessageStatus.PENDING)
    status_reason: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_attempt_at: Mapped[datetime | None]
    claim_token: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    claimed_at: Mapped[datetime | None]
    provider_message_id: Mapped[str | None]
    error_code: Mapped[str | None]
    error_class: Mapped[str | None]
    error_detail: Mapped[str | None]
    accepted_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    read_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
