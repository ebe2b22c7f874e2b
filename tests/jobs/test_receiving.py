"""Applying stored webhooks as a job: what cannot be applied stands in nobody's way."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.models import Account, OptOut, Reply, WebhookEvent
from campaign_engine.providers.base import Inbound, Notice, StatusUpdate
from campaign_engine.providers.cloud_api.adapter import CloudApi
from campaign_engine.services.webhooks import deliveries
from jobs import queues, receiving, waking
from jobs.runtime import Runtime
from tests import factories
from tests.campaign_engine import numbered


class Hostile(CloudApi):
    """The Cloud API's adapter with a fault in it: some bodies break the reading."""

    def parse_statuses(self, payload: Mapping[str, Any]) -> Sequence[StatusUpdate]:
        """Break where the body says so."""
        if payload.get("break") == "statuses":
            raise KeyError("a bug of ours")
        if payload.get("break") == "database":
            raise OperationalError("SELECT", {}, Exception("PostgreSQL is away"))
        return super().parse_statuses(payload)

    def parse_inbound(self, payload: Mapping[str, Any]) -> Sequence[Inbound]:
        """Return what PostgreSQL does not take, where the body says so."""
        found = list(super().parse_inbound(payload))
        if payload.get("break") == "store":
            return [
                Inbound(each.number, each.provider_message_id, each.sender, each.at, "text", text="a\0b")
                for each in found
            ]
        return found

    def parse_notices(self, payload: Mapping[str, Any]) -> Sequence[Notice]:
        """Return a notice that cannot be obeyed, where the body says so."""
        found = list(super().parse_notices(payload))
        if payload.get("break") == "notices":
            return [Notice(kind=each.kind, value=each.value, subject="a\0b", language="en") for each in found]
        return found


@pytest.fixture
def number(current: Runtime) -> Account:
    current.providers = {"cloud_api": Hostile(version="v26.0", timeout_s=1)}
    with transaction() as session:
        return numbered.account(session, factories.company(session), unacknowledged_since=utc_now())


def said(number: Account, words: str, **fields: Any) -> bytes:
    value = {
        "metadata": {"phone_number_id": number.phone_number_id},
        "messages": [
            {
                "from": "5511987654321",
                "id": f"wamid.{uuid.uuid4().hex}",
                "timestamp": str(int(utc_now().timestamp())),
                "type": "text",
                "text": {"body": words},
            }
        ],
        "statuses": [{"id": "wamid.nobody", "status": "sent", "timestamp": "1764000000"}],
    }
    return body(number, "messages", value, **fields)


def body(number: Account, field: str, value: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"entry": [{"id": "WABA", "changes": [{"field": field, "value": value}]}], **fields}).encode()


def stored(number: Account, *bodies: bytes) -> None:
    with transaction() as session:
        for each in bodies:
            deliveries.store(session, provider="cloud_api", account_ids=[number.id], body=each, now=utc_now())


def failures() -> list[str | None]:
    with transaction() as session:
        events = session.scalars(select(WebhookEvent).order_by(WebhookEvent.id)).all()
        assert all(event.applied_at is not None for event in events)
        return [event.failure for event in events]


@contextmanager
def looking() -> Iterator[Any]:
    with transaction() as session:
        session.expire_all()
        yield session


def test_webhooks_that_break_the_reading_or_the_writing_do_not_hold_up_the_others(
    current: Runtime, number: Account
) -> None:
    bodies = [said(number, f"message {at}") for at in range(20)]
    bodies[3] = said(number, "x", **{"break": "statuses"})
    bodies[11] = said(number, "x", **{"break": "store"})
    stored(number, *bodies)
    receiving.apply_delivery_events()
    expected: list[str | None] = [None] * 20
    expected[3], expected[11] = "internal error: KeyError", "internal error: DataError"
    assert failures() == expected
    with looking() as session:
        assert session.scalar(text("SELECT count(*) FROM replies")) == 18


def test_a_notice_that_cannot_be_obeyed_is_set_aside_and_the_rest_is_done(current: Runtime, number: Account) -> None:
    value = {"event": "PAUSED", "message_template_name": "promo", "message_template_language": "en"}
    field = "message_template_status_update"
    stored(number, body(number, field, value, **{"break": "notices"}), said(number, "oi"), body(number, field, value))
    receiving.apply_delivery_events()
    assert failures() == ["internal error: DataError", None, None]
    with looking() as session:
        assert session.scalar(text("SELECT status FROM templates")) == "PAUSED"
        assert session.scalar(text("SELECT count(*) FROM replies")) == 1


def test_a_database_that_is_away_is_no_fault_of_the_webhook(current: Runtime, number: Account) -> None:
    stored(number, said(number, "x", **{"break": "database"}))
    with pytest.raises(OperationalError):
        receiving.apply_delivery_events()
    with looking() as session:
        event = session.scalars(select(WebhookEvent)).one()
        assert (event.applied_at, event.failure) == (None, None)


def test_what_a_batch_leaves_to_be_done_is_done(current: Runtime, number: Account) -> None:
    stored(number, said(number, "SAIR"), said(number, "oi"))
    receiving.apply_delivery_events()
    with looking() as session:
        account = session.get_one(Account, number.id)
        assert (account.unacknowledged_since, account.business_account_id) == (None, "WABA")
        assert session.scalars(select(OptOut)).one().kind == "opted_out"
        assert session.scalars(select(Reply.intent).where(Reply.confirm_until.is_not(None))).all() == ["certain"]
    assert waking.lanes_with_a_turn(current.redis, [number.id]) == {number.id}, "it confirms the opt-out"


def test_a_webhook_that_waits_for_the_answer_to_a_send_is_looked_at_again_at_its_time(
    current: Runtime, number: Account
) -> None:
    stored(number, said(number, "oi"))
    at = utc_now() + timedelta(seconds=1)
    with transaction() as session:
        session.execute(text("UPDATE webhook_events SET apply_after = :at"), {"at": at})
    for _ in range(2):
        receiving.apply_delivery_events()
    registry = queues.queue(queues.DELIVERY_EVENTS, current.redis).scheduled_job_registry
    assert [score for _, score in current.redis.zrange(registry.key, 0, -1, withscores=True)] == [
        pytest.approx(at.timestamp(), abs=1e-3)
    ]
