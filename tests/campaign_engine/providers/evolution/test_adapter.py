"""Evolution API's adapter on a real wire, and over every shape that its webhooks have been seen in."""

import json
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.providers.address_book import AddressBook, AddressBookFault, KnownPerson, NumberCheck
from campaign_engine.providers.base import (
    Accepted,
    Inbound,
    Lost,
    Notice,
    NoticeKind,
    NotSent,
    Outcome,
    Outgoing,
    Refused,
    Sender,
)
from campaign_engine.providers.evolution import adapter as evolution
from campaign_engine.providers.evolution.adapter import Evolution
from campaign_engine.providers.evolution.errors import failure_of
from campaign_engine.providers.evolution.session import health_of_session
from campaign_engine.rules.failures import ErrorClass
from campaign_engine.rules.states import MessageStatus
from tests.campaign_engine.providers.wire import (
    Behaviour,
    Request,
    answering,
    closing_after,
    cutting,
    response,
    serving,
)
from tests.simulator import running
from tests.simulator.running import Simulator

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
APIKEY, INSTANCE = running.APIKEY, running.INSTANCE
TEXT = {"type": "text", "text": {"body": "Olá, Conceição 🎉"}}
ACCEPTED = {"key": {"remoteJid": "5511910000001@s.whatsapp.net", "fromMe": True, "id": "3EB0A1"}, "status": "PENDING"}


def outgoing(to: str = "+5511910000001", content: Mapping[str, Any] = TEXT) -> Outgoing:
    return Outgoing(to=to, content=content, callback_data="m-1")


def sender(base_url: str, *, instance: str = INSTANCE, secret: str = APIKEY) -> Sender:
    return Sender(account_id=7, base_url=base_url, number=instance, secret=secret)


@pytest.fixture
def api() -> Evolution:
    return Evolution(timeout_s=60, now=lambda: NOW)


def sent_to(behave: Behaviour, message: Outgoing | None = None, *, timeout_s: float = 60) -> Outcome:
    with serving(behave) as server:
        outcome = Evolution(timeout_s=timeout_s).send(sender(server.url), message or outgoing())
        assert len(server.requests) == 1, "nothing is ever sent twice"
        assert APIKEY not in repr(outcome) and "127.0.0.1" not in repr(outcome)
        return outcome


def refusal(outcome: Outcome) -> tuple[ErrorClass, str]:
    assert isinstance(outcome, Refused), outcome
    return outcome.failure.error_class, outcome.failure.code


def envelope(status: int, message: Any) -> dict[str, Any]:
    return {"status": status, "error": "whatever", "response": {"message": message}}


# --- Sending.


def test_an_accepted_message_is_known_by_its_key_and_the_person_by_the_id(api: Evolution, simulator: Simulator) -> None:
    left: list[bool] = []
    outcome = api.send(sender(simulator.url), outgoing(to="+5531987654321"), leaving=lambda: left.append(True))
    (entry,) = simulator.ledger()
    assert outcome == Accepted(provider_message_id=entry["message_id"], wa_id="553187654321")
    assert (entry["to"], entry["type"], left) == ("5531987654321", "text", [True])


