"""Messages whose outcome nobody knows: after a grace time a person has each sent again, or dismisses it.

The engine never resends one by itself: it may have arrived. Any webhook that names the message settles it, before and
after the decision. For that a dismissed message stays `unknown`, and a resend keeps `attempts`: they show that a status
which comes while the row waits belongs to the first try.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from sqlalchemy import and_, or_, select, text
from sqlalchemy.orm import Session

from campaign_engine.db import affected
from campaign_engine.errors import GraceNotOver, NotFound, TransitionNotAllowed
from campaign_engine.logs import get_logger
from campaign_engine.models import Campaign, Message
from campaign_engine.rules.states import CAMPAIGN_MAY_SEND_AGAIN, MessageStatus
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.company import audit, notifications

log = get_logger(__name__)

DISMISSED = "dismissed"
"""The `status_reason` of an unknown message that a person dismissed."""

WARNING = "Nobody knows whether the first try arrived. If it did, the person gets this message twice."

NOTIFIED_AGAIN_AFTER = timedelta(days=1)
"""A company is told of a campaign once a day at most, even if its messages become unknown one by one."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """A message that waits for a person's decision, with its campaign; not `resendable` if the campaign was ended."""

    message: Message
    campaign_id: int
    campaign_name: str
    resendable: bool


@dataclass(frozen=True, slots=True)
class Resent:
    """What a resend in bulk did."""

    count: int
    barred_count: int  # left as they are, because these people may not be written to any more


_UNDECIDED = "m.status = 'unknown' AND m.status_reason IS DISTINCT FROM 'dismissed' AND m.claimed_at <= :claimed_until"

_BARRED = (
    "EXISTS (SELECT 1 FROM opt_outs o JOIN campaigns c ON c.company_id = o.company_id"
    " WHERE c.id = m.campaign_id AND o.phone_key = m.phone_key)"
)

_TO_PENDING = """
    status = 'pending', status_reason = NULL, next_attempt_at = CAST(:now AS timestamptz), claim_token = NULL,
    error_class = NULL, error_code = NULL, error_detail = NULL
"""

_RESEND = text(
    f"""
    UPDATE messages m SET {_TO_PENDING}
    WHERE m.id = CAST(:id AS uuid) AND m.campaign_id = :campaign_id AND m.status = 'unknown'
      AND m.claimed_at <= :claimed_until AND NOT {_BARRED}
    """  # noqa: S608 - our own constants
)

# Locked in the order of their ids, as the webhooks' batches do, so that neither waits for the other in a ring.
_RESEND_ALL = text(
    f"""
    -- chosen: what waits for a decision, locked.
    WITH chosen AS (
      SELECT m.id, {_BARRED} AS barred FROM messages m
      WHERE m.campaign_id = :campaign_id AND {_UNDECIDED} ORDER BY m.id FOR UPDATE OF m
    ), resent AS (
      UPDATE messages m SET {_TO_PENDING} FROM chosen WHERE m.id = chosen.id AND NOT chosen.barred RETURNING m.id
    )
    SELECT (SELECT count(*) FROM resent) AS resent, (SELECT count(*) FROM chosen WHERE barred) AS barred
    """  # noqa: S608 - our own constants
)

_DISMISS_ALL = text(
    f"""
    WITH chosen AS (
      SELECT m.id FROM messages m WHERE m.campaign_id = :campaign_id AND {_UNDECIDED} ORDER BY m.id FOR UPDATE OF m
    )
    UPDATE messages m SET status_reason = 'dismissed' FROM chosen WHERE m.id = chosen.id
    """  # noqa: S608 - our own constants
)

_NEWLY_UNDECIDED = text(
    f"""
    SELECT c.id, c.company_id, c.name, found.undecided
    FROM campaigns c
    CROSS JOIN LATERAL (
      SELECT count(*) AS undecided, max(m.claimed_at) AS latest_claim FROM messages m
      WHERE m.campaign_id = c.id AND {_UNDECIDED}
    ) AS found
    CROSS JOIN LATERAL (
      SELECT max(n.created_at) AS at FROM notifications n
      WHERE n.company_id = c.company_id AND n.kind = 'unknown_outcomes' AND n.subject_id = CAST(c.id AS text)
    ) AS latest
    WHERE c.kind = 'campaign' AND c.unknown_count > 0 AND found.undecided > 0
      AND (latest.at IS NULL OR (latest.at < :notified_until AND found.latest_claim > latest.at - :grace))
    ORDER BY c.id
    """  # noqa: S608 - our own constants
)


