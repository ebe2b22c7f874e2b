"""Status webhooks: signed, batched, repeated, reordered, retried; and what users write."""

import json
import struct
import time
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import pytest

from tests.simulator.running import (
    PHONE_NUMBER_ID,
    RECIPIENT,
    SECRET,
    Receiver,
    Simulator,
    receiving,
    signature_of,
    wait_for,
)


def recipient(place: int) -> str:
    return f"+551191000{place:04d}"


def sent_id(response: Any) -> str:
    return str(response.json()["messages"][0]["id"])


def draws(seed: int, key: str) -> list[float]:
    """Work out the draws as the documentation describes them, without the simulator's code."""
    return [word / 2**32 for word in struct.unpack(">16I", blake2b(f"{seed}:{key}".encode()).digest())]


def test_the_receivers_own_signature_code_agrees_with_rfc_4231() -> None:
    assert signature_of(b"Jefe", b"what do ya want for nothing?") == (
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_a_message_climbs_the_ladder_and_brings_its_callback_data_back(
    simulator: Simulator, receiver: Receiver
) -> None:
    message_id = sent_id(simulator.send(RECIPIENT, "c:42"))
    statuses = wait_for(lambda: (found := receiver.statuses(message_id))[2:] and found)
    assert [status["status"] for status in statuses] == ["sent", "delivered", "read"]
    for status in statuses:
        assert status["recipient_id"] == "5511910000001"
        assert status["biz_opaque_callback_data"] == "c:42"
        assert isinstance(status["timestamp"], str) and abs(int(status["timestamp"]) - time.time()) < 60
    assert ["pricing" in status for status in statuses] == [True, True, False]
    simulator.wait_until_delivered()
    (entry,) = simulator.ledger()
    assert entry["fate"] == "read"
    assert [status["status"] for status in entry["statuses"]] == ["sent", "delivered", "read"]
    assert all(status["webhook_acknowledged_at"] >= status["at"] for status in entry["statuses"])


def test_the_envelope_is_metas(simulator: Simulator, receiver: Receiver) -> None:
    number = simulator.register(display_phone_number="15550783881", waba_id="424242")
    simulator.send()
    webhook = wait_for(receiver.accepted)[0]
    assert webhook.path == "/webhooks/cloud"
    assert webhook.json["object"] == "whatsapp_business_account"
    assert webhook.json["entry"][0]["id"] == number["waba_id"]
    (change, *_) = webhook.changes
    assert change["field"] == "messages"
    assert change["value"]["messaging_product"] == "whatsapp"
    assert change["value"]["metadata"] == {
        "display_phone_number": "15550783881",
        "phone_number_id": PHONE_NUMBER_ID,
    }


def test_the_signature_covers_escaped_bytes_that_a_receiver_cannot_rebuild(
    simulator: Simulator, receiver: Receiver
) -> None:
    simulator.send(callback_data="ação 🎉")
    webhook = wait_for(receiver.accepted)[0]
    assert b"a\\u00e7\\u00e3o" in webhook.body and webhook.body.isascii()
    rebuilt = json.dumps(webhook.json, ensure_ascii=False, separators=(",", ":")).encode()
    assert webhook.signature == signature_of(SECRET.encode(), webhook.body)
    assert webhook.signature != signature_of(SECRET.encode(), rebuilt)


def test_what_is_due_together_travels_together_on_all_three_levels(simulator: Simulator, receiver: Receiver) -> None:
    # The time of a batch counts from the one before; the last message lets all that waited go with it.
    simulator.behave(webhook_batch_ms=0, read_share=0)
    sent = {sent_id(simulator.send(recipient(251)))}
    simulator.wait_until_delivered()
    simulator.behave(webhook_batch_ms=600_000)
    sent |= {sent_id(simulator.send(recipient(place))) for place in range(250)}
    simulator.behave(webhook_batch_ms=0)
    sent.add(sent_id(simulator.send(recipient(252))))
    simulator.wait_until_delivered()
    assert {status["id"] for status in receiver.statuses()} == sent
    assert len(receiver.statuses()) == 504
    assert len(receiver.accepted()) < 10
    fullest = max(receiver.accepted(), key=lambda webhook: len(webhook.of("statuses")))
    assert len(fullest.json["entry"]) > 1
    assert len(fullest.json["entry"][0]["changes"]) > 1


def test_no_webhook_holds_more_updates_than_the_limit(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(webhook_batch_ms=200, webhook_batch_size=7)
    for place in range(20):
        simulator.send(recipient(place))
    simulator.wait_until_delivered()
    assert max(len(webhook.of("statuses")) for webhook in receiver.accepted()) == 7
    assert len(receiver.statuses()) == 60


def test_fates_follow_from_seed_and_callback_data(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(
        seed=7, failure_share=0.2, failure_codes=[131026, 131049], delivered_share=0.8, read_share=0.5,
        skip_delivered_share=0.3,
    )  # fmt: skip
    expected: dict[str, list[str]] = {}
    codes: dict[str, int] = {}
    for place in range(120):
        key = f"m{place}"
        draw = draws(7, key)
        if draw[0] < 0.2:
            expected[key], codes[key] = ["failed"], [131026, 131049][int(draw[1] * 2)]
        elif draw[2] >= 0.8:
            expected[key] = ["sent"]
        elif draw[3] >= 0.5:
            expected[key] = ["sent", "delivered"]
        else:
            expected[key] = ["sent", "read"] if draw[4] < 0.3 else ["sent", "delivered", "read"]
        simulator.send(recipient(place), key)
    simulator.wait_until_delivered()
    seen: dict[str, list[str]] = {}
    for status in receiver.statuses():
        seen.setdefault(status["biz_opaque_callback_data"], []).append(status["status"])
        if status["status"] == "failed":
            (error,) = status["errors"]
            assert error["code"] == codes[status["biz_opaque_callback_data"]]
            assert error["title"] and error["message"] and error["error_data"]["details"] and error["href"]
    assert seen == expected
    assert len({tuple(statuses) for statuses in expected.values()}) == 5, "every fate occurs"
    for entry in simulator.ledger():
        assert [status["status"] for status in entry["statuses"]] == expected[entry["callback_data"]]
        assert entry["fate"] == expected[entry["callback_data"]][-1]
        assert entry["error_code"] == codes.get(entry["callback_data"])


def test_a_message_without_callback_data_is_drawn_by_its_recipient(simulator: Simulator) -> None:
    simulator.behave(seed=3, read_share=0.5)
    for place in range(30):
        simulator.send(recipient(place))
    for entry in simulator.ledger():
        assert entry["fate"] == ("read" if draws(3, entry["to_key"])[3] < 0.5 else "delivered")


@pytest.mark.parametrize(
    ("to", "statuses"),
    [
        ("+5511976131049", ["failed"]),
        ("+5511978000002", ["sent"]),
        ("+5511978000003", ["sent", "delivered"]),
        ("+5511978000004", ["sent", "read"]),
        ("+5511978000005", []),
        ("+5511978000008", ["sent", "delivered", "read"]),
    ],
)
def test_magic_numbers_have_their_fate(simulator: Simulator, receiver: Receiver, to: str, statuses: list[str]) -> None:
    message_id = sent_id(simulator.send(to))
    simulator.wait_until_delivered()
    assert [status["status"] for status in receiver.statuses(message_id)] == statuses
    (entry,) = simulator.ledger()
    assert entry["fate"] == (statuses[-1] if statuses else "silent")
    assert entry["error_code"] == (131049 if "failed" in statuses else None)


def test_statuses_keep_their_delays(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(sent_delay_ms=50, delivered_delay_ms=[100, 150], read_delay_ms=500)
    simulator.send()
    simulator.wait_until_delivered()
    (entry,) = simulator.ledger()
    sent, delivered, read = (status["at"] for status in entry["statuses"])
    assert sent - entry["received_at"] == pytest.approx(0.05, abs=0.001)
    assert 0.1 <= delivered - sent <= 0.15
    assert read - delivered == pytest.approx(0.5, abs=0.001)
    acknowledged = [status["webhook_acknowledged_at"] for status in entry["statuses"]]
    assert acknowledged[0] < read, "the first was told before the last was due"


def test_a_status_that_lies_ahead_is_not_in_the_ledger_yet(simulator: Simulator) -> None:
    simulator.behave(delivered_delay_ms=60_000)
    simulator.send()
    entry = wait_for(lambda: (page := simulator.ledger())[0]["statuses"] and page[0])
    assert [status["status"] for status in entry["statuses"]] == ["sent"]
    assert entry["fate"] == "read", "though its end is decided"


def test_updates_can_be_sent_twice(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(duplicate_webhook_share=0.5, duplicate_delay_ms=[0, 50], seed=2)
    for place in range(30):
        simulator.send(recipient(place), f"m{place}")
    simulator.wait_until_delivered()
    seen: dict[tuple[str, str], int] = {}
    for status in receiver.statuses():
        key = (status["id"], status["status"])
        seen[key] = seen.get(key, 0) + 1
    assert set(seen.values()) == {1, 2}
    for entry in simulator.ledger():
        for name in ("sent", "delivered", "read"):
            assert seen[(entry["message_id"], name)] == (2 if name in entry["duplicated"] else 1)


def test_the_first_status_can_come_after_the_second(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(reorder_webhook_share=1, sent_delay_ms=0, delivered_delay_ms=30, read_delay_ms=400)
    simulator.send()
    simulator.wait_until_delivered()
    assert [status["status"] for status in receiver.statuses()] == ["delivered", "sent", "read"]
    assert simulator.ledger()[0]["reordered"] is True


def test_a_refused_webhook_comes_again_with_the_same_bytes(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(read_share=0, delivered_share=0)
    receiver.answers[:] = [500, 302, 204]
    simulator.send()
    webhooks = simulator.wait_until_delivered()
    assert [each.status_answered for each in receiver.received] == [500, 302, 204, 200]
    assert len({each.body for each in receiver.received}) == 1
    assert webhooks == {"sent": 1, "pending": 0, "failed": 0, "attempts": 4, "attempts_refused": 3}


def test_a_webhook_that_is_never_taken_is_given_up(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(webhook_attempts=3, read_share=0, delivered_share=0)
    receiver.always = 503
    simulator.send()
    webhooks = simulator.wait_until_delivered()
    assert webhooks == {"sent": 0, "pending": 0, "failed": 1, "attempts": 3, "attempts_refused": 3}
    assert simulator.ledger()[0]["statuses"][0]["webhook_acknowledged_at"] is None


def test_waits_between_attempts_double(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(webhook_attempts=5, webhook_retry_ms=40, read_share=0, delivered_share=0)
    receiver.always = 503
    simulator.send()
    simulator.wait_until_delivered()
    times = [each.at for each in receiver.received]
    _, third, fourth, fifth = (after - before for before, after in pairwise(times))
    assert (third >= 0.04, fourth >= 0.08, fifth >= 0.16) == (True, True, True)


def test_a_receiver_that_is_down_gets_its_webhooks_when_it_is_back(simulator: Simulator) -> None:
    simulator.behave(read_share=0, delivered_share=0, webhook_retry_longest_ms=20, webhook_attempts=1000)
    with receiving() as gone:
        url = gone.url
    simulator.register(webhook_url=url)
    simulator.send()
    wait_for(lambda: simulator.summary()["webhooks"]["attempts_refused"] >= 3)
    with receiving() as back:
        simulator.register(webhook_url=back.url)
        simulator.wait_until_delivered()
        assert [status["status"] for status in back.statuses()] == ["sent"]


def test_what_is_due_sooner_overtakes_what_is_due_later(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(sent_delay_ms=60_000)
    simulator.send(recipient(1))
    simulator.behave(sent_delay_ms=0)
    message_id = sent_id(simulator.send(recipient(2)))
    wait_for(lambda: len(receiver.statuses(message_id)) == 3)


def test_reset_takes_back_what_waits_and_what_is_to_be_tried_again(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(webhook_retry_ms=150, read_share=0, delivered_share=0)
    receiver.answers[:] = [500, 500]
    simulator.send(callback_data="to be tried again")
    wait_for(lambda: simulator.summary()["webhooks"]["attempts_refused"] == 2)
    simulator.behave(sent_delay_ms=150)
    simulator.send(recipient(2), "waits")
    simulator.control("POST", "reset")
    assert set(simulator.summary()["webhooks"].values()) == {0}
    # A message that is told of later than both would have been shows that neither was.
    simulator.behave(sent_delay_ms=250)
    simulator.send(recipient(3), "after")
    simulator.wait_until_delivered()
    assert [status["biz_opaque_callback_data"] for status in receiver.statuses()] == ["after"]


def test_a_number_that_lost_its_address_loses_its_webhooks(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(sent_delay_ms=100, read_share=0, delivered_share=0)
    simulator.send()
    simulator.register(webhook_url=None)
    assert simulator.wait_until_delivered()["failed"] == 1
    assert receiver.received == []


def test_a_slow_receiver_holds_up_nobody_elses_webhooks(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(webhook_concurrency=1)
    receiver.hold.clear()
    with receiving() as quick:
        simulator.register(phone_number_id="2", webhook_url=quick.url)
        simulator.send(recipient(1))
        simulator.send(recipient(2), phone_number_id="2")
        wait_for(lambda: len(quick.statuses()) == 3)
        assert receiver.received == []
        receiver.hold.set()
        simulator.wait_until_delivered()


def test_without_a_webhook_address_nothing_is_owed(simulator: Simulator) -> None:
    simulator.send()
    entry = wait_for(lambda: (page := simulator.ledger())[0]["statuses"][2:] and page[0])
    assert set(simulator.summary()["webhooks"].values()) == {0}
    assert [status["webhook_acknowledged_at"] for status in entry["statuses"]] == [None] * 3


def test_a_user_can_write_by_hand_and_be_marked_as_read(simulator: Simulator, receiver: Receiver) -> None:
    body = {"phone_number_id": PHONE_NUMBER_ID, "from": "+5531987654321", "text": "SAIR", "name": "Ana"}
    made = simulator.control("POST", "inbound", body)
    assert made.status_code == 202
    (message,) = wait_for(receiver.inbound)
    assert message["from"] == made.json()["from"] == "553187654321", "as WhatsApp knows the person"
    assert message["id"] == made.json()["message_id"]
    assert (message["type"], message["text"]) == ("text", {"body": "SAIR"})
    assert isinstance(message["timestamp"], str)
    contacts = receiver.accepted()[0].of("contacts")
    assert contacts == [{"wa_id": "553187654321", "profile": {"name": "Ana"}}]

    receipt = {"messaging_product": "whatsapp", "status": "read", "message_id": message["id"]}
    assert simulator.post_message(receipt).json() == {"success": True}
    typing = {**receipt, "typing_indicator": {"type": "text"}}
    assert simulator.post_message(typing).json() == {"success": True}
    unknown = simulator.post_message({**receipt, "message_id": "wamid.unknown"})
    assert unknown.json()["error"]["code"] == 131009
    assert simulator.ledger() == [], "a read receipt is not a message"


def test_recipients_can_answer_with_the_word_that_opts_out(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(reply_share=1, reply_text="PARAR")
    simulator.send()
    (message,) = wait_for(receiver.inbound)
    assert (message["from"], message["text"]["body"]) == ("5511910000001", "PARAR")
    assert simulator.ledger()[0]["replies"] is True


def test_a_reply_can_be_a_button_of_our_message(simulator: Simulator, receiver: Receiver) -> None:
    simulator.behave(reply_kind="button")
    message_id = sent_id(simulator.send("+5511978000006"))
    (message,) = wait_for(receiver.inbound)
    assert message["button"] == {"payload": "SAIR", "text": "SAIR"}
    assert message["context"]["id"] == message_id


def test_any_other_event_can_be_announced(simulator: Simulator, receiver: Receiver) -> None:
    value = {"event": "ACCOUNT_RESTRICTION", "restriction_info": [{"restriction_type": "X"}]}
    body = {"phone_number_id": PHONE_NUMBER_ID, "field": "account_update", "value": value}
    assert simulator.control("POST", "events", body).status_code == 202
    webhook = wait_for(receiver.accepted)[0]
    assert webhook.changes == [{"field": "account_update", "value": value}]
    assert isinstance(webhook.json["entry"][0]["time"], int)
