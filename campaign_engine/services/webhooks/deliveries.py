"""What providers report: webhooks stored raw at once, applied later in batches.

A status is one compare-and-set over the states it may replace. So duplicates, any order, unknown ids, and statuses that
arrive before the send is settled are all harmless.

A batch needs one statement for each kind of thing in it: statuses move messages, what people wrote becomes replies.
`Applied` tells the caller what is left to do after the commit (`acknowledge`, `apply_notices`). Each of these needs a
transaction of its own, because sending locks accounts and campaigns in another order.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, or_, select, text
from sqlalchemy.orm import Session

from campaign_engine import following
from campaign_engine.db import affected
from campaign_engine.logs import get_logger
from campaign_engine.models import Account, WebhookEvent
from campaign_engine.providers.base import Notice, NoticeKind, Provider, StatusUpdate
from campaign_engine.providers.values import object_in
from campaign_engine.rules.states import NOT_YET_SENT, STATUS_MAY_REPLACE, MessageStatus
from campaign_engine.services.accounts import accounts
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.people import confirmations, opt_outs
from campaign_engine.services.webhooks import early_statuses, notices, replies
from campaign_engine.services.webhooks.replies import Received

log = get_logger(__name__)

PREFERENCES = frozenset({NoticeKind.MARKETING_STOPPED, NoticeKind.MARKETING_RESUMED})
"""Notices about people, not about accounts: the batch obeys them itself."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What one batch did, and what is left to be done after its commit."""

    event_count: int
    update_count: int  # statuses read out of the events
    message_count: int  # messages they belonged to
    reply_count: int = 0  # messages of people read out of the events
    heard_from: Mapping[int, str | None] = field(default_factory=dict)  # business account, by account with a status
    owing: Sequence[int] = ()  # accounts that owe somebody the confirmation of an opt-out
    with_notices: Sequence[int] = ()  # events that wait for `apply_notices`


@dataclass(slots=True)
class _Report:
    """All that a batch says about one message; the first time of each status counts."""

    moments: dict[MessageStatus, datetime] = field(default_factory=dict)
    provider_message_id: str | None = None
    failure: StatusUpdate | None = None

    def add(self, update: StatusUpdate) -> None:
        self.moments.setdefault(update.status, update.at)
        self.provider_message_id = self.provider_message_id or update.provider_message_id
        if update.status is MessageStatus.FAILED:
            self.failure = self.failure or update


@dataclass(frozen=True, slots=True)
class _Speaker:
    """An account that a webhook may speak of; `names` is None when the address posted to names it already."""

    account_id: int
    company_id: int
    names: frozenset[str] | None


@dataclass(slots=True)
class _Batch:
    """What the events of a batch say, and whose accounts they may speak of."""

    statuses: list[tuple[StatusUpdate, frozenset[int]]] = field(default_factory=list)  # and the companies concerned
    received: list[Received] = field(default_factory=list)
    preferences: list[tuple[int, Notice]] = field(default_factory=list)
    heard_from: dict[int, str | None] = field(default_factory=dict)
    with_notices: list[int] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)

    def add(self, event_id: int, payload: Mapping[str, Any], provider: Provider, by: Sequence[_Speaker]) -> None:
        """Read one event, on behalf of the accounts that signed it."""
        companies = frozenset(speaker.company_id for speaker in by)
        numbers: dict[str, str | None] = {}
        for update in provider.parse_statuses(payload):
            self.statuses.append((update, companies))
            numbers[update.number] = update.business
        for number, business in numbers.items():
            self.heard_from.update((speaker.account_id, business) for speaker in _of_number(by, number))
        for inbound in provider.parse_inbound(payload):
            self.received.extend(
                Received(account_id=speaker.account_id, company_id=speaker.company_id, inbound=inbound)
                for speaker in _of_number(by, inbound.number)
            )
        for notice in provider.parse_notices(payload):
            if notice.kind in PREFERENCES:
                mine = by if notice.number is None else _of_number(by, notice.number)
                self.preferences.extend((company_id, notice) for company_id in {each.company_id for each in mine})
            elif event_id not in self.with_notices[-1:]:
                self.with_notices.append(event_id)


def _of_number(speakers: Sequence[_Speaker], number: str) -> Iterator[_Speaker]:
    return (speaker for speaker in speakers if speaker.names is None or number in speaker.names)