def undecided(
    session: Session,
    company_id: int,
    *,
    grace_s: float,
    now: datetime,
    campaign_id: int | None = None,
    after: tuple[int, int] | None = None,
    limit: int = 50,
) -> list[Undecided]:
    """Return the messages that wait for a decision: those of the newest campaign first, in the order of sending.

    `campaign_id` narrows to one campaign; `after` is the (campaign id, position) of the last message already read.
    """
    query = (
        select(Message, Campaign.name, Campaign.status)
        .join(Campaign, Campaign.id == Message.campaign_id)
        .where(
            Campaign.company_id == company_id,
            Campaign.kind == "campaign",
            Campaign.unknown_count > 0,
            Message.status == MessageStatus.UNKNOWN,
            Message.status_reason.is_distinct_from(DISMISSED),
            Message.claimed_at <= now - timedelta(seconds=grace_s),
        )
    )
    if campaign_id is not None:
        query = query.where(Campaign.id == campaign_id)
    if after is not None:
        last_id, position = after
        query = query.where(or_(Campaign.id < last_id, and_(Campaign.id == last_id, Message.position > position)))
    rows = session.execute(query.order_by(Campaign.id.desc(), Message.position).limit(limit))
    return [
        Undecided(
            message=message,
            campaign_id=message.campaign_id,
            campaign_name=name,
            resendable=status in CAMPAIGN_MAY_SEND_AGAIN,
        )
        for message, name, status in rows
    ]


def undecided_count(session: Session, campaign: Campaign, *, grace_s: float, now: datetime) -> int:
    """Return how many messages of a campaign wait for a decision."""
    if campaign.unknown_count == 0:
        return 0
    found = session.scalar(
        text(f"SELECT count(*) FROM messages m WHERE m.campaign_id = :campaign_id AND {_UNDECIDED}"),  # noqa: S608
        {"campaign_id": campaign.id, "claimed_until": now - timedelta(seconds=grace_s)},
    )
    return int(found or 0)


def resend(session: Session, campaign: Campaign, message_id: uuid.UUID, *, grace_s: float, now: datetime) -> Message:
    """Let an unknown message go out again, dismissed or not; the second of two clicks is refused. See `WARNING`.

    Side effects: a completed campaign runs again; its lanes are woken after the commit. An entry in the audit log.

    Raises:
        NotFound: the campaign has no such message.
        GraceNotOver: a webhook may still settle it.
        OutsideHours: the campaign is completed and stops at closing time, and its hours are over.
        TransitionNotAllowed: its outcome is known, the person may not be written to, or the campaign was ended.
    """
    _require_not_ended(campaign)
    values = {"id": message_id, "campaign_id": campaign.id, "claimed_until": now - timedelta(seconds=grace_s)}
    result = session.execute(_RESEND, {**values, "now": now})
    if not affected(result):
        _refuse(session, campaign, message_id, verb="be resent", grace_s=grace_s, now=now)
    lifecycle.reopen(session, campaign, verb="resend", now=now)
    audit.record(session, "message.resent", company_id=campaign.company_id, subject=message_id, campaign_id=campaign.id)
    log.info("message.resent", campaign_id=campaign.id, message_id=str(message_id))
    return _message(session, campaign, message_id)


def resend_all(session: Session, campaign: Campaign, *, grace_s: float, now: datetime) -> Resent:
    """Let every message of a campaign that waits for a decision go out again. See `WARNING`.

    Side effects: a completed campaign runs again; its lanes are woken after the commit. An entry in the audit log.

    Raises:
        OutsideHours: the campaign is completed and stops at closing time, and its hours are over.
        TransitionNotAllowed: the campaign was ended.
    """
    _require_not_ended(campaign)
    values = {"campaign_id": campaign.id, "claimed_until": now - timedelta(seconds=grace_s), "now": now}
    row = session.execute(_RESEND_ALL, values).one()
    if row.resent:
        lifecycle.reopen(session, campaign, verb="resend", now=now)
        _record_all(session, campaign, "resent", row.resent)
    return Resent(count=row.resent, barred_count=row.barred)


