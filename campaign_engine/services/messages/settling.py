"""Settle: write what became of claimed rows, one statement for many.

Every statement is a compare-and-set on the row's state and claim. So two turns at once are harmless, and a webhook that
was faster is not overwritten.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.db import affected
from campaign_engine.providers.base import Accepted, Lost, Outcome
from campaign_engine.rules import retry
from campaign_engine.rules.failures import ErrorClass, Fate
from campaign_engine.rules.states import MessageStatus
from campaign_engine.services.messages.claiming import LockedRow


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a claimed row becomes."""

    message_id: uuid.UUID
    status: MessageStatus
    at: datetime
    provider_message_id: str | None = None
    reason: str | None = None
    error_class: ErrorClass | None = None
    error_code: str | None = None
    error_detail: str | None = None
    next_attempt_at: datetime | None = None
    attempt_counts: bool = True


def settlement_of(claimed: LockedRow, outcome: Outcome, *, now: datetime) -> Settlement:
    """Decide what a row becomes: a pure function of the outcome and the attempts made."""
    if isinstance(outcome, Accepted):
        return Settlement(claimed.message_id, MessageStatus.SENT, now, provider_message_id=outcome.provider_message_id)
    if isinstance(outcome, Lost):
        return Settlement(
            claimed.message_id,
            MessageStatus.UNKNOWN,
            now,
            reason="answer_lost",
            error_class=ErrorClass.UNKNOWN,
            error_detail=outcome.reason,
        )
    failure, meaning = outcome.failure, outcome.meaning
    again_at = None
    if meaning.fate is Fate.WAITS:
        again_at = now
    elif meaning.fate is Fate.TRIED_AGAIN:
        again_at = retry.next_attempt_at(
            claimed.attempts + 1, now=now, retry_after_s=failure.retry_after_s, may_have_left=failure.may_have_left
        )
    return Settlement(
        claimed.message_id,
        MessageStatus.FAILED if again_at is None else MessageStatus.PENDING,
        now,
        error_class=failure.error_class,
        error_code=failure.code,
        error_detail=failure.detail,
        next_attempt_at=again_at,
        attempt_counts=meaning.attempt_counts,
    )


# Our own claim may have been declared unknown meanwhile: then our answer settles it. A webhook may have settled the row
# before us: then its state stands, and we add only what we alone know. One failure does not stand: if its id differs
# from the one our message was accepted with, it belongs to an earlier try whose id nobody knew.
_OURS_TO_SETTLE = """(
        m.status IN ('sending', 'unknown')
        OR (m.status = 'failed' AND s.status = 'sent' AND m.provider_message_id <> s.provider_message_id)
      )"""
_IS_SENT = f"s.status = 'sent' AND (m.status <> 'failed' OR {_OURS_TO_SETTLE})"
_SETTLE = text(
    f"""
    UPDATE messages m SET
      status = CASE WHEN {_OURS_TO_SETTLE} THEN s.status ELSE m.status END,
      status_reason = CASE WHEN {_OURS_TO_SETTLE} THEN s.reason ELSE m.status_reason END,
      claim_token = NULL,
      attempts = m.attempts - CASE WHEN s.attempt_counts THEN 0 ELSE 1 END,
      account_id = CASE
        WHEN s.status = 'pending' AND m.status IN ('sending', 'unknown') THEN NULL ELSE m.account_id
      END,
      next_attempt_at = s.next_attempt_at,
      -- An earlier try's id may still be there.
      provider_message_id = coalesce(s.provider_message_id, m.provider_message_id),
      accepted_at = CASE WHEN s.status = 'sent' THEN coalesce(m.accepted_at, s.at) ELSE m.accepted_at END,
      failed_at = CASE WHEN {_OURS_TO_SETTLE} THEN CASE WHEN s.status = 'failed' THEN s.at END ELSE m.failed_at END,
      error_class = CASE WHEN {_IS_SENT} THEN NULL ELSE coalesce(s.error_class, m.error_class) END,
      error_code = CASE
        WHEN {_IS_SENT} THEN NULL WHEN s.error_class IS NULL THEN m.error_code ELSE s.error_code
      END,
      error_detail = CASE
        WHEN {_IS_SENT} THEN NULL WHEN s.error_class IS NULL THEN m.error_detail ELSE s.error_detail
      END
    FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS s(
      id uuid, status text, at timestamptz, provider_message_id text, reason text, error_class text, error_code text,
      error_detail text, next_attempt_at timestamptz, attempt_counts boolean
    )
    WHERE m.id = s.id AND m.claim_token = CAST(:token AS uuid)
    """  # noqa: S608 - the inserted texts are our own
)


