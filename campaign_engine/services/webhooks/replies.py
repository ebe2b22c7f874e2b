"""What people write back: kept once, attributed to what they answer, and obeyed when they want to be left alone.

A message is matched to a contact by the alias the provider uses (`wa_id`) first, then by the equivalence key; to a
campaign by the message it quotes, else by the latest message the contact got from the same account within
`ANSWERS_WITHIN`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, case, or_, select, text, true
from sqlalchemy.orm import Session, aliased

from campaign_engine.db import actor_of, arrays
from campaign_engine.errors import NotFound, TransitionNotAllowed
from campaign_engine.models import Campaign, Reply
from campaign_engine.providers.base import Inbound, Notice, NoticeKind
from campaign_engine.rules.opt_out import intent
from campaign_engine.rules.opt_out.intent import Intent
from campaign_engine.rules.phone import key_or_none
from campaign_engine.services.company import audit, notifications
from campaign_engine.services.people import opt_outs
from campaign_engine.services.people.opt_outs import DISMISSED, HELD, OPTED_OUT, NewOptOut, Person

ANSWERS_WITHIN = timedelta(days=7)
CLOCKS_APART = timedelta(minutes=1)
"""A provider cuts its times to seconds and has its own clock: the message may seem later than the answer to it."""

MOST_COUNTED = 100
"""Undecided replies are counted up to here: every page shows the count."""

PRESSED = frozenset({"button", "interactive"})


@dataclass(frozen=True, slots=True)
class Received:
    """A message to one of our accounts."""

    account_id: int
    company_id: int
    inbound: Inbound


@dataclass(slots=True)
class _Wishes:
    """What the messages of a batch ask for, by person."""

    noted: dict[Person, NewOptOut] = field(default_factory=dict)
    resumed: dict[Person, datetime] = field(default_factory=dict)
    said_by: dict[Person, int] = field(default_factory=dict)  # the reply that decided

    def add(self, row: Row[Any]) -> None:
        """Take one reply into account: a person's last word counts, but a certain one wins over a likely one."""
        person: Person = (row.company_id, row.phone_key)
        if row.intent == Intent.RESUME:
            self.resumed[person] = row.received_at
            self.noted.pop(person, None)
            return
        kind = OPTED_OUT if row.intent == Intent.CERTAIN else HELD
        known = self.noted.get(person)
        if known is not None and (known.kind == OPTED_OUT or kind == HELD):
            return
        self.said_by[person] = row.id
        self.noted[person] = NewOptOut(
            company_id=row.company_id,
            phone_key=row.phone_key,
            kind=kind,
            source="button" if row.kind in PRESSED else "reply",
            at=row.received_at,
            campaign_id=row.campaign_id,
        )


