"""A provider's webhook, as received."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from campaign_engine.models.base import Base, Identified


class WebhookEvent(Identified, Base):
    """The raw body of one POST, stored before anything is read out of it.

    `account_ids` are the accounts whose secret signed it: it may speak of their messages and of no others. It may speak
    of a send that is not answered yet: then it waits until `apply_after` (see `services.webhooks.early_statuses`).
    """

    __tablename__ = "webhook_events"
    __table_args__ = (Index("ix_webhook_events_waiting", "id", postgresql_where=text("applied_at IS NULL")),)

    provider: Mapped[str]
    account_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    received_at: Mapped[datetime]
    apply_after: Mapped[datetime | None]
    applied_at: Mapped[datetime | None]
    failure: Mapped[str | None]