@pytest.mark.parametrize(
    ("content", "path", "body"),
    [
        (TEXT, "sendText", {"number": "5511910000001", "text": "Olá, Conceição 🎉"}),
        (
            {"type": "image", "image": {"link": "https://example.com/a.png", "caption": "Look"}},
            "sendMedia",
            {
                "number": "5511910000001",
                "mediatype": "image",
                "media": "https://example.com/a.png",
                "caption": "Look",
            },
        ),
        (
            {"type": "document", "document": {"link": "https://example.com/a.pdf", "filename": "Bill.pdf"}},
            "sendMedia",
            {
                "number": "5511910000001",
                "mediatype": "document",
                "media": "https://example.com/a.pdf",
                "fileName": "Bill.pdf",
            },
        ),
        (
            {"type": "sticker", "sticker": {"link": "https://example.com/a.webp"}},
            "sendSticker",
            {"number": "5511910000001", "sticker": "https://example.com/a.webp"},
        ),
    ],
)
def test_a_content_becomes_the_call_that_sends_it_and_nothing_holds_it_open(
    api: Evolution, content: Mapping[str, Any], path: str, body: Any
) -> None:
    with serving(answering(response(201, ACCEPTED))) as server:
        outcome = api.send(sender(server.url, instance="my shop/1"), outgoing(content=content))
        (request,) = server.requests
    assert outcome == Accepted("3EB0A1", "5511910000001")
    assert request.line == f"POST /message/{path}/my%20shop%2F1 HTTP/1.1"
    assert request.headers["apikey"] == APIKEY
    assert "authorization" not in request.headers
    assert request.json == body


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"type": "template", "template": {"name": "promo"}}, "template_not_supported"),
        ({"type": "image", "image": {"id": "1037"}}, "media_id_not_supported"),
        ({"type": "location", "location": {"link": "x"}}, "type_not_supported"),
    ],
)
def test_what_evolution_cannot_send_stops_the_campaign_and_never_leaves(
    api: Evolution, content: Mapping[str, Any], code: str
) -> None:
    left: list[bool] = []
    outcome = api.send(sender("http://127.0.0.1:9"), outgoing(content=content), leaving=lambda: left.append(True))
    assert refusal(outcome) == (ErrorClass.CAMPAIGN, code)
    assert left == []


META = {"message": "(#131049) Kept back", "type": "OAuthException", "code": 131049, "fbtrace_id": "A"}


@pytest.mark.parametrize(
    ("status", "body", "error_class", "code"),
    [
        # What Evolution itself says (docs/wire.md, Evolution access).
        (400, envelope(400, [{"jid": "5511@s.whatsapp.net", "exists": False, "number": "5511"}]), "recipient",
         "not_on_whatsapp"),
        (400, envelope(400, ["Error: Connection Closed"]), "account", "session_closed"),
        (500, envelope(500, "Connection Closed"), "account", "session_closed"),
        (500, envelope(500, "Cannot read properties of undefined (reading 'onWhatsApp')"), "account",
         "session_closed"),
        (500, envelope(500, ["AxiosError: Request failed with status code 404"]), "campaign", "media_unavailable"),
        (500, envelope(500, "Method not available in the Baileys service"), "campaign", "not_available"),
        (400, envelope(400, [['instance requires property "text"']]), "campaign", "invalid_request"),
        (400, envelope(400, ["Owned media must be a url or base64"]), "campaign", "http_400"),
        (401, envelope(401, "Unauthorized"), "account", "unauthorized"),
        (404, envelope(404, ['The "shop" instance does not exist']), "account", "instance_unknown"),
        # The business channel: Meta's error with 201, bare or in Graph's envelope.
        (201, META, "recipient", "131049"),
        (201, {"error": META}, "recipient", "131049"),
        (201, {**META, "code": 190}, "account", "190"),
        (201, {**META, "code": 132001}, "campaign", "132001"),
        (201, {**META, "code": 130429}, "throttled", "130429"),
        # What stands in front of it.
        (302, b"", "account", "http_302"),
        (400, b"<html>The plain HTTP request was sent to HTTPS port</html>", "account", "http_400"),
        (403, b"", "account", "forbidden"),
        (413, b"", "campaign", "too_large"),
        (429, b"", "throttled", "http_429"),
        (503, b"no available server", "temporary", "http_503"),
    ],
)  # fmt: skip
def test_a_refusal_is_classified_by_what_it_says(status: int, body: Any, error_class: str, code: str) -> None:
    assert refusal(sent_to(answering(response(status, body)))) == (error_class, code)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (201, {}),
        (201, {"key": {}}),
        (201, {"status": "PENDING"}),
        (201, b"created"),
        (201, {**META, "code": 131000}),  # Meta faulted after it may have taken the message
        (400, envelope(400, ["Error: Timed Out"])),
        (400, envelope(400, ["AxiosError: Request failed with status code 500"])),
        (400, envelope(400, ["PrismaClientKnownRequestError: cannot store the message"])),
        (500, envelope(500, "Internal Server Error")),
        (500, b""),
        (502, b"Bad Gateway"),
        (504, b"Gateway Timeout"),
    ],
)
def test_what_may_have_left_is_lost_for_no_webhook_could_settle_a_retry(status: int, body: Any) -> None:
    assert isinstance(sent_to(answering(response(status, body))), Lost)


