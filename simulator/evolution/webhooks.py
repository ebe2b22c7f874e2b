"""Evolution's webhooks: one event a request, without a signature (docs/wire.md, Evolution webhooks)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from simulator.delivering.outbox import SignedRequest, Update
from simulator.delivering.updates import Event, InboundMessage, StatusUpdate
from simulator.evolution.messages import jid_of
from simulator.state.instances import Instance
from simulator.state.ledger import Message

_LOCAL_TIME = timezone(timedelta(hours=-3))
_FINAL_REFUSALS = frozenset({400, 401, 403, 404, 422})
_WORDS = {"sent": "SERVER_ACK", "delivered": "DELIVERY_ACK", "read": "READ", "failed": "ERROR"}
_NUMBERS = {"failed": 0, "sent": 2, "delivered": 3, "read": 4}

Json = dict[str, object]


def written(instance: Instance, updates: Sequence[Update]) -> Iterator[tuple[SignedRequest, Sequence[Update]]]:
    """Yield a webhook for each update, in their order; statuses in the shape `list` travel together."""
    statuses = [each for each in updates if isinstance(each, StatusUpdate)]
    together = statuses if instance.update_shape == "list" else []
    if together:
        data = [_status(instance, each.message, each.step) for each in together]
        yield _request(instance, "messages.update", data), together
    for update in updates:
        if isinstance(update, StatusUpdate) and not together:
            yield _request(instance, "messages.update", _status(instance, update.message, update.step)), [update]
        elif isinstance(update, InboundMessage):
            yield _request(instance, "messages.upsert", _inbound(instance, update)), [update]
        elif isinstance(update, Event):
            yield _request(instance, update.name, update.value), [update]


def _request(instance: Instance, event: str, data: object) -> SignedRequest:
    envelope = {
        "event": event,
        "instance": instance.instance,
        "data": data,
        "destination": instance.webhook_url,
        # Local time marked as UTC, as the real Evolution writes it on a server in Brazil.
        "date_time": datetime.now(_LOCAL_TIME).isoformat(timespec="milliseconds")[:23] + "Z",
        "sender": "5511900000000@s.whatsapp.net",
        "server_url": "http://simulator",
        "apikey": None,
    }
    headers: Mapping[str, str] = {"Content-Type": "application/json"}
    return SignedRequest(json.dumps(envelope).encode(), headers, _FINAL_REFUSALS)


def _status(instance: Instance, message: Message, step: int) -> Json:
    status, _ = message.steps[step]
    jid = jid_of(message.wa_id)
    key: Json = {"remoteJid": jid, "fromMe": True, "id": message.message_id}
    # The business channel has Meta's words, in capitals.
    word = status.upper() if instance.is_business else _WORDS[status]
    if instance.update_shape == "list":
        return {"key": key, "update": {"status": _NUMBERS[status]}}
    if instance.update_shape == "flat":
        return {"key": key, "status": word.lower()}
    return {
        "keyId": message.message_id,
        "remoteJid": jid,
        "fromMe": True,
        "participant": None,
        "status": word,
        "pollUpdates": None,
        "instanceId": f"simulated-{instance.instance}",
        "messageId": f"row-{message.seq}",
    }


def _inbound(instance: Instance, inbound: InboundMessage) -> Json:
    context: Json = {"stanzaId": inbound.in_reply_to} if inbound.in_reply_to is not None else {}
    content: Json
    if inbound.button:
        button = {"selectedButtonId": inbound.text, "selectedDisplayText": inbound.text, "contextInfo": context}
        content = {"buttonsResponseMessage": button}
    elif context:
        content = {"extendedTextMessage": {"text": inbound.text, "contextInfo": context}}
    else:
        content = {"conversation": inbound.text}
    return {
        "key": {"remoteJid": jid_of(inbound.wa_id), "fromMe": False, "id": inbound.message_id},
        "pushName": inbound.name,
        "status": "DELIVERY_ACK",
        "message": content,
        "messageType": next(iter(content)),
        "messageTimestamp": int(inbound.at),
        "instanceId": f"simulated-{instance.instance}",
        "source": "android",
    }
