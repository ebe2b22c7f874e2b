"""Webhooks: any order, any number of times, for rows in any state; and never for another company's."""

import itertools
import json
import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from campaign_engine import providers
from campaign_engine.config import Config
from campaign_engine.errors import NotAuthenticated
from campaign_engine.models import Account, Campaign, Company
from campaign_engine.providers.base import Accepted
from campaign_engine.providers.cloud_api.door import DOOR, signature_of
from campaign_engine.providers.doors import Knock
from campaign_engine.services.campaigns import reading
from campaign_engine.services.messages import settling
from campaign_engine.services.outlook import progress
from campaign_engine.services.webhooks import deliveries
from campaign_engine.services.webhooks.known_accounts import AccountsBehindTheDoor
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.numbered import NOW
from tests.factories import VAULT

PROVIDERS = providers.build(Config())
SECONDS = int(NOW.timestamp())


@pytest.fixture
def campaign(session: Session) -> Campaign:
    owner = factories.user(session, factories.company(session))
    number = numbered.account(session, owner.company, phone_number_id="111")
    return numbered.running(session, owner, accounts=[number], count=3)


def _number(session: Session, campaign: Campaign) -> Account:
    return session.get_one(Account, reading.account_ids_of(session, [campaign.id])[campaign.id][0])


def _send(session: Session, campaign: Campaign, count: int = 1) -> list[uuid.UUID]:
    """Send `count` messages; their provider ids are `wamid.<id>`."""
    token = uuid.uuid4()
    number = _number(session, campaign)
    rows = numbered.claim_next(session, account=number, token=token, sequence=[campaign.id] * count, now=NOW)
    settling.settle(
        session,
        token=token,
        settlements=[settling.settlement_of(row, Accepted(f"wamid.{row.message_id}", None), now=NOW) for row in rows],
    )
    return [row.message_id for row in rows]


def _status(message: uuid.UUID | str, status: str, *, at: int = SECONDS, **fields: Any) -> dict[str, Any]:
    status_object = {
        "id": f"wamid.{message}",
        "status": status,
        "timestamp": str(at),
        "recipient_id": "5511900000000",
        "biz_opaque_callback_data": str(message),
        **fields,
    }
    return {key: value for key, value in status_object.items() if value is not None}


def _body(statuses: Sequence[dict[str, Any]], number: str = "111") -> bytes:
    value = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": number}, "statuses": list(statuses)}
    payload = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "waba", "changes": [{"field": "messages", "value": value}]}],
    }
    return json.dumps(payload).encode()


def _deliver(session: Session, campaign: Campaign, *statuses: dict[str, Any]) -> None:
    number = _number(session, campaign)
    deliveries.store(session, provider="cloud_api", account_ids=[number.id], body=_body(statuses), now=NOW)
    session.flush()
    assert deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW) is not None
    session.expire_all()


def _row(session: Session, message: uuid.UUID) -> Any:
    return session.execute(text("SELECT * FROM messages WHERE id = :id"), {"id": message}).one()


def test_a_message_is_followed_to_read(session: Session, campaign: Campaign) -> None:
    [message] = _send(session, campaign)
    for at, status in enumerate(("sent", "delivered", "read")):
        _deliver(session, campaign, _status(message, status, at=SECONDS + at))
        assert _row(session, message).status == status
    row = _row(session, message)
    assert [int(moment.timestamp()) - SECONDS for moment in (row.sent_at, row.delivered_at, row.read_at)] == [0, 1, 2]
    session.refresh(campaign)
    assert (campaign.funnel_sent_count, campaign.funnel_delivered_count, campaign.funnel_read_count) == (1, 1, 1)


@pytest.mark.parametrize("order", list(itertools.permutations(("sent", "delivered", "read"))))
@pytest.mark.parametrize("together", [True, False])
def test_any_order_ends_the_same(session: Session, campaign: Campaign, order: tuple[str, ...], together: bool) -> None:
    [message] = _send(session, campaign)
    statuses = [_status(message, status, at=SECONDS + ("sent", "delivered", "read").index(status)) for status in order]
    if together:
        _deliver(session, campaign, *statuses)
    else:
        for status in statuses:
            _deliver(session, campaign, status)
    row = _row(session, message)
    assert row.status == "read"
    assert int(row.sent_at.timestamp()) == SECONDS
    assert int(row.read_at.timestamp()) == SECONDS + 2
    assert progress.miscounted(session) == []


