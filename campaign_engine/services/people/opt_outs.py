"""People who must not be written to: they asked for it, the company blocks them, or somebody has to decide what they
meant.

A row names a person by equivalence key, so it outlives the contact and every import. The strongest kind stays:
`blocked` (the company decided) over `opted_out` (the person decided) over `held` (a reply may have meant it).
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaign_engine.db import actor_of, arrays
from campaign_engine.errors import NotFound
from campaign_engine.logs import get_logger
from campaign_engine.models import OptOut
from campaign_engine.rules.phone import key_or_none
from campaign_engine.services.company import audit
from campaign_engine.services.people.contacts import understood_phone

log = get_logger(__name__)

OPTED_OUT, BLOCKED, HELD = "opted_out", "blocked", "held"

DISMISSED = "dismissed"
"""The decision that a reply did not mean to opt out; the other decision is `OPTED_OUT`."""

Person = tuple[int, str]
"""Company id and equivalence key."""


@dataclass(frozen=True, slots=True)
class NewOptOut:
    """An opt-out to note, or a hold."""

    company_id: int
    phone_key: str
    kind: str
    source: str  # api, reply, button, user_preferences, provider, ...
    at: datetime
    campaign_id: int | None = None
    note: str | None = None


# Written in the order of the keys, so that two batches never wait for each other in a ring.
_WEAKEST_FIRST = f"ARRAY['{HELD}', '{OPTED_OUT}', '{BLOCKED}']"
_NOTE = text(
    f"""
    INSERT INTO opt_outs AS known (company_id, phone_key, kind, source, note, campaign_id, opted_out_at)
    SELECT n.company_id, n.phone_key, n.kind, n.source, n.note, n.campaign_id, n.at
    FROM unnest(
      CAST(:company_ids AS bigint[]), CAST(:keys AS text[]), CAST(:kinds AS text[]), CAST(:sources AS text[]),
      CAST(:notes AS text[]), CAST(:campaign_ids AS bigint[]), CAST(:ats AS timestamptz[])
    ) AS n(company_id, phone_key, kind, source, note, campaign_id, at)
    ORDER BY n.company_id, n.phone_key
    ON CONFLICT (company_id, phone_key) DO UPDATE SET
      kind = excluded.kind, source = excluded.source, note = excluded.note, campaign_id = excluded.campaign_id,
      opted_out_at = excluded.opted_out_at
    WHERE array_position({_WEAKEST_FIRST}, excluded.kind::text) > array_position({_WEAKEST_FIRST}, known.kind::text)
    RETURNING company_id, phone_key
    """  # noqa: S608 - our own constants
)


def note_many(session: Session, entries: Sequence[NewOptOut]) -> set[Person]:
    """Note opt-outs of distinct people in one statement; return those for whom this changed something.

    If a person was already noted with a kind as strong, the first date and source stay.
    """
    if not entries:
        return set()
    rows = session.execute(
        _NOTE,
        {
            "company_ids": [entry.company_id for entry in entries],
            "keys": [entry.phone_key for entry in entries],
            "kinds": [entry.kind for entry in entries],
            "sources": [entry.source for entry in entries],
            "notes": [entry.note for entry in entries],
            "campaign_ids": [entry.campaign_id for entry in entries],
            "ats": [entry.at for entry in entries],
        },
    )
    changed = {(row.company_id, row.phone_key) for row in rows}
    log.info("opt_outs.noted", given=len(entries), changed=len(changed))
    return changed


# A row has the date of the person's first wish only. So a later reply counts too: an opt-out after the given time
# keeps the row, and so does a doubt after it if the row is a hold.
_LIFT = text(
    """
    DELETE FROM opt_outs o
    USING unnest(CAST(:company_ids AS bigint[]), CAST(:keys AS text[]), CAST(:ats AS timestamptz[]))
      AS l(company_id, phone_key, at)
    WHERE o.company_id = l.company_id AND o.phone_key = l.phone_key AND o.kind = ANY(CAST(:kinds AS text[]))
      AND o.opted_out_at <= l.at AND NOT EXISTS (
        SELECT 1 FROM replies r
        WHERE r.company_id = o.company_id AND r.phone_key = o.phone_key AND r.received_at > l.at
          AND (r.intent = 'certain' OR (o.kind = 'held' AND r.intent = 'likely' AND r.decision IS NULL))
      )
    RETURNING o.company_id, o.phone_key
    """
)


def lift_many(
    session: Session, resumed: Sequence[tuple[Person, datetime]], *, kinds: Collection[str] = (OPTED_OUT, HELD)
) -> set[Person]:
    """Lift the opt-outs of people who asked, at the given times, to be written to again; return the people lifted.

    People whom the company blocks stay blocked. People who opted out, or may have, after the given time stay noted.
    """
    if not resumed:
        return set()
    values = arrays(("company_ids", "keys", "ats"), [(*person, at) for person, at in resumed])
    rows = session.execute(_LIFT, {**values, "kinds": list(kinds)})
    lifted = {(row.company_id, row.phone_key) for row in rows}
    log.info("opt_outs.lifted", given=len(resumed), changed=len(lifted))
    return lifted


def note_refused(session: Session, refused: Mapping[uuid.UUID, str | None], *, now: datetime) -> None:
    """Note people who switched the company's marketing off in WhatsApp, from the messages that failed for it.

    `refused` holds the code that each message failed with. A message that has another code by now says nothing.

    Side effects: decides these people's held replies, as an opt-out.
    """
    if not refused:
        return
    changed = session.execute(
        text(
            """
            INSERT INTO opt_outs (company_id, phone_key, kind, source, campaign_id, opted_out_at)
            SELECT DISTINCT ON (c.company_id, m.phone_key)
              c.company_id, m.phone_key, 'opted_out', 'provider', c.id, coalesce(m.failed_at, CAST(:now AS timestamptz))
            FROM unnest(CAST(:ids AS uuid[]), CAST(:codes AS text[])) AS r(id, code)
            JOIN messages m ON m.id = r.id AND m.error_code = r.code JOIN campaigns c ON c.id = m.campaign_id
            ORDER BY c.company_id, m.phone_key
            ON CONFLICT (company_id, phone_key) DO UPDATE SET
              kind = excluded.kind, source = excluded.source, campaign_id = excluded.campaign_id,
              opted_out_at = excluded.opted_out_at, note = NULL
            WHERE opt_outs.kind = 'held'
            RETURNING company_id, phone_key
            """
        ),
        {"ids": list(refused), "codes": list(refused.values()), "now": now},
    )
    settle_undecided(session, {(row.company_id, row.phone_key): OPTED_OUT for row in changed}, now=now)


_SETTLE_UNDECIDED = text(
    """
    UPDATE replies r SET decision = d.decision, decided_at = CAST(:now AS timestamptz),
      decided_by = CAST(:actor AS bigint)
    FROM unnest(
      CAST(:company_ids AS bigint[]), CAST(:keys AS text[]), CAST(:decisions AS text[]), CAST(:untils AS timestamptz[])
    ) AS d(company_id, phone_key, decision, until)
    WHERE r.company_id = d.company_id AND r.phone_key = d.phone_key AND r.intent = 'likely' AND r.decision IS NULL
      AND (d.until IS NULL OR r.received_at <= d.until)
      AND NOT EXISTS (
        SELECT 1 FROM opt_outs o WHERE o.company_id = r.company_id AND o.phone_key = r.phone_key AND o.kind = 'held'
      )
      AND (NOT :if_moot OR EXISTS (
        SELECT 1 FROM opt_outs o
        WHERE o.company_id = r.company_id AND o.phone_key = r.phone_key AND o.kind <> 'held'
      ))
    """
)


def settle_undecided(
    session: Session,
    decided: Mapping[Person, str],
    *,
    now: datetime,
    until: Mapping[Person, datetime] | None = None,
    if_moot: bool = False,
) -> None:
    """Decide the undecided replies of people whose meaning has become clear.

    The actor of this transaction has made it clear; if it has none, the person did. The replies of a person who is
    still held stay undecided.

    `until` is the time up to which a person's replies are decided, for those named in it. With `if_moot` only those of
    people who may not be written to in any case are.
    """
    if decided:
        actor = actor_of(session)
        rows = [(*person, decision, (until or {}).get(person)) for person, decision in decided.items()]
        values = arrays(("company_ids", "keys", "decisions", "untils"), rows)
        common = {"now": now, "if_moot": if_moot, "actor": actor.user_id if actor else None}
        session.execute(_SETTLE_UNDECIDED, values | common)


def carry_over(session: Session, moved: Sequence[tuple[int, str, str]]) -> None:
    """Let opt-outs follow people to their new numbers: (company id, old key, new key)."""
    if moved:
        session.execute(
            text(
                "INSERT INTO opt_outs (company_id, phone_key, kind, source, note, campaign_id, opted_out_at)"
                " SELECT o.company_id, m.new, o.kind, o.source, o.note, o.campaign_id, o.opted_out_at FROM opt_outs o"
                " JOIN unnest(CAST(:company_ids AS bigint[]), CAST(:olds AS text[]), CAST(:news AS text[]))"
                " AS m(company_id, old, new)"
                " ON m.company_id = o.company_id AND m.old = o.phone_key"
                " ORDER BY o.company_id, m.new ON CONFLICT DO NOTHING"
            ),
            arrays(("company_ids", "olds", "news"), moved),
        )


def add(
    session: Session,
    *,
    company_id: int,
    phone: str,
    default_region: str,
    now: datetime,
    kind: str = OPTED_OUT,
    source: str = "api",
    note: str | None = None,
) -> OptOut:
    """Note that a person must not be written to. If that was noted before, as strongly, the first date stays.

    Side effects: an entry in the audit log when this changed something.

    Raises:
        InvalidInput: it is not a number.
    """
    _, key = understood_phone(phone, field="phone", default_region=default_region)
    entry = NewOptOut(company_id=company_id, phone_key=key, kind=kind, source=source, at=now, note=note)
    if note_many(session, [entry]):
        settle_undecided(session, {(company_id, key): OPTED_OUT}, now=now)
        audit.record(session, "opt_out.added", company_id=company_id, subject=key, kind=kind, source=source)
    return session.get_one(OptOut, (company_id, key), populate_existing=True)


def of_company(
    session: Session, company_id: int, *, kind: str | None = None, after_key: str = "", limit: int = 100
) -> Sequence[OptOut]:
    """Return the company's opt-outs, of one kind or all, in the order of their keys, from after `after_key`."""
    query = select(OptOut).where(OptOut.company_id == company_id, OptOut.phone_key > after_key)
    if kind is not None:
        query = query.where(OptOut.kind == kind)
    return session.scalars(query.order_by(OptOut.phone_key).limit(limit)).all()


def lift(session: Session, *, company_id: int, phone: str, default_region: str, now: datetime) -> None:
    """Let a person be written to again, whoever had decided otherwise.

    Side effects: an entry in the audit log; a held reply of the person is dismissed.

    Raises:
        InvalidInput: it is not a number.
        NotFound: nothing is noted of this person.
    """
    # Where `persons.phones_of` has shown a person who hides the number, the key is no number.
    key = key_or_none(phone) or phone.removeprefix("+")
    noted = session.get(OptOut, (company_id, key)) if key.isprintable() else None
    if noted is None:
        _, key = understood_phone(phone, field="phone", default_region=default_region)
        noted = session.get(OptOut, (company_id, key))
    if noted is None:
        raise NotFound("opt-out of", phone)
    session.delete(noted)
    session.flush()
    settle_undecided(session, {(company_id, key): DISMISSED}, now=now)
    audit.record(session, "opt_out.lifted", company_id=company_id, subject=key, kind=noted.kind, source=noted.source)
