"""Which of the next rows may be sent: opt-outs, the blocklist, the recipient's own hours, and how much the person has
had from all campaigns. This is checked at the moment of sending, not only at the preparation.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.rules.bars import REASON_OF_BAR
from campaign_engine.rules.hours.recipient_zone import zones_of
from campaign_engine.rules.hours.working_hours import WorkingHours
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.messages import claiming
from campaign_engine.services.messages.claiming import LockedRow
from campaign_engine.services.messages.planning import Candidate
from ratelimit import Rate

NEVER_OPEN = timedelta(days=1)
"""Hours that do not open within a year are looked at again after this."""


def sendable(
    session: Session, found: Mapping[int, Sequence[LockedRow]], *, candidates: Mapping[int, Candidate], now: datetime
) -> dict[int, list[LockedRow]]:
    """Return the locked rows, by campaign id, whose person may be written to now.

    Side effects: people who may not be written to are left out with the reason; those whose hours are closed wait until
    they open. A campaign with nothing left after that is completed.
    """
    barred: dict[str, list[LockedRow]] = {}
    closed: list[tuple[LockedRow, datetime]] = []
    left: dict[int, list[LockedRow]] = {}
    for campaign_id, rows in found.items():
        hours = candidates[campaign_id].hours
        for row in rows:
            if row.barred is not None:
                barred.setdefault(REASON_OF_BAR[row.barred], []).append(row)
            elif (opens_at := _opens_at(hours, row, now)) > now:
                closed.append((row, opens_at))
            else:
                left.setdefault(campaign_id, []).append(row)
    claiming.postpone(session, closed)
    for reason, rows in barred.items():
        _leave_out(session, rows, reason=reason, now=now)
    return left


def below_cap(
    session: Session, rows: Sequence[LockedRow], *, candidates: Mapping[int, Candidate], now: datetime
) -> list[LockedRow]:
    """Return the rows whose person has had less than the frequency cap allows; leave the others out.

    Of two rows for the same person only the first is returned; the second comes up again when the first counts.
    """
    caps = {
        row.message_id: (row.contact_id, cap)
        for row in rows
        if row.contact_id is not None and (cap := candidates[row.campaign_id].frequency_cap) is not None
    }
    reached = _at_cap(session, set(caps.values()), now=now)
    written_to: set[int] = set()
    left, capped = [], []
    for row in rows:
        own = caps.get(row.message_id)
        if own in reached:
            capped.append(row)
        elif own is None or own[0] not in written_to:
            left.append(row)
            if row.contact_id is not None:
                written_to.add(row.contact_id)
    _leave_out(session, capped, reason="frequency_cap", now=now)
    return left


def _opens_at(hours: WorkingHours | None, row: LockedRow, now: datetime) -> datetime:
    if hours is None or not hours.per_recipient:
        return now
    return hours.opens_in(zones_of(row.phone), now) or now + NEVER_OPEN


RECEIVED = "m.status NOT IN ('pending', 'failed', 'skipped')"
"""SQL: whether the row `m` counts towards a person's frequency cap: it was sent, or may have been."""

_AT_CAP = text(
    f"""
    SELECT w.place
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:sinces AS timestamptz[]), CAST(:counts AS integer[]))
      WITH ORDINALITY AS w(contact_id, since, cap, place)
    WHERE w.cap <= (
      SELECT count(*) FROM messages m WHERE m.contact_id = w.contact_id AND m.claimed_at > w.since
        AND {RECEIVED}
    )
    """  # noqa: S608 - our own constant
)


def _at_cap(session: Session, caps: Collection[tuple[int, Rate]], *, now: datetime) -> set[tuple[int, Rate]]:
    """Return each (contact id, cap) whose contact has had as many messages, from all campaigns, as the cap allows.

    Side effects: locks the contacts until the transaction ends. So two accounts about to write to the same person count
    each other's message.
    """
    if not caps:
        return set()
    wanted = sorted(caps, key=lambda each: each[0])
    session.execute(
        text("SELECT id FROM contacts WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE"),
        {"ids": [contact_id for contact_id, _ in wanted]},
    )
    places = session.scalars(
        _AT_CAP,
        {
            "contact_ids": [contact_id for contact_id, _ in wanted],
            "sinces": [now - timedelta(microseconds=cap.period_us) for _, cap in wanted],
            "counts": [cap.count for _, cap in wanted],
        },
    )
    return {wanted[place - 1] for place in places}


def _leave_out(session: Session, rows: Sequence[LockedRow], *, reason: str, now: datetime) -> None:
    if rows:
        claiming.skip(session, rows, reason=reason)
        lifecycle.complete_finished(session, {row.campaign_id for row in rows}, now=now)