# A quoted message (q) counts if its campaign is the company's own; it also says who the person is if the number is
# hidden. Otherwise the contact's (c) latest message (l) counts. All are found by index, so this costs the same in a
# ledger of millions. The planner may know nothing yet of a campaign just written: OFFSET 0 keeps it from reading all
# of its rows.
_STORE = text(
    """
    INSERT INTO replies (
      company_id, account_id, campaign_id, message_id, contact_id, provider_message_id, phone_key, sender, kind, text,
      payload, intent, received_at
    )
    SELECT i.company_id, i.account_id, coalesce(q.campaign_id, l.campaign_id), coalesce(q.id, l.id),
      coalesce(c.id, q.contact_id), i.provider_message_id,
      coalesce(c.phone_key, CASE WHEN i.is_phone THEN i.phone_key END, q.phone_key, i.phone_key),
      CASE WHEN i.is_phone AND i.phone_key = coalesce(c.phone_key, i.phone_key) THEN '+' || i.sender END,
      i.kind, i.text, i.payload, i.intent, i.received_at
    FROM unnest(
      CAST(:company_ids AS bigint[]), CAST(:account_ids AS bigint[]), CAST(:provider_message_ids AS text[]),
      CAST(:senders AS text[]), CAST(:phone_keys AS text[]), CAST(:are_phones AS boolean[]), CAST(:kinds AS text[]),
      CAST(:texts AS text[]), CAST(:payloads AS text[]),
      CAST(:intents AS text[]), CAST(:ats AS timestamptz[]), CAST(:answers AS text[])
    ) WITH ORDINALITY AS i(
      company_id, account_id, provider_message_id, sender, phone_key, is_phone, kind, text, payload, intent,
      received_at, answers, place
    )
    LEFT JOIN LATERAL (
      SELECT m.id, m.campaign_id, m.contact_id, m.phone_key
      FROM (SELECT * FROM messages WHERE provider_message_id = i.answers OFFSET 0) m
      JOIN campaigns g ON g.id = m.campaign_id AND g.company_id = i.company_id LIMIT 1
    ) q ON true
    LEFT JOIN LATERAL (
      SELECT * FROM (
        SELECT id, phone_key, 1 AS preference FROM contacts WHERE company_id = i.company_id AND wa_id = i.sender
        UNION ALL
        SELECT id, phone_key, 2 FROM contacts WHERE company_id = i.company_id AND phone_key = i.phone_key
      ) AS known ORDER BY preference, id LIMIT 1
    ) c ON true
    LEFT JOIN LATERAL (
      SELECT m.id, m.campaign_id FROM messages m
      WHERE q.id IS NULL AND m.contact_id = c.id AND m.account_id = i.account_id
        AND m.accepted_at BETWEEN i.received_at - :within AND i.received_at + :clocks_apart
      ORDER BY m.accepted_at DESC LIMIT 1
    ) l ON true
    ORDER BY i.received_at, i.place
    ON CONFLICT (account_id, provider_message_id) DO NOTHING
    RETURNING id, company_id, account_id, campaign_id, phone_key, kind, intent, received_at
    """
)


def receive(session: Session, received: Sequence[Received], *, now: datetime) -> list[int]:
    """Store what people wrote, one statement for all, and do what they ask; return the replies to be confirmed.

    Messages known already (by account and the provider's id) are ignored. A certain opt-out counts at once. A likely
    one is held, and the company is told. A wish to be written to again is followed, unless the company blocks.

    Side effects: replies, opt-outs, one notification per company for what has to be decided.
    """
    _follow_numbers(session, [each for each in received if each.inbound.kind == "number_changed"])
    rows = _store(session, [each for each in received if each.inbound.kind != "number_changed"])
    wishes = _Wishes()
    for row in sorted(rows, key=lambda row: (row.received_at, row.id)):
        if row.intent != Intent.NONE:
            wishes.add(row)
    changed = _obey(session, noted=wishes.noted, resumed=wishes.resumed, now=now)
    held = [person for person, noted in wishes.noted.items() if noted.kind == HELD]
    moot = dict.fromkeys((person for person in held if person not in changed), OPTED_OUT)
    opt_outs.settle_undecided(session, moot, now=now, if_moot=True)
    _tell(session, [person for person in held if person in changed])
    return sorted(wishes.said_by[person] for person in changed if wishes.noted[person].kind == OPTED_OUT)


def _obey(
    session: Session, *, noted: Mapping[Person, NewOptOut], resumed: Mapping[Person, datetime], now: datetime
) -> set[Person]:
    """Lift the opt-outs of people who asked for messages again at these times, then note new opt-outs and holds; return
    the people for whom a note changed something.

    Side effects: decides undecided replies whose meaning this makes clear.
    """
    opt_outs.lift_many(session, list(resumed.items()))
    changed = opt_outs.note_many(session, list(noted.values()))
    clear = dict.fromkeys(resumed, DISMISSED)
    clear |= {person: OPTED_OUT for person, each in noted.items() if each.kind == OPTED_OUT}
    # A wish to be written to again settles what was said before it, not what came since.
    until = {person: at for person, at in resumed.items() if clear[person] == DISMISSED}
    opt_outs.settle_undecided(session, clear, now=now, until=until)
    return changed


