"""A WhatsApp account: one number at one provider, with its own limits, pacing and health."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from campaign_engine.json_types import Json
from campaign_engine.models.base import Base, Identified, Timestamped
from campaign_engine.rules.warm_up import WarmUp


class AccountStatus(StrEnum):
    """Whether the engine sends from this account."""

    ACTIVE = "active"
    DEACTIVATED = "deactivated"  # by consecutive account-class failures, or by a person; `status_reason` says why
    DELETED = "deleted"  # kept for the history of its messages


class Account(Identified, Timestamped, Base):
    """A sender. Limits and pacing that are null fall back to the company's, then to the environment's.

    `paced_until` and `series_count` are the state of the pacing: the earliest time of the next message, and how many
    have left since the last long pause. They live here, not in Redis, because a number must not be hurried when Redis
    loses its data. `throttled_at` is when the provider last complained, `throttle_step` how often the rate was halved
    then.

    `daily_recipient_limit` is Meta's tier: unique recipients in any 24 hours over all numbers of one `portfolio`
    (null: the company has only one).

    `on_probation` is set by a reactivation: one message goes first, and the others follow when it was accepted.
    `unacknowledged_since` is when a message was accepted, if no webhook of the account has come since; it becomes a
    `warning` after a while. `health_claimed_at` is when a process began the health check that the others wait for.
    `business_account_id` is the WABA of the number, learnt from its webhooks. `provider_recipient_limit` is the limit
    that the provider last named: a `daily_recipient_limit` that differs was chosen by a person.
    `webhook_key` is the unguessable part of the address that the provider posts to, where it signs nothing.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("status IN ('active', 'deactivated', 'deleted')", name="status"),
        Index("uq_accounts_name", "company_id", "name", unique=True, postgresql_where=text("status <> 'deleted'")),
        Index("ix_accounts_phone_number_id", "phone_number_id"),
    )

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"), index=True)
    name: Mapped[str]
    provider: Mapped[str]
    base_url: Mapped[str | None]
    phone_number_id: Mapped[str | None]
    instance: Mapped[str | None]
    access_token_encrypted: Mapped[bytes]
    app_secret_encrypted: Mapped[bytes | None]
    verify_token_encrypted: Mapped[bytes | None]

    rate_limit: Mapped[str | None]
    burst: Mapped[int] = mapped_column(server_default="1")
    max_in_flight: Mapped[int] = mapped_column(server_default="16")
    message_interval_s: Mapped[float | None]
    longer_interval_after: Mapped[int | None]
    greater_interval_s: Mapped[float | None]

    status: Mapped[str] = mapped_column(server_default=AccountStatus.ACTIVE)
    status_reason: Mapped[str | None]
    consecutive_failures: Mapped[int] = mapped_column(server_default="0")
    paced_until: Mapped[datetime | None]
    series_count: Mapped[int] = mapped_column(server_default="0")
    throttle_step: Mapped[int] = mapped_column(server_default="0")
    throttled_at: Mapped[datetime | None]
    portfolio: Mapped[str | None]
    daily_recipient_limit: Mapped[int | None]
    provider_recipient_limit: Mapped[int | None]
    business_account_id: Mapped[str | None]
    warm_up: Mapped[WarmUp | None] = mapped_column(JSONB)
    on_probation: Mapped[bool] = mapped_column(server_default="false")
    unacknowledged_since: Mapped[datetime | None]
    warning: Mapped[str | None]
    warned_at: Mapped[datetime | None]
    webhook_key: Mapped[str | None] = mapped_column(unique=True)
    health: Mapped[Json | None]
    health_checked_at: Mapped[datetime | None]
    health_claimed_at: Mapped[datetime | None]
