"""A campaign: who gets what, from which accounts, when, at what pace; and how far it is."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from campaign_engine.json_types import Json
from campaign_engine.models.base import Base, Identified, Timestamped
from campaign_engine.rules.hours.working_hours import WorkingHoursValues
from campaign_engine.rules.recurrence import RecurrenceValues
from campaign_engine.rules.states import CampaignStatus


class Campaign(Identified, Timestamped, Base):
    """One campaign.

    The `*_count` columns count its messages by current state, the `funnel_*_count` columns cumulatively. Triggers of
    the first migration move them with the message rows, in the same transaction, whoever writes; nothing else may.
    `version` grows with every change of the row. `frozen_through` is the last contact of the audience: later ones came
    too late. `prepared_through` is the last contact whose message row is written; sending starts with the first rows,
    and `prepared_at` is set when all are there.

    `kind` is `campaign` or `test`: a test send is a campaign of one recipient with the content of another, its
    `parent_id`. A recurring campaign is a series: when one occurrence starts, the next is written as a scheduled
    campaign of its own; the `parent_id` of each is the first one. `status_code` is the machine's word for why it is
    paused or was not started, `status_reason` the sentence. `sticky` keeps contacts on the number that last wrote to
    them.
    `start_late_s` is how late a missed start may be made up for. Where it is null, the company's counts, then the
    environment's; the same holds for `frequency_cap` and the pacing.
    """

    __tablename__ = "campaigns"
    __table_args__ = (
        CheckConstraint("status IN ({})".format(", ".join(f"'{status}'" for status in CampaignStatus)), name="status"),
        CheckConstraint("kind IN ('campaign', 'test')", name="kind"),
        Index("ix_campaigns_company", "company_id", "id"),
        Index("ix_campaigns_live", "status", postgresql_where=text("status IN ('scheduled', 'preparing', 'running')")),
    )

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"))
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="campaign")
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id", ondelete="SET NULL"), index=True)
    status: Mapped[str] = mapped_column(server_default=CampaignStatus.DRAFT)
    status_code: Mapped[str | None]
    status_reason: Mapped[str | None]
    audience: Mapped[Json]
    content: Mapped[Json]
    pacing: Mapped[dict[str, float | None]] = mapped_column(JSONB, server_default="{}")
    working_hours: Mapped[WorkingHoursValues | None] = mapped_column(JSONB)
    timezone: Mapped[str]
    sticky: Mapped[bool] = mapped_column(server_default="false")
    frequency_cap: Mapped[str | None]
    scheduled_at: Mapped[datetime | None]
    recurrence: Mapped[RecurrenceValues | None] = mapped_column(JSONB)
    occurrence: Mapped[int] = mapped_column(server_default="1")
    start_late_s: Mapped[float | None]
    started_at: Mapped[datetime | None]
    prepared_at: Mapped[datetime | None]
    frozen_through: Mapped[int] = mapped_column(server_default="0")
    prepared_through: Mapped[int] = mapped_column(server_default="0")
    finished_at: Mapped[datetime | None]
    resumed_at: Mapped[datetime | None]

    version: Mapped[int] = mapped_column(server_default="1")
    total_count: Mapped[int] = mapped_column(server_default="0")
    pending_count: Mapped[int] = mapped_column(server_default="0")
    sending_count: Mapped[int] = mapped_column(server_default="0")
    sent_count: Mapped[int] = mapped_column(server_default="0")
    delivered_count: Mapped[int] = mapped_column(server_default="0")
    read_count: Mapped[int] = mapped_column(server_default="0")
    failed_count: Mapped[int] = mapped_column(server_default="0")
    unknown_count: Mapped[int] = mapped_column(server_default="0")
    skipped_count: Mapped[int] = mapped_column(server_default="0")
    funnel_sent_count: Mapped[int] = mapped_column(server_default="0")
    funnel_delivered_count: Mapped[int] = mapped_column(server_default="0")
    funnel_read_count: Mapped[int] = mapped_column(server_default="0")
    # Acceptances of the running minute and of the one before it (a sliding-window counter): enough to read the rate
    # of the last minute in constant time.
    rate_minute: Mapped[datetime | None]
    rate_count: Mapped[int] = mapped_column(server_default="0")
    rate_previous_count: Mapped[int] = mapped_column(server_default="0")


class CampaignAccount(Base):
    """A campaign's use of an account: whose turn it is next, the campaign's own delay on it, and its share.

    If any account of a campaign has a `weight`, its messages are dealt out beforehand in these proportions. If none
    has, each account takes what comes next.
    """

    __tablename__ = "campaign_accounts"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True, index=True)
    served_at: Mapped[datetime | None]
    delayed_until: Mapped[datetime | None]
    weight: Mapped[int | None]


class CampaignRecipient(Base):
    """A recipient given inline with the campaign, in the order given."""

    __tablename__ = "campaign_recipients"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    phone: Mapped[str]
    phone_key: Mapped[str]
    name: Mapped[str | None]
    variables: Mapped[dict[str, str]] = mapped_column(server_default="{}")
