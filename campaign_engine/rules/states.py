"""The states of a campaign and of a message, and the one table of which state may follow which."""

from enum import StrEnum


class CampaignStatus(StrEnum):
    """Where a campaign is in its life."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"  # starts by itself at `scheduled_at`
    PREPARING = "preparing"  # its audience is being frozen into message rows
    RUNNING = "running"
    PAUSED = "paused"  # by a person or by a failure; `status_reason` says which
    COMPLETED = "completed"  # no row is pending or sending
    CANCELLED = "cancelled"
    FAILED = "failed"  # could not be prepared


class MessageStatus(StrEnum):
    """What is known about one message."""

    PENDING = "pending"  # not sent; waits for its turn, its retry or its limit
    SENDING = "sending"  # claimed by a turn; the call may be under way
    SENT = "sent"  # the provider accepted it
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"  # certainly not delivered
    UNKNOWN = "unknown"  # the call's outcome was lost; a webhook or a person settles it, never a blind resend
    SKIPPED = "skipped"  # left out on purpose; `status_reason` says why


CAMPAIGN_IS_OVER = frozenset({CampaignStatus.COMPLETED, CampaignStatus.CANCELLED, CampaignStatus.FAILED})

CAMPAIGN_TRANSITIONS: dict[str, tuple[frozenset[CampaignStatus], CampaignStatus]] = {
    # verb: (states it starts from, state it leads to)
    "schedule": (frozenset({CampaignStatus.DRAFT, CampaignStatus.SCHEDULED}), CampaignStatus.SCHEDULED),
    "start": (frozenset({CampaignStatus.DRAFT, CampaignStatus.SCHEDULED}), CampaignStatus.PREPARING),
    "miss": (frozenset({CampaignStatus.SCHEDULED}), CampaignStatus.DRAFT),  # found too late to start by itself
    "run": (frozenset({CampaignStatus.PREPARING}), CampaignStatus.RUNNING),
    "fail": (frozenset({CampaignStatus.PREPARING}), CampaignStatus.FAILED),
    "pause": (frozenset({CampaignStatus.RUNNING}), CampaignStatus.PAUSED),
    "resume": (frozenset({CampaignStatus.PAUSED}), CampaignStatus.RUNNING),
    "complete": (frozenset({CampaignStatus.RUNNING}), CampaignStatus.COMPLETED),
    "reopen": (frozenset({CampaignStatus.COMPLETED}), CampaignStatus.RUNNING),
    "cancel": (frozenset(CampaignStatus) - CAMPAIGN_IS_OVER, CampaignStatus.CANCELLED),
}

# A person may have single messages sent again. A completed campaign then runs again until they are out.
CAMPAIGN_MAY_SEND_AGAIN = frozenset(
    {CampaignStatus.PREPARING, CampaignStatus.RUNNING, CampaignStatus.PAUSED, CampaignStatus.COMPLETED}
)

# What a provider's status means for a row, and over which states it may win. A status only moves forward
# (accepted < sent < delivered < read); `failed` is final but loses against a later `delivered` or `read` of the same
# message (docs/wire.md, Webhook delivery). After a fault on the provider's side a row waits for a retry although its
# message may have left: any proof that it has wins over `pending` too.
NOT_YET_SENT = frozenset({MessageStatus.PENDING, MessageStatus.SENDING, MessageStatus.UNKNOWN})
STATUS_MAY_REPLACE: dict[MessageStatus, frozenset[MessageStatus]] = {
    MessageStatus.READ: frozenset({*NOT_YET_SENT, MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.FAILED}),
    MessageStatus.DELIVERED: frozenset({*NOT_YET_SENT, MessageStatus.SENT, MessageStatus.FAILED}),
    MessageStatus.FAILED: frozenset({*NOT_YET_SENT, MessageStatus.SENT}),
    MessageStatus.SENT: NOT_YET_SENT,
}