def _store(session: Session, received: Sequence[Received]) -> Sequence[Row[Any]]:
    if not received:
        return []
    inbound = [each.inbound for each in received]
    keys = [key_or_none(each.sender) for each in inbound]
    return session.execute(
        _STORE,
        {
            "company_ids": [each.company_id for each in received],
            "account_ids": [each.account_id for each in received],
            "provider_message_ids": [each.provider_message_id for each in inbound],
            "senders": [each.sender for each in inbound],
            "phone_keys": [key or each.sender for key, each in zip(keys, inbound, strict=True)],
            "are_phones": [key is not None for key in keys],
            "kinds": [each.kind for each in inbound],
            "texts": [each.text for each in inbound],
            "payloads": [each.payload for each in inbound],
            "intents": [_intent_of(each) for each in inbound],
            "ats": [each.at for each in inbound],
            "answers": [each.answers for each in inbound],
            "within": ANSWERS_WITHIN,
            "clocks_apart": CLOCKS_APART,
        },
    ).all()


def _intent_of(inbound: Inbound) -> Intent:
    if inbound.kind in PRESSED:
        return intent.read_button(inbound.text, inbound.payload).intent
    return intent.read(inbound.text).intent


def _follow_numbers(session: Session, moved: Sequence[Received]) -> None:
    """Let opt-outs follow people who have changed their number."""
    pairs = [
        (each.company_id, key_or_none(each.inbound.sender), key_or_none(each.inbound.payload or "")) for each in moved
    ]
    opt_outs.carry_over(session, [(company, old, new) for company, old, new in pairs if old and new and old != new])


def _tell(session: Session, held: Sequence[Person]) -> None:
    companies = [company_id for company_id, _ in held]
    for company_id in sorted(set(companies)):
        count = companies.count(company_id)
        notifications.notify(
            session,
            company_id=company_id,
            kind="replies_held",
            severity="warning",
            text="A reply may mean “stop”: decide whether to write to this person again."
            if count == 1
            else f"{count} replies may mean “stop”: decide whether to write to these people again.",
        )


_ALIASES = text(
    """
    SELECT DISTINCT ON (a.company_id, a.wa_id) a.company_id, a.wa_id, c.phone_key
    FROM unnest(CAST(:company_ids AS bigint[]), CAST(:aliases AS text[])) AS a(company_id, wa_id)
    JOIN contacts c ON c.company_id = a.company_id AND c.wa_id = a.wa_id ORDER BY a.company_id, a.wa_id, c.id
    """
)


def apply_preferences(session: Session, preferences: Sequence[tuple[int, Notice]], *, now: datetime) -> None:
    """Obey people who switched a company's marketing off, or on again, in WhatsApp: (company id, notice).

    Side effects: opt-outs; decides these people's held replies.
    """
    if not preferences:
        return
    people = [(company_id, notice.subject or "") for company_id, notice in preferences]
    rows = session.execute(_ALIASES, arrays(("company_ids", "aliases"), people))
    known = {(row.company_id, row.wa_id): row.phone_key for row in rows}
    noted: dict[Person, NewOptOut] = {}
    resumed: dict[Person, datetime] = {}
    for company_id, notice in sorted(preferences, key=lambda each: each[1].at or now):
        alias = notice.subject or ""
        key = known.get((company_id, alias)) or key_or_none(alias) or alias
        person, at = (company_id, key), notice.at or now
        if notice.kind is NoticeKind.MARKETING_RESUMED:
            resumed[person] = at
            noted.pop(person, None)
        else:
            noted[person] = NewOptOut(company_id, key, OPTED_OUT, "user_preferences", at)
    _obey(session, noted=noted, resumed=resumed, now=now)


def get(session: Session, company_id: int, reply_id: int) -> Reply:
    """Return a reply to the company; NotFound otherwise."""
    reply = session.get(Reply, reply_id, populate_existing=True)
    if reply is None or reply.company_id != company_id:
        raise NotFound("reply", reply_id)
    return reply


def of_company(
    session: Session,
    company_id: int,
    *,
    campaign_id: int | None = None,
    intent: str | None = None,
    undecided: bool = False,
    before_id: int | None = None,
    limit: int = 50,
) -> Sequence[Reply]:
    """Return replies to the company, newest first, from before `before_id`; the other arguments narrow them.

    Replies to a campaign include those to its test sends.
    """
    query = select(Reply).where(Reply.company_id == company_id)
    if intent is not None:
        query = query.where(Reply.intent == intent)
    if undecided:
        query = query.where(Reply.intent == "likely", Reply.decision.is_(None))
    if before_id is not None:
        query = query.where(Reply.id < before_id)
    query = query.order_by(Reply.id.desc()).limit(limit)
    if campaign_id is not None:
        # The newest of each, by its index; one query for all would read and sort every reply.
        is_test = and_(Campaign.parent_id == campaign_id, Campaign.kind == "test")
        answered = select(Campaign.id).where(or_(Campaign.id == campaign_id, is_test)).subquery()
        newest = aliased(Reply, query.where(Reply.campaign_id == answered.c.id).lateral())
        query = select(newest).join_from(answered, newest, true()).order_by(newest.id.desc()).limit(limit)
    return session.scalars(query).all()