def dismiss(session: Session, campaign: Campaign, message_id: uuid.UUID, *, grace_s: float, now: datetime) -> Message:
    """Dismiss an unknown message: it is listed no more. A webhook still settles it.

    Raises:
        NotFound: the campaign has no such message.
        GraceNotOver: a webhook may still settle it.
        TransitionNotAllowed: its outcome is known, or it was dismissed before.
    """
    result = session.execute(
        text(
            f"UPDATE messages m SET status_reason = 'dismissed'"  # noqa: S608 - our own constant
            f" WHERE m.id = CAST(:id AS uuid) AND m.campaign_id = :campaign_id AND {_UNDECIDED}"
        ),
        {"id": message_id, "campaign_id": campaign.id, "claimed_until": now - timedelta(seconds=grace_s)},
    )
    if not affected(result):
        _refuse(session, campaign, message_id, verb="be dismissed", grace_s=grace_s, now=now)
    audit.record(
        session, "message.dismissed", company_id=campaign.company_id, subject=message_id, campaign_id=campaign.id
    )
    return _message(session, campaign, message_id)


def dismiss_all(session: Session, campaign: Campaign, *, grace_s: float, now: datetime) -> int:
    """Dismiss every message of a campaign that waits for a decision; return how many there were."""
    values = {"campaign_id": campaign.id, "claimed_until": now - timedelta(seconds=grace_s)}
    count = affected(session.execute(_DISMISS_ALL, values))
    if count:
        _record_all(session, campaign, "dismissed", count)
    return count


def notify_undecided(session: Session, *, grace_s: float, now: datetime) -> list[int]:
    """Tell each company once that messages of a campaign have passed their grace; return the campaigns.

    A company is told again when others have passed it since, after a day at the earliest. Of two callers at once only
    one tells it.
    """
    # Held until the commit, so that the next caller reads what was written here.
    if not session.scalar(text("SELECT pg_try_advisory_xact_lock(hashtext('unknown_outcomes'))")):
        return []
    grace = timedelta(seconds=grace_s)
    rows = session.execute(
        _NEWLY_UNDECIDED, {"claimed_until": now - grace, "grace": grace, "notified_until": now - NOTIFIED_AGAIN_AFTER}
    ).all()
    for row in rows:
        count = "1 message" if row.undecided == 1 else f"{row.undecided} messages"
        written = notifications.notify(
            session,
            company_id=row.company_id,
            kind="unknown_outcomes",
            severity="warning",
            text=f"Nobody knows what became of {count} of the campaign {row.name}: resend or dismiss on its page.",
            subject=("campaign", row.id),
        )
        written.created_at = now  # what the next call compares with
        log.warning("campaign.unknown_outcomes", campaign_id=row.id, messages=row.undecided)
    session.flush()
    return [row.id for row in rows]


def _require_not_ended(campaign: Campaign) -> None:
    if campaign.status not in CAMPAIGN_MAY_SEND_AGAIN:
        raise TransitionNotAllowed.by_status("campaign", campaign.status, verb="resend")


def _message(session: Session, campaign: Campaign, message_id: uuid.UUID) -> Message:
    found = session.get(Message, message_id, populate_existing=True)
    if found is None or found.campaign_id != campaign.id:
        raise NotFound("message", message_id)
    return found


def _refuse(
    session: Session, campaign: Campaign, message_id: uuid.UUID, *, verb: str, grace_s: float, now: datetime
) -> NoReturn:
    """Say why an update found nothing to do."""
    found = _message(session, campaign, message_id)
    if found.status != MessageStatus.UNKNOWN:
        raise TransitionNotAllowed.by_status("message", found.status, verb=verb)
    over_at = (found.claimed_at or now) + timedelta(seconds=grace_s)
    if over_at > now:
        raise GraceNotOver(over_at)
    if verb == "be dismissed":
        raise TransitionNotAllowed(kind="message", verb=verb, status="dismissed already", code="message_dismissed")
    raise TransitionNotAllowed(
        kind="message", verb=verb, status="for somebody who may not be written to", code="recipient_opted_out"
    )


def _record_all(session: Session, campaign: Campaign, decision: str, count: int) -> None:
    audit.record(
        session, f"campaign.unknown_{decision}", company_id=campaign.company_id, subject=campaign.id, messages=count
    )
    log.info("campaign.unknown_decided", campaign_id=campaign.id, decision=decision, messages=count)
