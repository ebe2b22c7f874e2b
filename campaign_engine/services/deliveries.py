"""What providers report: webhooks stored raw at once, applied later in batches.

Duplicates, any order, statuses that arrive before the send has been settled, and ids nobody knows are all harmless:
a status is one compare-and-set over the states it may replace.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import DateTime, Text, Uuid

from campaign_engine.models import Account, AccountStatus, WebhookEvent
from campaign_engine.providers import cloud_api
from campaign_engine.providers.base import Provider, StatusUpdate
from campaign_engine.rules.states import STATUS_MAY_REPLACE, MessageStatus
from campaign_engine.services import campaigns
from campaign_engine.vault import Vault


@dataclass(frozen=True, slots=True)
class Applied:
    """What one batch did."""

    event_count: int
    update_count: int  # statuses read out of the events
    message_count: int  # messages they belonged to


@dataclass(slots=True)
class _Report:
    """All that a batch says of one message; the first time of each status counts."""

    moments: dict[MessageStatus, datetime] = field(default_factory=dict)
    provider_message_id: str | None = None
    failure: StatusUpdate | None = None

    def add(self, update: StatusUpdate) -> None:
        self.moments.setdefault(update.status, update.at)
        self.provider_message_id = self.provider_message_id or update.provider_message_id
        if update.status is MessageStatus.FAILED:
            self.failure = self.failure or update


def accounts_that_signed(session: Session, *, vault: Vault, body: bytes, signature: str) -> list[int]:
    """Return the accounts named in a Cloud API webhook whose app secret signed it; empty means: refuse it.

    A webhook may name numbers of several companies. It speaks only for those whose own secret made the signature,
    so that nobody can report on another company's messages.
    """
    payload = _json_object(body)
    numbers = cloud_api.numbers_in(payload) if payload is not None else set()
    query = select(Account.id, Account.app_secret_encrypted).where(
        Account.status != AccountStatus.DELETED, Account.app_secret_encrypted.is_not(None)
    )
    # Events about templates or the business account name no number: then any known secret will do.
    if numbers:
        query = query.where(Account.phone_number_id.in_(numbers))
    verdicts: dict[str, bool] = {}
    signed: list[int] = []
    for account_id, encrypted in session.execute(query):
        secret = vault.decrypt(encrypted or b"")
        if secret not in verdicts:
            verdicts[secret] = cloud_api.signature_matches(secret, body, signature)
        if verdicts[secret]:
            signed.append(account_id)
    return signed


def verify_token_is_known(session: Session, *, vault: Vault, token: str) -> bool:
    """Say whether some account expects this verify token; compares in constant time."""
    encrypted = session.scalars(
        select(Account.verify_token_encrypted).where(
            Account.status != AccountStatus.DELETED, Account.verify_token_encrypted.is_not(None)
        )
    )
    return any(cloud_api.secrets_equal(vault.decrypt(stored), token) for stored in encrypted if stored is not None)


def store(session: Session, *, provider: str, account_ids: Sequence[int], body: bytes, now: datetime) -> None:
    """Keep a webhook as received; nothing is read out of it here."""
    session.add(WebhookEvent(provider=provider, account_ids=list(account_ids), body=body, received_at=now))


def waiting_count(session: Session) -> int:
    """Return how many stored webhooks have not been applied."""
    found = session.scalar(text("SELECT count(*) FROM webhook_events WHERE applied_at IS NULL"))
    return int(found or 0)


def apply_waiting(
    session: Session, *, providers: Mapping[str, Provider], now: datetime, batch: int = 200
) -> Applied | None:
    """Apply the oldest stored webhooks, at most `batch` of them; None when there were none.

    Side effects: moves message rows, completes campaigns whose last open row this settled. A body that cannot be
    read is marked with the reason and kept.
    """
    events = session.scalars(
        select(WebhookEvent)
        .where(WebhookEvent.applied_at.is_(None))
        .order_by(WebhookEvent.id)
        .limit(batch)
        .with_for_update(skip_locked=True)
    ).all()
    if not events:
        return None
    companies = _companies_of(session, {account for event in events for account in event.account_ids})
    reported: list[tuple[StatusUpdate, frozenset[int]]] = []
    for event in events:
        event.applied_at = now
        payload = _json_object(event.body)
        if payload is None:
            event.failure = "The body is not a JSON object."
            continue
        allowed = frozenset(companies[account] for account in event.account_ids if account in companies)
        reported.extend((update, allowed) for update in providers[event.provider].parse_statuses(payload))
    reports = _by_message(session, reported)
    campaign_ids = _apply(session, reports)
    campaigns.complete_finished(session, campaign_ids, now=now)
    return Applied(event_count=len(events), update_count=len(reported), message_count=len(reports))


def _json_object(body: bytes) -> Mapping[str, Any] | None:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def _companies_of(session: Session, account_ids: set[int]) -> dict[int, int]:
    rows = session.execute(select(Account.id, Account.company_id).where(Account.id.in_(account_ids)))
    return {row.id: row.company_id for row in rows}


def _by_message(session: Session, reported: Sequence[tuple[StatusUpdate, frozenset[int]]]) -> dict[uuid.UUID, _Report]:
    """Find the rows the updates belong to, lock them in the order of their ids, and fold the updates row by row."""
    own_ids = {identity for update, _ in reported if (identity := _own_id(update)) is not None}
    foreign_ids = {
        update.provider_message_id for update, _ in reported if _own_id(update) is None and update.provider_message_id
    }
    rows = session.execute(
        text(
            "SELECT m.id, m.provider_message_id, c.company_id FROM messages m JOIN campaigns c ON c.id = m.campaign_id"
            " WHERE m.id = ANY(:own) OR m.provider_message_id = ANY(:foreign) ORDER BY m.id FOR UPDATE OF m"
        ).bindparams(bindparam("own", type_=ARRAY(Uuid)), bindparam("foreign", type_=ARRAY(Text))),
        {"own": list(own_ids), "foreign": list(foreign_ids)},
    ).all()
    company_of = {row.id: row.company_id for row in rows}
    by_provider_id = {row.provider_message_id: row.id for row in rows if row.provider_message_id}

    reports: dict[uuid.UUID, _Report] = {}
    for update, allowed in reported:
        identity = _own_id(update) or by_provider_id.get(update.provider_message_id)
        if identity is not None and identity in company_of and company_of[identity] in allowed:
            reports.setdefault(identity, _Report()).add(update)
    return reports


def _own_id(update: StatusUpdate) -> uuid.UUID | None:
    try:
        return uuid.UUID(update.callback_data) if update.callback_data else None
    except ValueError:
        return None


def _states(status: MessageStatus) -> str:
    return ", ".join(f"'{state}'" for state in sorted(STATUS_MAY_REPLACE[status]))


_APPLY = text(
    f"""
    UPDATE messages m SET
      status = CASE
        WHEN r.read_at IS NOT NULL AND m.status IN ({_states(MessageStatus.READ)}) THEN 'read'
        WHEN r.delivered_at IS NOT NULL AND m.status IN ({_states(MessageStatus.DELIVERED)}) THEN 'delivered'
        WHEN r.failed_at IS NOT NULL AND r.delivered_at IS NULL AND r.read_at IS NULL
          AND m.status IN ({_states(MessageStatus.FAILED)}) THEN 'failed'
        WHEN r.sent_at IS NOT NULL AND m.status IN ({_states(MessageStatus.SENT)}) THEN 'sent'
        ELSE m.status
      END,
      status_reason = NULL,
      next_attempt_at = NULL,
      provider_message_id = coalesce(m.provider_message_id, r.provider_message_id),
      accepted_at = coalesce(m.accepted_at, r.sent_at, r.delivered_at, r.read_at, r.failed_at),
      sent_at = coalesce(m.sent_at, r.sent_at),
      delivered_at = coalesce(m.delivered_at, r.delivered_at, r.read_at),
      read_at = coalesce(m.read_at, r.read_at),
      failed_at = coalesce(m.failed_at, r.failed_at),
      -- What an earlier attempt met is of no interest once the message is on its way.
      error_class = CASE WHEN r.failed_at IS NULL AND m.status IN ('pending', 'sending', 'unknown') THEN NULL
        ELSE coalesce(r.error_class, m.error_class) END,
      error_code = CASE WHEN r.failed_at IS NULL AND m.status IN ('pending', 'sending', 'unknown') THEN NULL
        ELSE coalesce(r.error_code, m.error_code) END,
      error_detail = CASE WHEN r.failed_at IS NULL AND m.status IN ('pending', 'sending', 'unknown') THEN NULL
        ELSE coalesce(r.error_detail, m.error_detail) END
    FROM unnest(
      :ids, :sents, :delivereds, :reads, :faileds, :provider_message_ids, :error_classes, :error_codes, :error_details
    ) AS r(id, sent_at, delivered_at, read_at, failed_at, provider_message_id, error_class, error_code, error_detail)
    WHERE m.id = r.id AND m.status <> 'skipped' AND (m.status <> 'pending' OR m.attempts > 0)
    RETURNING m.campaign_id
    """  # noqa: S608 - the states are our own constants
).bindparams(
    bindparam("ids", type_=ARRAY(Uuid)),
    *(bindparam(name, type_=ARRAY(DateTime(timezone=True))) for name in ("sents", "delivereds", "reads", "faileds")),
    *(
        bindparam(name, type_=ARRAY(Text))
        for name in ("provider_message_ids", "error_classes", "error_codes", "error_details")
    ),
)


def _apply(session: Session, reports: Mapping[uuid.UUID, _Report]) -> set[int]:
    if not reports:
        return set()
    items = list(reports.values())
    rows = session.execute(
        _APPLY,
        {
            "ids": list(reports),
            "sents": [item.moments.get(MessageStatus.SENT) for item in items],
            "delivereds": [item.moments.get(MessageStatus.DELIVERED) for item in items],
            "reads": [item.moments.get(MessageStatus.READ) for item in items],
            "faileds": [item.moments.get(MessageStatus.FAILED) for item in items],
            "provider_message_ids": [item.provider_message_id for item in items],
            "error_classes": [item.failure.error_class if item.failure else None for item in items],
            "error_codes": [item.failure.error_code if item.failure else None for item in items],
            "error_details": [item.failure.error_detail if item.failure else None for item in items],
        },
    )
    return {row.campaign_id for row in rows}