def test_read_without_delivered_counts_as_delivered(session: Session, campaign: Campaign) -> None:
    [message] = _send(session, campaign)
    _deliver(session, campaign, _status(message, "read"))
    session.refresh(campaign)
    assert (campaign.read_count, campaign.funnel_delivered_count, campaign.funnel_read_count) == (1, 1, 1)


def test_duplicates_are_harmless(session: Session, campaign: Campaign) -> None:
    [message] = _send(session, campaign)
    for _ in range(3):
        _deliver(session, campaign, *[_status(message, "delivered")] * 5)
    session.refresh(campaign)
    assert (campaign.delivered_count, campaign.funnel_delivered_count) == (1, 1)


def test_a_webhook_before_the_send_is_settled_settles_it(session: Session, campaign: Campaign) -> None:
    token = uuid.uuid4()
    rows = numbered.claim_next(
        session, account=_number(session, campaign), token=token, sequence=[campaign.id], now=NOW
    )
    _deliver(session, campaign, _status(rows[0].message_id, "delivered"))
    assert _row(session, rows[0].message_id).status == "delivered"
    settling.settle(
        session, token=token, settlements=[settling.settlement_of(rows[0], Accepted("wamid.x", None), now=NOW)]
    )
    assert _row(session, rows[0].message_id).status == "delivered"
    assert progress.miscounted(session) == []


def test_a_webhook_settles_an_unknown_message_by_its_own_id(session: Session, campaign: Campaign) -> None:
    token = uuid.uuid4()
    [row] = numbered.claim_next(
        session, account=_number(session, campaign), token=token, sequence=[campaign.id], now=NOW
    )
    settling.expire_claims(session, token)
    _deliver(session, campaign, _status(row.message_id, "sent", id="wamid.never-seen"))
    found = _row(session, row.message_id)
    assert (found.status, found.provider_message_id) == ("sent", "wamid.never-seen")
    assert found.accepted_at is not None


def test_a_webhook_finds_the_message_by_the_providers_id_alone(session: Session, campaign: Campaign) -> None:
    [message] = _send(session, campaign)
    _deliver(session, campaign, _status(message, "delivered", biz_opaque_callback_data=None, recipient_id=None))
    assert _row(session, message).status == "delivered"


def test_a_message_that_waits_for_a_retry_and_was_sent_all_the_same_is_not_sent_again(
    session: Session, campaign: Campaign
) -> None:
    [message] = _send(session, campaign)
    session.execute(
        text(
            "UPDATE messages SET status = 'pending', attempts = 1, next_attempt_at = :at, provider_message_id = NULL"
            " WHERE id = :id"
        ),
        {"at": NOW, "id": message},
    )
    _deliver(session, campaign, _status(message, "sent"))
    row = _row(session, message)
    assert (row.status, row.next_attempt_at) == ("sent", None)


def test_a_message_that_was_never_tried_is_not_moved_by_a_webhook(session: Session, campaign: Campaign) -> None:
    message = session.scalar(text("SELECT id FROM messages LIMIT 1"))
    _deliver(session, campaign, _status(message, "read"))
    assert _row(session, message).status == "pending"


