"""What is stuck, read from the rows: for `campaign-engine doctor` and the readiness check."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Standing:
    """Counts that should be small or zero."""

    overdue_campaigns: int  # scheduled in the past and not started
    unprepared_campaigns: int  # started, and not all messages written
    stale_claims: int  # claimed long ago and not settled
    unknown_messages: int
    waiting_webhooks: int
    oldest_webhook_s: float
    deactivated_accounts: int
    busy_accounts: tuple[int, ...]  # active accounts of running campaigns with messages to send


def standing(session: Session, *, now: datetime) -> Standing:
    """Read what may be stuck."""
    row = session.execute(
        text(
            """
            SELECT
              (SELECT count(*) FROM campaigns WHERE status = 'scheduled' AND scheduled_at < :late) AS overdue,
              (SELECT count(*) FROM campaigns WHERE status IN ('preparing', 'running') AND prepared_at IS NULL
                AND started_at < :late) AS unprepared,
              (SELECT count(*) FROM messages WHERE status = 'sending' AND claimed_at < :late) AS stale,
              (SELECT coalesce(sum(unknown_count), 0) FROM campaigns) AS unknown,
              (SELECT count(*) FROM webhook_events WHERE applied_at IS NULL) AS webhooks,
              (SELECT min(received_at) FROM webhook_events WHERE applied_at IS NULL) AS oldest,
              (SELECT count(*) FROM accounts WHERE status = 'deactivated') AS deactivated
            """
        ),
        {"late": now - timedelta(minutes=1)},
    ).one()
    busy = session.scalars(
        text(
            "SELECT DISTINCT ca.account_id FROM campaign_accounts ca"
            " JOIN campaigns c ON c.id = ca.campaign_id AND c.status = 'running' AND c.pending_count > 0"
            " JOIN accounts a ON a.id = ca.account_id AND a.status = 'active' ORDER BY ca.account_id"
        )
    )
    return Standing(
        overdue_campaigns=row.overdue,
        unprepared_campaigns=row.unprepared,
        stale_claims=row.stale,
        unknown_messages=int(row.unknown),
        waiting_webhooks=row.webhooks,
        oldest_webhook_s=(now - row.oldest).total_seconds() if row.oldest else 0.0,
        deactivated_accounts=row.deactivated,
        busy_accounts=tuple(busy),
    )