@pytest.mark.parametrize(("code", "refuses"), [(131049, False), (131050, True)])
def test_a_person_who_switched_our_marketing_off_is_told_from_others(code: int, refuses: bool) -> None:
    outcome = sent_to(answering(response(201, {**META, "code": code})))
    assert isinstance(outcome, Refused)
    assert outcome.failure.person_refuses_marketing is refuses


def test_how_long_to_wait_is_kept() -> None:
    outcome = sent_to(answering(response(429, b"", headers={"Retry-After": "7"})))
    assert isinstance(outcome, Refused)
    assert outcome.failure.retry_after_s == 7


def test_an_apikey_that_comes_back_is_not_shown() -> None:
    outcome = sent_to(answering(response(400, envelope(400, [f"The key {APIKEY} is not for sending"]))))
    assert isinstance(outcome, Refused)
    assert outcome.failure.detail == "The key *** is not for sending"


def test_a_refused_connection_is_not_sent_and_a_lost_answer_is_lost() -> None:
    with serving(answering(b"")) as gone:
        pass
    assert isinstance(Evolution(timeout_s=60).send(sender(gone.url), outgoing()), NotSent)
    assert isinstance(sent_to(cutting), Lost)
    assert isinstance(sent_to(closing_after(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")), Lost)


def test_an_answer_that_does_not_come_in_time_is_lost() -> None:
    def dawdle(connection: socket.socket, request: Request) -> bool:
        return server.released.wait(60)

    with serving(dawdle) as server:
        assert Evolution(timeout_s=0.1).send(sender(server.url), outgoing()) == Lost("no answer in time")


# --- Health, numbers, contacts.


@pytest.mark.parametrize("state", ["open", "connecting", "close"])
def test_the_state_of_the_session_is_the_health(api: Evolution, simulator: Simulator, state: str) -> None:
    simulator.register_instance(state=state)
    health = api.check_health(sender(simulator.url))
    assert (health.reachable, health.details, health.refused_field) == (True, {"status": state}, None)
    assert (health.summary == "connected") is (state == "open")
    assert len(health.warnings) == (state == "close")


@pytest.mark.parametrize(
    ("of", "field"),
    [({"secret": "wrong"}, "access_token"), ({"instance": "nobody"}, "instance")],
)
def test_a_wrong_key_and_an_unknown_instance_are_told_apart(
    api: Evolution, simulator: Simulator, of: dict[str, str], field: str
) -> None:
    health = api.check_health(sender(simulator.url, **of))
    assert (health.reachable, health.refused_field) == (True, field)


def test_a_gateway_says_nothing_of_the_credentials(api: Evolution) -> None:
    with serving(answering(response(401, {"error": "who are you?"}))) as server:
        health = api.check_health(sender(server.url))
    assert (health.reachable, health.refused_field) == (True, None)
    health = api.check_health(sender(server.url))
    assert (health.reachable, health.summary) == (
        False,
        "The provider cannot be reached: connection refused or host unreachable",
    )


def test_numbers_are_checked_in_calls_of_a_hundred(
    api: Evolution, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evolution, "NUMBERS_A_CHECK", 2)
    asked = ["+5511910000001", "+5511977131026", "+5531987654321"]
    assert list(api.check_numbers(sender(simulator.url), asked)) == [
        NumberCheck("+5511910000001", True, "5511910000001"),
        NumberCheck("+5511977131026", False, "5511977131026"),
        NumberCheck("+5531987654321", True, "553187654321"),
    ]


def test_the_address_book_has_people_by_number_and_not_those_met_in_a_group(
    api: Evolution, simulator: Simulator
) -> None:
    simulator.register_instance(
        contacts=[
            {"number": "+5511910000001", "name": "Ana"},
            {"number": "+5511910000002"},
            {"number": "+5511910000003", "name": "Met in a group", "type": "group_member"},
        ]
    )
    assert list(api.list_contacts(sender(simulator.url))) == [
        KnownPerson("5511910000001", "Ana"),
        KnownPerson("5511910000002", None),
    ]
    assert isinstance(api, AddressBook)


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        (response(401, envelope(401, "Unauthorized")), False),
        (response(400, {"status": 400, "message": "Connection Closed"}), False),
        (response(500, envelope(500, "Internal Server Error")), True),
        (response(200, {"not": "a list"}), True),
        (b"", True),
    ],
)
def test_a_question_without_an_answer_says_whether_asking_again_may_help(
    api: Evolution, answer: bytes, passes: bool
) -> None:
    with serving(closing_after(answer)) as server, pytest.raises(AddressBookFault) as caught:
        api.check_numbers(sender(server.url), ["+5511910000001"])
    assert caught.value.passes is passes


# --- Webhooks.

JID = "5511910000001@s.whatsapp.net"
WORDS = {
    "SERVER_ACK": MessageStatus.SENT,
    "SENT": MessageStatus.SENT,
    "DELIVERY_ACK": MessageStatus.DELIVERED,
    "DELIVERED": MessageStatus.DELIVERED,
    "READ": MessageStatus.READ,
    "PLAYED": MessageStatus.READ,
    "ERROR": MessageStatus.FAILED,
    "FAILED": MessageStatus.FAILED,
    "PENDING": None,
    "DELETED": None,
    "SOMETHING_NEW": None,
    "server_ack": MessageStatus.SENT,
    "delivered": MessageStatus.DELIVERED,
    "read": MessageStatus.READ,
    0: MessageStatus.FAILED,
    1: None,
    2: MessageStatus.SENT,
    3: MessageStatus.DELIVERED,
    4: MessageStatus.READ,
    5: MessageStatus.READ,
    6: None,
    "3": MessageStatus.DELIVERED,
    -1: None,
    None: None,
}  # fmt: skip
SHAPES: dict[str, Any] = {
    "object": lambda status: {"keyId": "3EB0A1", "remoteJid": JID, "fromMe": True, "status": status, "messageId": "r1"},
    "list": lambda status: [{"key": {"id": "3EB0A1", "remoteJid": JID}, "update": {"status": status}}],
    "key and status": lambda status: {"key": {"id": "3EB0A1", "remoteJid": JID}, "status": status},
    "keyId and update": lambda status: {"keyId": "3EB0A1", "remoteJid": JID, "update": {"status": status}},
    "list of keyId": lambda status: [{"keyId": "3EB0A1", "remoteJid": JID, "status": status}],
}


def webhook(event: str, data: Any) -> dict[str, Any]:
    return {
        "event": event,
        "instance": INSTANCE,
        "data": data,
        "date_time": "2026-11-20T09:00:00.000Z",
        "sender": "5511900000000@s.whatsapp.net",
        "apikey": None,
    }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("word", "status"), WORDS.items())