def test_failed_is_final_but_loses_against_proof_of_delivery(session: Session, campaign: Campaign) -> None:
    failed, saved, wrong = _send(session, campaign, 3)
    error = {"code": 131026, "title": "Undeliverable", "error_data": {"details": "not on WhatsApp"}}
    _deliver(session, campaign, *(_status(each, "failed", errors=[error]) for each in (failed, saved)))
    row = _row(session, failed)
    assert (row.status, row.error_code, row.error_class, row.error_detail) == (
        "failed",
        "131026",
        "recipient",
        "not on WhatsApp",
    )
    _deliver(session, campaign, _status(failed, "sent"), _status(saved, "delivered"), _status(wrong, "delivered"))
    assert [_row(session, each).status for each in (failed, saved)] == ["failed", "delivered"]
    _deliver(session, campaign, _status(wrong, "failed", errors=[error]))
    assert _row(session, wrong).status == "delivered"
    assert progress.miscounted(session) == []


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        (("failed", "delivered"), "delivered"),
        (("failed", "read"), "read"),
        (("failed", "delivered", "failed", "read"), "read"),
        (("delivered", "failed"), "delivered"),
        (("delivered", "failed", "read"), "read"),
        (("read", "failed", "delivered"), "read"),
        (("sent", "failed"), "failed"),
        (("failed", "sent"), "failed"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_only_a_message_that_failed_says_why_and_when(
    session: Session, campaign: Campaign, statuses: tuple[str, ...], state: str, together: bool
) -> None:
    [message] = _send(session, campaign)
    error = {"code": 131026, "title": "Undeliverable", "error_data": {"details": "not on WhatsApp"}}
    told = [
        _status(message, status, at=SECONDS + at, errors=[error] if status == "failed" else None)
        for at, status in enumerate(statuses)
    ]
    for batch in [told] if together else [[each] for each in told]:
        _deliver(session, campaign, *batch)
    row = _row(session, message)
    failure = (row.error_class, row.error_code, row.error_detail, row.failed_at is not None)
    assert (row.status, failure) == (
        state,
        ("recipient", "131026", "not on WhatsApp", True) if state == "failed" else (None, None, None, False),
    )
    assert progress.miscounted(session) == []


def test_the_failure_of_an_earlier_attempt_says_nothing_of_the_present_one(
    session: Session, campaign: Campaign
) -> None:
    [message] = _send(session, campaign)
    error = {"code": 131050, "title": "switched off"}
    earlier = _status(message, "failed", id="wamid.of-the-first-attempt", errors=[error])
    _deliver(session, campaign, earlier)
    row = _row(session, message)
    assert (row.status, row.failed_at, row.error_code) == ("sent", None, None)
    assert session.scalar(text("SELECT count(*) FROM opt_outs")) == 0
    _deliver(session, campaign, earlier, _status(message, "failed", errors=[{"code": 131026}]))
    row = _row(session, message)
    assert (row.status, row.error_code) == ("failed", "131026")


def test_a_failure_counts_while_the_providers_id_is_not_known(session: Session, campaign: Campaign) -> None:
    numbered.claim_next(
        session, account=_number(session, campaign), token=uuid.uuid4(), sequence=[campaign.id], now=NOW
    )
    message = session.scalar(text("SELECT id FROM messages WHERE status = 'sending'"))
    _deliver(session, campaign, _status(message, "failed", errors=[{"code": 131026}]))
    assert _row(session, message).status == "failed"


def test_accounts_that_were_heard_from_are_not_waited_for_and_their_business_is_known(
    session: Session, campaign: Campaign
) -> None:
    [message] = _send(session, campaign)
    number = _number(session, campaign)
    silent = numbered.account(session, campaign_company(session, campaign), unacknowledged_since=NOW)
    number.unacknowledged_since = NOW
    deliveries.store(
        session,
        provider="cloud_api",
        account_ids=[number.id, silent.id],
        body=_body([_status(message, "delivered")]),
        now=NOW,
    )
    session.flush()
    applied = deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW)
    assert applied is not None
    assert applied.heard_from == {number.id: "waba"}
    deliveries.acknowledge(session, applied.heard_from)
    session.expire_all()
    assert (number.unacknowledged_since, silent.unacknowledged_since) == (None, NOW)
    assert (number.business_account_id, silent.business_account_id) == ("waba", None)
    deliveries.acknowledge(session, {number.id: None})
    session.expire_all()
    assert number.business_account_id == "waba"


def campaign_company(session: Session, campaign: Campaign) -> Company:
    return session.get_one(Company, campaign.company_id)


def test_a_webhook_that_is_given_up_is_kept_with_the_reason(session: Session, campaign: Campaign) -> None:
    number = _number(session, campaign)
    for body in (b"1", b"2", b"3"):
        deliveries.store(session, provider="cloud_api", account_ids=[number.id], body=body, now=NOW)
    session.flush()
    ids = session.scalars(text("SELECT id FROM webhook_events ORDER BY id")).all()
    for reason in ("cannot be applied", "comes too late"):
        deliveries.set_aside(session, ids[1], reason=reason, now=NOW)
    assert deliveries.due(session, now=NOW, limit=9) == [ids[0], ids[2]]
    found = session.execute(text("SELECT body, failure, applied_at FROM webhook_events ORDER BY id")).all()
    assert [(row.body, row.failure, row.applied_at) for row in found] == [
        (b"1", None, None),
        (b"2", "cannot be applied", NOW),
        (b"3", None, None),
    ]


