"""How long an account, or a campaign on it, waits after what it sent. Kept in PostgreSQL, not in Redis, because a
number must not be hurried when Redis loses its data.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.db import affected
from campaign_engine.models import Account
from campaign_engine.rules.cool_down import Throttle


def take_pace(session: Session, *, account: Account, until: datetime, series_count: int, now: datetime) -> bool:
    """Write the account's pause before its next message leaves; False when another turn was faster.

    It is written first, so that a crash cannot hurry the number.
    """
    result = session.execute(
        text(
            "UPDATE accounts SET paced_until = :until, series_count = :series"
            " WHERE id = :id AND (paced_until IS NULL OR paced_until <= :now)"
        ),
        {"until": until, "series": series_count, "id": account.id, "now": now},
    )
    return affected(result) > 0


def extend_pause(session: Session, *, account_id: int, until: datetime) -> None:
    """Let the account wait at least until `until`, counted from when the provider had the message."""
    session.execute(
        text("UPDATE accounts SET paced_until = greatest(paced_until, :until) WHERE id = :id"),
        {"until": until, "id": account_id},
    )


def throttle(session: Session, *, account_id: int, throttled: Throttle) -> None:
    """Store a complaint of the provider: the account's rate is halved `throttled.step` times for a while."""
    session.execute(
        text("UPDATE accounts SET throttle_step = :step, throttled_at = :since WHERE id = :id"),
        {"step": throttled.step, "since": throttled.since, "id": account_id},
    )


def delay_campaigns(session: Session, *, account_id: int, until: Mapping[int, datetime]) -> None:
    """Let campaigns wait on this account until the given times (their own delay between messages)."""
    if until:
        session.execute(
            text(
                "UPDATE campaign_accounts ca SET delayed_until = greatest(ca.delayed_until, d.until)"
                " FROM unnest(CAST(:ids AS bigint[]), CAST(:untils AS timestamptz[])) AS d(campaign_id, until)"
                " WHERE ca.account_id = :account_id AND ca.campaign_id = d.campaign_id"
            ),
            {"ids": list(until), "untils": list(until.values()), "account_id": account_id},
        )