def test_a_status_is_read_in_every_shape_and_every_word(
    api: Evolution, shape: str, word: Any, status: MessageStatus | None
) -> None:
    found = api.parse_statuses(json.loads(json.dumps(webhook("messages.update", SHAPES[shape](word)))))
    assert [update.status for update in found] == ([status] if status else [])
    for update in found:
        assert (update.provider_message_id, update.recipient, update.number) == ("3EB0A1", "5511910000001", INSTANCE)
        assert (update.at, update.callback_data) == (NOW, None), "the time on the wire is in nobody's zone"
        assert (update.error_class, bool(update.error_detail)) == (
            (ErrorClass.RECIPIENT, True) if status is MessageStatus.FAILED else (None, False)
        )


@pytest.mark.parametrize("event", ["messages.update", "MESSAGES_UPDATE", "messages-update"])
def test_an_event_is_known_in_every_spelling(api: Evolution, event: str) -> None:
    assert len(api.parse_statuses(webhook(event, SHAPES["object"]("READ")))) == 1


def test_every_item_of_a_list_is_read(api: Evolution) -> None:
    data = [{"key": {"id": f"3EB0{at}"}, "update": {"status": at}} for at in (2, 3, 4)]
    found = api.parse_statuses(webhook("messages.update", data))
    assert [(each.provider_message_id, each.status) for each in found] == [
        ("3EB02", MessageStatus.SENT),
        ("3EB03", MessageStatus.DELIVERED),
        ("3EB04", MessageStatus.READ),
    ]