@pytest.mark.parametrize(
    "status",
    [
        {"id": "wamid.x", "status": "sent"},
        {"id": "wamid.x", "status": "sent", "timestamp": "tomorrow"},
        {"id": "wamid.x", "status": "sent", "timestamp": "99999999999999999999"},
        {"id": "wamid.x", "status": "vanished", "timestamp": "1739321024"},
        {"id": None, "status": "sent", "timestamp": "1739321024"},
        {"id": 7, "status": ["sent"], "timestamp": {}, "errors": "none"},
        _status(uuid.uuid4(), "read"),
        _status("not-a-uuid", "read"),
        "a string",
        None,
    ],
)
def test_what_cannot_be_understood_is_harmless(session: Session, campaign: Campaign, status: Any) -> None:
    [message] = _send(session, campaign)
    _deliver(session, campaign, status, _status(message, "delivered"))
    assert _row(session, message).status == "delivered"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"not json", b"\xff\xfe", b'{"entry": 7}', b'{"entry": [{"changes": [3]}]}']
)
def test_a_body_that_is_no_webhook_is_kept_and_does_not_stop_the_others(
    session: Session, campaign: Campaign, body: bytes
) -> None:
    [message] = _send(session, campaign)
    number = _number(session, campaign)
    deliveries.store(session, provider="cloud_api", account_ids=[number.id], body=body, now=NOW)
    session.flush()
    _deliver(session, campaign, _status(message, "delivered"))
    assert _row(session, message).status == "delivered"
    assert deliveries.waiting_count(session) == 0
    assert session.scalar(text("SELECT count(*) FROM webhook_events")) == 2


def test_a_body_that_is_no_json_object_is_logged_by_its_id_alone(session: Session, campaign: Campaign) -> None:
    for body in (b"{}", b"not json", b"[]"):
        deliveries.store(session, provider="cloud_api", account_ids=[], body=body, now=NOW)
    session.flush()
    with capture_logs() as logged:
        deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW)
    found = session.execute(text("SELECT id, failure FROM webhook_events ORDER BY id")).all()
    assert [(row.failure is None) for row in found] == [True, False, False]
    assert [line for line in logged if line["event"] == "webhook.set_aside"] == [
        {"event": "webhook.set_aside", "log_level": "error", "event_id": row.id, "reason": row.failure}
        for row in found[1:]
    ]


def test_a_webhook_of_one_company_never_moves_anothers_message(session: Session, campaign: Campaign) -> None:
    [message] = _send(session, campaign)
    stranger = numbered.account(session, factories.company(session), phone_number_id="111")
    deliveries.store(
        session, provider="cloud_api", account_ids=[stranger.id], body=_body([_status(message, "read")]), now=NOW
    )
    session.flush()
    deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW)
    assert _row(session, message).status == "sent"


def test_only_accounts_whose_secret_signed_a_body_are_spoken_for(session: Session, campaign: Campaign) -> None:
    ours = _number(session, campaign)
    claimant = numbered.account(
        session,
        factories.company(session),
        phone_number_id="111",  # another company's claim to the same number
        app_secret="another secret",
    )
    body = _body([_status(uuid.uuid4(), "sent")])

    def signed_by(secret: str, signed: bytes = body) -> Sequence[int]:
        signature = {"x-hub-signature-256": signature_of(secret, signed)}
        known = AccountsBehindTheDoor(session, PROVIDERS["cloud_api"].traits, VAULT)
        try:
            return DOOR.senders(Knock(headers=signature, query={}, body=body, key=""), known)
        except NotAuthenticated:
            return []

    assert signed_by("app-secret") == [ours.id]
    assert signed_by("another secret") == [claimant.id]
    assert signed_by("a guess") == []
    assert signed_by("app-secret", body + b" ") == []


def test_the_last_status_completes_a_campaign_whose_row_was_in_flight(session: Session, campaign: Campaign) -> None:
    _send(session, campaign, 2)
    [row] = numbered.claim_next(
        session, account=_number(session, campaign), token=uuid.uuid4(), sequence=[campaign.id], now=NOW
    )
    _deliver(session, campaign, _status(row.message_id, "sent"))
    session.refresh(campaign)
    assert campaign.status == "completed"


def test_a_thousand_updates_of_many_messages_in_one_body_are_all_applied(session: Session) -> None:
    owner = factories.user(session, factories.company(session))
    number = numbered.account(session, owner.company, phone_number_id="111")
    large = numbered.running(session, owner, accounts=[number], count=400)
    messages = _send(session, large, 400)
    statuses = [_status(each, status) for each in messages for status in ("sent", "delivered", "read")][:1000]
    random.Random(7).shuffle(statuses)
    _deliver(session, large, *statuses)
    session.refresh(large)
    expected_read = sum(1 for status in statuses if status["status"] == "read")
    assert large.read_count == expected_read
    assert large.funnel_read_count == expected_read
    assert progress.miscounted(session) == []
    assert session.scalar(text("SELECT max(sent_at) FROM messages")) == datetime.fromtimestamp(SECONDS, UTC)
