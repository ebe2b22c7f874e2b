"""How long an account, or a campaign on it, waits after what it sent. Kept in PostgreSQL, not in Redis, because a
number must not be hurried when Redis loses its data.
"""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.db import affected
from campaign_engine.models import Account
from campaign_engine.rules import pacing
from campaign_engine.rules.cool_down import Throttle
from campaign_engine.rules.pacing import Pacing


def take_pace(session: Session, *, account: Account, pace: Pacing, now: datetime) -> bool:
    """Write the account's pause before its next message leaves; False when another turn was faster.

    It is written first, so that a crash cannot hurry the number.
    """
    chance = random.random()
    until, series_count = pacing.next_after(pace, series_count=account.series_count, sent_at=now, chance=chance)
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


def delay_campaigns(session: Session, *, account_id: int, paces: Mapping[int, Pacing], now: datetime) -> None:
    """Let campaigns wait on this account for the delays of their own, from `now` at least; `paces` is by campaign."""
    until = {
        each: now + timedelta(seconds=pace.message_delay_s) for each, pace in paces.items() if pace.message_delay_s
    }
    if until:
        session.execute(
            text(
                "UPDATE campaign_accounts ca SET delayed_until = greatest(ca.delayed_until, d.until)"
                " FROM unnest(CAST(:ids AS bigint[]), CAST(:untils AS timestamptz[])) AS d(campaign_id, until)"
                " WHERE ca.account_id = :account_id AND ca.campaign_id = d.campaign_id"
            ),
            {"ids": list(until), "untils": list(until.values()), "account_id": account_id},
        )