def campaigns_of(session: Session, found: Sequence[Reply]) -> dict[int, tuple[int, str]]:
    """Return id and name of the campaigns to show for replies, by the replies' `campaign_id`.

    People do not see test sends as campaigns: a reply to one shows the tested campaign, or none if that is gone.
    """
    seen = aliased(Campaign)
    rows = session.execute(
        select(Campaign.id, seen.id, seen.name)
        .join(seen, seen.id == case((Campaign.kind == "test", Campaign.parent_id), else_=Campaign.id))
        .where(Campaign.id.in_({reply.campaign_id for reply in found if reply.campaign_id is not None}))
    )
    return {campaign_id: (seen_id, name) for campaign_id, seen_id, name in rows}


def undecided_count(session: Session, company_id: int, *, most: int = MOST_COUNTED) -> int:
    """Return how many replies wait for a decision, counted up to `most`."""
    found = session.scalar(
        text(
            "SELECT count(*) FROM (SELECT 1 FROM replies WHERE company_id = :id AND intent = 'likely'"
            " AND decision IS NULL LIMIT :most) AS undecided"
        ),
        {"id": company_id, "most": most},
    )
    return int(found or 0)


_DECIDE = text(
    """
    UPDATE replies r SET decision = :decision, decided_at = :now, decided_by = :actor
    WHERE r.company_id = :company_id AND r.phone_key = :key AND r.intent = 'likely' AND r.decision IS NULL
      AND r.received_at <= :until AND (r.id = :id OR NOT EXISTS (
        SELECT 1 FROM opt_outs o WHERE o.company_id = r.company_id AND o.phone_key = r.phone_key AND o.kind = 'held'
      ))
    RETURNING r.id
    """
)


def decide(session: Session, reply: Reply, *, decision: str, now: datetime) -> None:
    """Decide what a held reply meant, and with it every other held reply of the same person.

    `opted_out` makes the hold an opt-out; `dismissed` lifts the hold, and nothing else.

    Side effects: an entry in the audit log.

    Raises:
        TransitionNotAllowed: there is nothing to decide about it (any more).
    """
    if reply.intent != Intent.LIKELY or reply.decision is not None:
        raise _nothing_to_decide(reply)
    until = max(now, reply.received_at)  # the provider's clock may be ahead
    # The person's row goes first, as in `receive`. A doubt that arrives meanwhile either finds no hold and makes its
    # own, or has found this one and is decided with it. So no doubt is left that nobody can decide.
    if decision == OPTED_OUT:
        opt_outs.note_many(
            session,
            [NewOptOut(reply.company_id, reply.phone_key, OPTED_OUT, "reply", reply.received_at, reply.campaign_id)],
        )
    else:
        opt_outs.lift_many(session, [((reply.company_id, reply.phone_key), until)], kinds=(HELD,))
    actor = actor_of(session)
    decided = session.scalars(
        _DECIDE,
        {
            "id": reply.id,
            "decision": decision,
            "now": now,
            "until": until,
            "actor": actor.user_id if actor else None,
            "company_id": reply.company_id,
            "key": reply.phone_key,
        },
    ).all()
    session.refresh(reply)
    if reply.id not in decided:  # Somebody else was faster.
        raise _nothing_to_decide(reply)
    audit.record(session, "reply.decided", company_id=reply.company_id, subject=reply.id, decision=decision)


def _nothing_to_decide(reply: Reply) -> TransitionNotAllowed:
    status = "decided" if reply.decision else "no request to be left alone"
    return TransitionNotAllowed(kind="reply", verb="be decided", status=status, code="reply_decided")
