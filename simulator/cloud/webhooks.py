"""Meta's webhook body and its signature (docs/wire.md, Webhooks)."""

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from itertools import groupby

from simulator.delivering.outbox import SignedRequest, Update
from simulator.delivering.updates import Event, InboundMessage, StatusUpdate
from simulator.graph_errors import webhook_error
from simulator.state.ledger import Message
from simulator.state.numbers import Number

# Updates may be spread over entries, changes and statuses. A full webhook uses all three levels, so that a receiver
# that reads only the first of any of them loses something.
_UPDATES_A_CHANGE = 20
_CHANGES_AN_ENTRY = 10

Json = dict[str, object]


def sign(number: Number, updates: Sequence[Update]) -> SignedRequest:
    """Return one webhook with all these updates of one number, in their order.

    Non-ASCII characters leave as \\uXXXX, and the signature covers exactly the bytes that are sent.
    """
    envelope = {"object": "whatsapp_business_account", "entry": list(_entries(number, updates))}
    body = json.dumps(envelope, separators=(",", ":")).encode()
    signature = hmac.new(number.app_secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={signature}"}
    return SignedRequest(body, headers)


def _entries(number: Number, updates: Sequence[Update]) -> Iterator[Json]:
    changes: list[Json] = []
    for kind, run in groupby(updates, type):
        if kind is Event:
            for update in run:
                if isinstance(update, Event):
                    yield _event_entry(number, update)
            continue
        alike = list(run)
        for start in range(0, len(alike), _UPDATES_A_CHANGE):
            changes.append(_messages_change(number, alike[start : start + _UPDATES_A_CHANGE]))
    for start in range(0, len(changes), _CHANGES_AN_ENTRY):
        yield {"id": number.waba_id, "changes": changes[start : start + _CHANGES_AN_ENTRY]}


def _event_entry(number: Number, event: Event) -> Json:
    return {
        "id": number.waba_id,
        "time": int(event.at),
        "changes": [{"field": event.name, "value": event.value}],
    }


def _messages_change(number: Number, updates: Sequence[Update]) -> Json:
    value: Json = {
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": number.display_phone_number,
            "phone_number_id": number.phone_number_id,
        },
    }
    statuses = [_status(each.message, each.step) for each in updates if isinstance(each, StatusUpdate)]
    inbound = [each for each in updates if isinstance(each, InboundMessage)]
    if statuses:
        value["statuses"] = statuses
    if inbound:
        value["contacts"] = [{"wa_id": each.wa_id, "profile": {"name": each.name}} for each in inbound]
        value["messages"] = [_inbound(number, each) for each in inbound]
    return {"field": "messages", "value": value}


def _status(message: Message, step: int) -> Json:
    status, at = message.steps[step]
    shown: Json = {"id": message.message_id, "status": status, "timestamp": str(int(at))}
    if message.wa_id:
        shown["recipient_id"] = message.wa_id
    else:
        shown["recipient_user_id"] = message.to_key
    if message.callback_data is not None:
        shown["biz_opaque_callback_data"] = message.callback_data
    if status == "failed" and message.fate.error_code is not None:
        shown["errors"] = [webhook_error(message.fate.error_code)]
    elif step <= 1:
        # Pricing comes with `sent` and with one of `delivered` and `read`.
        shown["pricing"] = _pricing(message.category)
    return shown


def _pricing(category: str) -> Json:
    free = category == "service"
    return {
        "billable": not free,
        "pricing_model": "PMP",
        "type": "free_customer_service" if free else "regular",
        "category": category,
    }


def _inbound(number: Number, inbound: InboundMessage) -> Json:
    shown: Json = {"from": inbound.wa_id, "id": inbound.message_id, "timestamp": str(int(inbound.at))}
    if inbound.in_reply_to is not None:
        shown["context"] = {"from": number.display_phone_number, "id": inbound.in_reply_to}
    if inbound.button:
        shown["type"] = "button"
        shown["button"] = {"payload": inbound.text, "text": inbound.text}
    else:
        shown["type"] = "text"
        shown["text"] = {"body": inbound.text}
    return shown