def store(session: Session, *, provider: str, account_ids: Sequence[int], body: bytes, now: datetime) -> None:
    """Keep a webhook as received; nothing is read out of it here, it is applied after the commit."""
    session.add(WebhookEvent(provider=provider, account_ids=list(account_ids), body=body, received_at=now))
    following.note(session, following.ApplyWebhooks())


def waiting_count(session: Session) -> int:
    """Return how many stored webhooks have not been applied."""
    return session.scalar(select(func.count()).where(WebhookEvent.applied_at.is_(None))) or 0


def apply_waiting(
    session: Session, *, providers: Mapping[str, Provider], now: datetime, batch: int = 200, only: int | None = None
) -> Applied | None:
    """Apply the oldest stored webhooks that are due, at most `batch` of them, or `only` one; None when there is none.

    Side effects: moves message rows, completes campaigns whose last open row was settled, writes replies and opt-outs.
    A body that cannot be read is marked with the reason and kept. Events with notices wait until `apply_notices`; if
    that is lost, they are applied again as a whole, which is harmless.
    """
    events = session.scalars(
        select(WebhookEvent)
        .where(*_is_due(now), *([WebhookEvent.id == only] if only is not None else []))
        .order_by(WebhookEvent.id)
        .limit(batch)
        .with_for_update(skip_locked=True)
    ).all()
    if not events:
        return None
    events = early_statuses.hold_back(session, events, providers=providers, now=now)
    speakers = _speakers(session, {account for event in events for account in event.account_ids}, providers)
    said = _Batch()
    for event in events:
        payload = object_in(event.body)
        if payload is None:
            said.unreadable.append(event.id)
            continue
        by = [speakers[account] for account in event.account_ids if account in speakers]
        said.add(event.id, payload, providers[event.provider], by)
    left = set(said.with_notices)
    _mark_applied(session, [event.id for event in events if event.id not in left], said.unreadable, now=now)
    reports = _by_message(session, said.statuses)
    campaign_ids = _apply(session, reports)
    lifecycle.complete_finished(session, campaign_ids, now=now)
    _note_refused(session, reports, now=now)
    owing = confirmations.owe(session, replies.receive(session, said.received, now=now))
    replies.apply_preferences(session, said.preferences, now=now)
    return Applied(
        event_count=len(events),
        update_count=len(said.statuses),
        message_count=len(reports),
        reply_count=len(said.received),
        heard_from=said.heard_from,
        owing=owing,
        with_notices=said.with_notices,
    )


def due(session: Session, *, now: datetime, limit: int) -> Sequence[int]:
    """Return the ids of the oldest stored webhooks that are due."""
    return session.scalars(select(WebhookEvent.id).where(*_is_due(now)).order_by(WebhookEvent.id).limit(limit)).all()


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (WebhookEvent.applied_at.is_(None), or_(WebhookEvent.apply_after.is_(None), WebhookEvent.apply_after <= now))


def _mark_applied(session: Session, event_ids: Sequence[int], unreadable: Sequence[int], *, now: datetime) -> None:
    reason = "The body is not a JSON object."
    session.execute(
        text(
            "UPDATE webhook_events SET applied_at = CAST(:now AS timestamptz),"
            " failure = CASE WHEN id = ANY(CAST(:unreadable AS bigint[])) THEN :reason END"
            " WHERE id = ANY(CAST(:ids AS bigint[]))"
        ),
        {"now": now, "ids": list(event_ids), "unreadable": list(unreadable), "reason": reason},
    )
    for event_id in unreadable:
        log.error("webhook.set_aside", event_id=event_id, reason=reason)


def next_held_back(session: Session, *, now: datetime) -> datetime | None:
    """Return when to look again at the webhooks that wait for the answer to a send."""
    return session.scalar(
        select(func.min(WebhookEvent.apply_after)).where(
            WebhookEvent.applied_at.is_(None), WebhookEvent.apply_after > now
        )
    )


# Locked in the order of the ids, so that two batches never wait for each other in a ring. Rows that would not change
# are not locked at all.
_ACKNOWLEDGE = text(
    """
    UPDATE accounts SET unacknowledged_since = NULL, business_account_id = coalesce(heard.business, business_account_id)
    FROM (
      SELECT a.id, h.business FROM unnest(CAST(:ids AS bigint[]), CAST(:businesses AS text[])) AS h(id, business)
        JOIN accounts a ON a.id = h.id
      WHERE a.unacknowledged_since IS NOT NULL
        OR a.business_account_id IS DISTINCT FROM coalesce(h.business, a.business_account_id)
      ORDER BY a.id FOR NO KEY UPDATE OF a
    ) AS heard
    WHERE accounts.id = heard.id
    """
)