def settle(session: Session, *, token: uuid.UUID, settlements: Sequence[Settlement]) -> int:
    """Write what became of claimed rows, in one statement; return how many this turn still held."""
    if not settlements:
        return 0
    # One text instead of ten arrays: writing out arrays would be most of what settling costs.
    rows = json.dumps([_as_json(item) for item in settlements])
    result = session.execute(_SETTLE, {"token": token, "rows": rows})
    return affected(result)


def _as_json(item: Settlement) -> dict[str, object]:
    return {
        "id": str(item.message_id),
        "status": item.status,
        "at": item.at.isoformat(),
        "provider_message_id": item.provider_message_id,
        "reason": item.reason,
        "error_class": item.error_class,
        "error_code": item.error_code,
        "error_detail": item.error_detail,
        "next_attempt_at": item.next_attempt_at.isoformat() if item.next_attempt_at is not None else None,
        "attempt_counts": item.attempt_counts,
    }


_ABANDON = text(
    """
    UPDATE messages SET
      status = CASE WHEN id = ANY(CAST(:dispatched AS uuid[])) THEN 'unknown' ELSE 'pending' END,
      status_reason = CASE WHEN id = ANY(CAST(:dispatched AS uuid[])) THEN 'worker_died' END,
      attempts = attempts - CASE WHEN id = ANY(CAST(:dispatched AS uuid[])) THEN 0 ELSE 1 END,
      account_id = CASE WHEN id = ANY(CAST(:dispatched AS uuid[])) THEN account_id END,
      -- A retry stays a retry of its line.
      next_attempt_at = CASE WHEN attempts > 1 AND id <> ALL(CAST(:dispatched AS uuid[])) THEN now() END
    WHERE claim_token = CAST(:token AS uuid) AND status IN ('sending', 'unknown')
    """
)


def abandon(session: Session, *, token: uuid.UUID, dispatched: Sequence[uuid.UUID]) -> int:
    """Take over the claims of a turn whose worker died; return how many rows were moved.

    `dispatched` are the rows whose calls had begun: they become `unknown`. The others never left and wait again.
    """
    result = session.execute(_ABANDON, {"token": token, "dispatched": list(dispatched)})
    return affected(result)


def claims_older_than(session: Session, moment: datetime) -> list[tuple[int, uuid.UUID]]:
    """Return (account id, claim token) of every turn with a claim older than `moment`."""
    rows = session.execute(
        text(
            "SELECT DISTINCT account_id, claim_token FROM messages"
            " WHERE status = 'sending' AND claimed_at < :moment AND claim_token IS NOT NULL"
        ),
        {"moment": moment},
    )
    return [(row.account_id, row.claim_token) for row in rows]


def expire_claims(session: Session, token: uuid.UUID) -> int:
    """Declare the claims of a vanished turn `unknown`; return how many there were.

    The claim token stays on the rows: if the turn is alive after all, its settlement still counts.
    """
    result = session.execute(
        text(
            "UPDATE messages SET status = 'unknown', status_reason = 'worker_died'"
            " WHERE claim_token = CAST(:token AS uuid) AND status = 'sending'"
        ),
        {"token": token},
    )
    return affected(result)