def upsert(message: Any, **key: Any) -> dict[str, Any]:
    return {
        "key": {"remoteJid": JID, "fromMe": False, "id": "3EB0B2", **key},
        "message": message,
        "messageTimestamp": 1_795_000_000,
    }


def inbound(**fields: Any) -> Inbound:
    at = datetime.fromtimestamp(1_795_000_000, UTC)
    return Inbound(
        **{"number": INSTANCE, "provider_message_id": "3EB0B2", "sender": "5511910000001", "at": at, **fields}
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"conversation": "SAIR"}, inbound(kind="text", text="SAIR")),
        (
            {"extendedTextMessage": {"text": "SAIR", "contextInfo": {"stanzaId": "3EB0A1"}}},
            inbound(kind="text", text="SAIR", answers="3EB0A1"),
        ),
        ({"ephemeralMessage": {"message": {"conversation": "SAIR"}}}, inbound(kind="text", text="SAIR")),
        (
            {"buttonsResponseMessage": {"selectedButtonId": "STOP", "selectedDisplayText": "Sair"}},
            inbound(kind="button", text="Sair", payload="STOP"),
        ),
        (
            {"templateButtonReplyMessage": {"selectedId": "STOP", "selectedDisplayText": "Sair"}},
            inbound(kind="button", text="Sair", payload="STOP"),
        ),
        ({"imageMessage": {"caption": "sair"}}, inbound(kind="image", text="sair")),
        ({"audioMessage": {"seconds": 4}}, inbound(kind="audio")),
        ({}, inbound(kind="unknown")),
    ],
)
def test_what_a_person_writes_is_read(api: Evolution, message: Any, expected: Inbound) -> None:
    data = upsert(message)
    for shape in (data, [data], {"messages": [data], "type": "notify"}):
        assert list(api.parse_inbound(webhook("messages.upsert", shape))) == [expected]
    assert api.parse_statuses(webhook("messages.upsert", data)) == []


@pytest.mark.parametrize(
    "key",
    [
        {"fromMe": True},
        {"fromMe": None},
        {"remoteJid": "120363000000000001@g.us"},
        {"remoteJid": "status@broadcast"},
        {"remoteJid": "100000000000001@lid"},
        {"id": ""},
    ],
)
def test_what_is_our_own_of_a_group_or_of_nobody_is_left_out(api: Evolution, key: dict[str, Any]) -> None:
    assert api.parse_inbound(webhook("messages.upsert", upsert({"conversation": "SAIR"}, **key))) == []


@pytest.mark.parametrize("field", ["senderPn", "remoteJidAlt"])
def test_somebody_who_hides_the_number_is_known_where_it_stands_beside(api: Evolution, field: str) -> None:
    key = {"remoteJid": "100000000000001@lid", field: "5511910000001:7@s.whatsapp.net"}
    (found,) = api.parse_inbound(webhook("messages.upsert", upsert({"conversation": "SAIR"}, **key)))
    assert found.sender == "5511910000001"


def test_a_session_that_closes_is_a_notice(api: Evolution) -> None:
    data = {"instance": INSTANCE, "state": "close", "statusReason": 401}
    closed = health_of_session("close")
    assert list(api.parse_notices(webhook("connection.update", data))) == [
        Notice(kind=NoticeKind.CONNECTION, value="close", detail="reason 401", number=INSTANCE, health=closed)
    ]
    assert api.parse_notices(webhook("messages.update", data)) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["key", "id", "keyId", "status", "update", "remoteJid", "message", "messages", "state"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(event=st.sampled_from(["messages.update", "messages.upsert", "connection.update"]) | JSON, data=JSON)
def test_no_webhook_breaks_the_reading(event: Any, data: Any) -> None:
    api = Evolution(timeout_s=60, now=lambda: NOW)
    payload = {"event": event, "instance": data, "data": data}
    for parse in (api.parse_statuses, api.parse_inbound, api.parse_notices):
        parse(payload)


@given(status=st.integers(min_value=200, max_value=599), body=JSON, inner=JSON)
def test_no_answer_breaks_the_classification(status: int, body: Any, inner: Any) -> None:
    for payload in (body, {"response": {"message": inner}}, {"error": inner}, {"code": inner, "message": body}):
        failure_of(status, payload)