def acknowledge(session: Session, heard_from: Mapping[int, str | None]) -> None:
    """Note that webhooks of accounts arrive, and which business account each belongs to.

    Call it in a transaction of its own: sending locks accounts and campaigns in another order than a batch would.
    """
    session.execute(_ACKNOWLEDGE, {"ids": list(heard_from), "businesses": list(heard_from.values())})


def apply_notices(session: Session, event_id: int, *, providers: Mapping[str, Provider], now: datetime) -> None:
    """Apply the notices of one event and mark it as applied; harmless if somebody has applied it meanwhile.

    Call it in a transaction of its own, like `acknowledge`.
    """
    event = session.scalars(
        select(WebhookEvent)
        .where(WebhookEvent.id == event_id, WebhookEvent.applied_at.is_(None))
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if event is None:
        return
    event.applied_at = now
    told = providers[event.provider].parse_notices(object_in(event.body) or {})
    notices.apply(
        session,
        [notice for notice in told if notice.kind not in PREFERENCES],
        account_ids=event.account_ids,
        at=event.received_at,
    )


def set_aside(session: Session, event_id: int, *, reason: str, now: datetime) -> None:
    """Give up a stored webhook that cannot be applied, so that nothing waits for it; keep it, with the reason."""
    result = session.execute(
        text("UPDATE webhook_events SET applied_at = :now, failure = :reason WHERE id = :id AND applied_at IS NULL"),
        {"now": now, "reason": reason, "id": event_id},
    )
    if affected(result):
        log.error("webhook.set_aside", event_id=event_id, reason=reason)


def _speakers(session: Session, account_ids: set[int], providers: Mapping[str, Provider]) -> dict[int, _Speaker]:
    names = sorted({each.traits.named_by for each in providers.values()})
    rows = session.execute(
        select(Account.id, Account.company_id, Account.provider, *map(accounts.column_of, names)).where(
            Account.id.in_(account_ids)
        )
    )
    return {row.id: _Speaker(row.id, row.company_id, _names_of(row, providers[row.provider])) for row in rows}


def _names_of(row: Row[Any], provider: Provider) -> frozenset[str] | None:
    return None if provider.door.is_keyed else frozenset({getattr(row, provider.traits.named_by)})


def _by_message(session: Session, reported: Sequence[tuple[StatusUpdate, frozenset[int]]]) -> dict[uuid.UUID, _Report]:
    """Find the rows the updates belong to, lock them in the order of their ids, and fold the updates row by row."""
    own_ids = {identity for update, _ in reported if (identity := _own_id(update)) is not None}
    foreign_ids = {
        update.provider_message_id for update, _ in reported if _own_id(update) is None and update.provider_message_id
    }
    if not own_ids and not foreign_ids:
        return {}
    rows = session.execute(
        text(
            "SELECT m.id, m.status, m.attempts, m.provider_message_id, c.company_id"
            " FROM messages m JOIN campaigns c ON c.id = m.campaign_id"
            " WHERE m.id = ANY(CAST(:own AS uuid[])) OR m.provider_message_id = ANY(CAST(:foreign AS text[]))"
            " ORDER BY m.id FOR UPDATE OF m"
        ),
        {"own": list(own_ids), "foreign": list(foreign_ids)},
    ).all()
    known = {row.id: row for row in rows}
    by_provider_id = {row.provider_message_id: row.id for row in rows if row.provider_message_id}

    reports: dict[uuid.UUID, _Report] = {}
    for update, allowed in reported:
        identity = _own_id(update) or by_provider_id.get(update.provider_message_id)
        if identity is None or identity not in known or known[identity].company_id not in allowed:
            continue
        if not _is_of_an_earlier_try(update, known[identity]):
            reports.setdefault(identity, _Report()).add(update)
    return reports


def _is_of_an_earlier_try(update: StatusUpdate, row: Row[Any]) -> bool:
    """Say whether an update speaks of an earlier try of the same message, and so says nothing about the present one.

    While a row waits, is being sent or is unknown, it holds the provider's id of a try that is known to have failed. A
    status with this id is old news. A failure with any other id is about the present try: it may be faster than the
    answer that names it. Once the row has left those states, it holds the id of the present try. Proof that a person
    has the message counts, whichever try it was.
    """
    if None in (update.provider_message_id, row.provider_message_id):
        return False
    is_named = update.provider_message_id == row.provider_message_id
    if row.status in NOT_YET_SENT:
        has_no_try = row.status == MessageStatus.PENDING and row.attempts == 0
        return (is_named or has_no_try) and update.status in (MessageStatus.SENT, MessageStatus.FAILED)
    return update.status is MessageStatus.FAILED and (not is_named or row.status == MessageStatus.FAILED)


def _note_refused(session: Session, reports: Mapping[uuid.UUID, _Report], *, now: datetime) -> None:
    refused = {
        identity: report.failure.error_code
        for identity, report in reports.items()
        if report.failure is not None and report.failure.person_refuses_marketing
    }
    opt_outs.note_refused(session, refused, now=now)


def _own_id(update: StatusUpdate) -> uuid.UUID | None:
    try:
        return uuid.UUID(update.callback_data) if update.callback_data else None
    except ValueError:
        return None


def _listed(states: Iterable[MessageStatus]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


def _states(status: MessageStatus) -> str:
    return _listed(STATUS_MAY_REPLACE[status])


_NOT_YET_SENT = _listed(NOT_YET_SENT)

_FAILS = f"""
    (r.delivered_at IS NULL AND r.read_at IS NULL
      AND (m.status = 'failed' OR (r.failed_at IS NOT NULL AND m.status IN ({_states(MessageStatus.FAILED)}))))
"""
"""SQL: the message counts as failed. A failure counts until it is known that the person has the message."""

_APPLY = text(
    f"""
    UPDATE messages m SET
      status = CASE
        WHEN r.read_at IS NOT NULL AND m.status IN ({_states(MessageStatus.READ)}) THEN 'read'
        WHEN r.delivered_at IS NOT NULL AND m.status IN ({_states(MessageStatus.DELIVERED)}) THEN 'delivered'
        WHEN {_FAILS} THEN 'failed'
        WHEN r.sent_at IS NOT NULL AND m.status IN ({_states(MessageStatus.SENT)}) THEN 'sent'
        ELSE m.status
      END,
      status_reason = NULL,
      next_attempt_at = NULL,
      provider_message_id = CASE WHEN m.status IN ({_NOT_YET_SENT})
        THEN coalesce(r.provider_message_id, m.provider_message_id)
        ELSE coalesce(m.provider_message_id, r.provider_message_id) END,
      accepted_at = coalesce(m.accepted_at, r.sent_at, r.delivered_at, r.read_at, r.failed_at),
      sent_at = coalesce(m.sent_at, r.sent_at),
      delivered_at = coalesce(m.delivered_at, r.delivered_at, r.read_at),
      read_at = coalesce(m.read_at, r.read_at),
      -- The failure of an earlier try, or one that was outvoted, says nothing: the message is on its way.
      failed_at = CASE WHEN {_FAILS} THEN coalesce(m.failed_at, r.failed_at) END,
      error_class = CASE WHEN {_FAILS} THEN coalesce(r.error_class, m.error_class) END,
      error_code = CASE WHEN {_FAILS} THEN coalesce(r.error_code, m.error_code) END,
      error_detail = CASE WHEN {_FAILS} THEN coalesce(r.error_detail, m.error_detail) END
    FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS r(
      id uuid, sent_at timestamptz, delivered_at timestamptz, read_at timestamptz, failed_at timestamptz,
      provider_message_id text, error_class text, error_code text, error_detail text
    )
    WHERE m.id = r.id AND m.status <> 'skipped'
      AND (m.status <> 'pending' OR m.attempts > 0 OR m.provider_message_id IS NOT NULL)
    RETURNING m.campaign_id
    """  # noqa: S608 - the states are our own constants
)


def _apply(session: Session, reports: Mapping[uuid.UUID, _Report]) -> set[int]:
    if not reports:
        return set()
    # One text instead of nine arrays, as in `messages.settling`.
    rows = json.dumps([_as_json(identity, report) for identity, report in reports.items()])
    return set(session.scalars(_APPLY, {"rows": rows}))


def _as_json(identity: uuid.UUID, report: _Report) -> dict[str, str | None]:
    failure = report.failure
    moments = {f"{status}_at": at.isoformat() for status, at in report.moments.items()}
    said = {"id": str(identity), "provider_message_id": report.provider_message_id, **moments}
    if failure is not None:
        said |= {
            "error_class": failure.error_class,
            "error_code": failure.error_code,
            "error_detail": failure.error_detail,
        }
    return said
