"""Evolution API as the simulator speaks it: the same ledger and fates, another wire."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulator.running import (
    APIKEY,
    INSTANCE,
    PHONE_NUMBER_ID,
    Receiver,
    Simulator,
    receiving,
    wait_for,
)

NUMBER = "5511910000001"


@pytest.fixture
def instance(simulator: Simulator) -> Simulator:
    """The simulator with one instance that has no webhook."""
    simulator.register_instance()
    return simulator


@pytest.fixture
def receiver(instance: Simulator) -> Iterator[Receiver]:
    with receiving() as running:
        instance.register_instance(webhook_url=running.url)
        yield running
        instance.control("POST", "reset")


def text_to(number: str = NUMBER, **rest: Any) -> dict[str, Any]:
    return {"number": number, "text": "Olá", **rest}


def send(simulator: Simulator, number: str = NUMBER, **rest: Any) -> Any:
    return simulator.evolution("POST", "message/sendText", text_to(number, **rest))


def updates(receiver: Receiver, event: str = "messages.update") -> list[dict[str, Any]]:
    return [each.json for each in receiver.accepted() if each.json["event"] == event]


def test_a_text_is_answered_with_the_stored_message_and_stands_in_the_ledger(instance: Simulator) -> None:
    response = send(instance)
    stored, (entry,) = response.json(), instance.ledger()
    assert response.status_code == 201
    assert stored["key"] == {"remoteJid": f"{NUMBER}@s.whatsapp.net", "fromMe": True, "id": entry["message_id"]}
    assert (stored["status"], stored["message"]) == ("PENDING", {"conversation": "Olá"})
    assert (entry["phone_number_id"], entry["to"], entry["callback_data"]) == (INSTANCE, NUMBER, None)
    assert entry["message_id"].startswith("3EB0")
    assert instance.summary()["by_number"][INSTANCE]["sends"] == 1


def test_a_file_is_sent_by_its_address(instance: Simulator) -> None:
    body = {"number": NUMBER, "mediatype": "image", "media": "https://example.com/a.png", "caption": "Look"}
    assert instance.evolution("POST", "message/sendMedia", body).status_code == 201
    assert instance.evolution("POST", "message/sendSticker", {"number": NUMBER, "sticker": "s"}).status_code == 201
    assert [entry["type"] for entry in instance.ledger()] == ["image", "sticker"]


def test_the_instance_is_looked_for_before_the_key(instance: Simulator) -> None:
    unknown = instance.evolution("POST", "message/sendText", text_to(), instance="nobody", apikey="wrong")
    wrong = instance.evolution("POST", "message/sendText", text_to(), apikey="wrong")
    elsewhere = instance.evolution("POST", "message/sendPigeon", text_to())
    assert unknown.status_code == 404
    assert unknown.json()["response"]["message"] == ['The "nobody" instance does not exist']
    assert wrong.status_code == 401
    assert wrong.json() == {"status": 401, "error": "Unauthorized", "response": {"message": "Unauthorized"}}
    assert (elsewhere.status_code, elsewhere.json()["response"]["message"][0][:6]) == (404, "Cannot")
    assert instance.ledger() == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("message/sendText", {"number": NUMBER}),
        ("message/sendText", {"number": 5511910000001, "text": "Olá"}),
        ("message/sendText", ["Olá"]),
        ("message/sendText", text_to(delay="soon")),
        ("message/sendMedia", {"number": NUMBER, "mediatype": "pigeon", "media": "x"}),
        ("chat/whatsappNumbers", {"numbers": NUMBER}),
    ],
)
def test_a_body_against_the_schema_is_told_in_a_list_inside_a_list(instance: Simulator, path: str, body: Any) -> None:
    response = instance.evolution("POST", path, body)
    assert response.status_code == 400
    ((problem,),) = response.json()["response"]["message"]
    assert problem.startswith("instance")


def test_a_number_nobody_has_is_refused_with_exists_false(instance: Simulator) -> None:
    for number in ("5511977131026", "not a number"):
        (found,) = send(instance, number).json()["response"]["message"]
        assert (found["exists"], found["number"]) == (False, number)
    checked = instance.evolution("POST", "chat/whatsappNumbers", {"numbers": [NUMBER, "5511977131026"]}).json()
    assert [(each["number"], each["exists"]) for each in checked] == [(NUMBER, True), ("5511977131026", False)]


@pytest.mark.parametrize(
    ("number", "jid"),
    [
        ("5511987654321", "5511987654321"),  # area code below 31
        ("5531987654321", "553187654321"),
        ("5531967654321", "5531967654321"),  # not a number of the old plan
        ("5215512345678", "525512345678"),
        ("5491123456789", "541123456789"),
        ("+55 (31) 98765-4321", "553187654321"),
    ],
)
def test_a_number_becomes_an_id_by_the_rules_of_evolution(instance: Simulator, number: str, jid: str) -> None:
    assert send(instance, number).json()["key"]["remoteJid"] == f"{jid}@s.whatsapp.net"


def test_a_delay_holds_the_request_open(instance: Simulator) -> None:
    began_at = time.monotonic()
    assert send(instance, delay=120).status_code == 201
    assert time.monotonic() - began_at >= 0.12


def test_a_closed_session_sends_nothing_and_says_so(instance: Simulator, receiver: Receiver) -> None:
    instance.register_instance(state="close")
    response = send(instance)
    assert (response.status_code, response.json()["response"]["message"]) == (400, ["Error: Connection Closed"])
    assert instance.evolution("GET", "instance/connectionState").json()["instance"]["state"] == "close"
    assert instance.evolution("POST", "chat/whatsappNumbers", {"numbers": [NUMBER]}).status_code == 400
    instance.register_instance(state="open")
    assert send(instance).status_code == 201
    told = wait_for(lambda: len(updates(receiver, "connection.update")) == 2 and updates(receiver, "connection.update"))
    assert [each["data"]["state"] for each in told] == ["close", "open"]  # type: ignore[union-attr]


def test_metas_errors_come_with_201_on_the_business_channel_and_as_exceptions_on_the_other(instance: Simulator) -> None:
    for channel, status in (("business", 201), ("baileys", 400)):
        instance.register_instance(channel=channel)
        instance.behave(refuse_next=1, refuse_next_code=131049)
        response = send(instance)
        assert response.status_code == status
        assert ("key" in response.json(), response.json().get("code")) == (False, 131049 if status == 201 else None)
    assert instance.ledger() == []


def test_a_number_of_the_cloud_api_and_an_instance_share_one_ledger(instance: Simulator) -> None:
    instance.send()
    send(instance)
    assert [entry["phone_number_id"] for entry in instance.ledger()] == [PHONE_NUMBER_ID, INSTANCE]
    assert instance.summary()["repeated_recipients"]["count"] == 1


def test_a_fault_answers_without_accepting(instance: Simulator) -> None:
    response = send(instance, "5511978000007")
    assert (response.status_code, response.json()["error"]) == (500, "Internal Server Error")
    assert instance.ledger() == []


@pytest.mark.parametrize(
    ("shape", "channel", "identified", "told"),
    [
        ("object", "baileys", lambda data: data["keyId"], ["SERVER_ACK", "DELIVERY_ACK", "READ"]),
        ("flat", "baileys", lambda data: data["key"]["id"], ["server_ack", "delivery_ack", "read"]),
        ("object", "business", lambda data: data["keyId"], ["SENT", "DELIVERED", "READ"]),
    ],
)
def test_statuses_come_one_a_webhook_unsigned_in_the_shape_asked_for(
    instance: Simulator, receiver: Receiver, shape: str, channel: str, identified: Any, told: list[str]
) -> None:
    instance.register_instance(update_shape=shape, channel=channel)
    identity = send(instance).json()["key"]["id"]
    assert instance.wait_until_delivered()["sent"] == 3
    received = updates(receiver)
    assert sorted(each["data"]["status"] for each in received) == sorted(told)
    assert {identified(each["data"]) for each in received} == {identity}
    assert {each["instance"] for each in received} == {INSTANCE}
    assert {each.signature for each in receiver.accepted()} == {""}
    assert APIKEY not in receiver.accepted()[0].body.decode()


def test_statuses_in_the_shape_of_a_list_travel_together_as_numbers(instance: Simulator, receiver: Receiver) -> None:
    instance.register_instance(update_shape="list")
    instance.behave(webhook_batch_ms=50)
    identity = send(instance).json()["key"]["id"]
    instance.wait_until_delivered()
    items = [item for each in updates(receiver) for item in each["data"]]
    assert {item["key"]["id"] for item in items} == {identity}
    assert [item["update"]["status"] for item in items] == [2, 3, 4]


def test_a_person_writes_back(instance: Simulator, receiver: Receiver) -> None:
    inbound = {"phone_number_id": INSTANCE, "from": f"+{NUMBER}", "text": "SAIR"}
    instance.control("POST", "inbound", inbound)
    instance.control("POST", "inbound", {**inbound, "in_reply_to": "3EB0"})
    instance.control("POST", "inbound", {**inbound, "button": True})
    assert instance.wait_until_delivered()["sent"] == 3
    data = [each["data"] for each in updates(receiver, "messages.upsert")]
    assert {(each["key"]["remoteJid"], each["key"]["fromMe"]) for each in data} == {(f"{NUMBER}@s.whatsapp.net", False)}
    assert {each["messageType"] for each in data} == {"conversation", "extendedTextMessage", "buttonsResponseMessage"}


def test_a_webhook_that_was_refused_for_good_is_not_tried_again(instance: Simulator, receiver: Receiver) -> None:
    receiver.always = 404
    send(instance, "5511978000002")
    assert instance.wait_until_delivered()["failed"] == 1
    assert len(receiver.received) == 1


def test_the_address_book_has_people_a_group_and_somebody_hidden(instance: Simulator) -> None:
    instance.register_instance(contacts=[{"number": "+5531987654321", "name": "Ana"}])
    rows = instance.evolution("POST", "chat/findContacts", {"where": {}}).json()
    assert (rows[0]["remoteJid"], rows[0]["pushName"]) == ("553187654321@s.whatsapp.net", "Ana")
    assert [row["remoteJid"].partition("@")[2] for row in rows] == ["s.whatsapp.net", "g.us", "lid"]


def test_an_apikey_is_never_shown_and_an_instance_can_go(instance: Simulator) -> None:
    shown = instance.control("GET", "instances")
    page = instance.http.get(instance.url, timeout=60)
    assert APIKEY not in shown.text + page.text
    assert INSTANCE in page.text
    assert [each["instance"] for each in shown.json()["instances"]] == [INSTANCE]
    assert instance.control("DELETE", f"instances/{INSTANCE}").status_code == 200
    assert instance.control("DELETE", f"instances/{INSTANCE}").status_code == 404
    assert send(instance).status_code == 404


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"apikey": ""}, "apikey"),
        ({"state": "asleep"}, "state"),
        ({"channel": "pigeon"}, "channel"),
        ({"update_shape": "round"}, "update_shape"),
        ({"contacts": [{"name": "Ana"}]}, "contacts"),
        ({"instance": PHONE_NUMBER_ID}, "instance"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_wrong_field_of_an_instance_is_named(simulator: Simulator, fields: Any, named: str) -> None:
    response = simulator.control("POST", "instances", {"instance": "other", "apikey": "key", **fields})
    assert (response.status_code, response.json()["error"]["field"]) == (400, named)
