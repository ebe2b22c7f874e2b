"""What Evolution API's webhooks say, whatever version or fork sends them (docs/wire.md, Evolution webhooks).

    {"event", "instance", "data", "date_time", ...}   `data` is an object or a list of them

`date_time` is local time written as if it were UTC, and a status has no time of its own. So a status counts from when
it was read here. PENDING repeats what the answer to the send has said.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from campaign_engine.providers.base import Inbound, Notice, NoticeKind, StatusUpdate
from campaign_engine.providers.evolution.session import health_after
from campaign_engine.providers.values import moment_of, object_of, objects_of, text_of, words_of
from campaign_engine.rules.failures import ErrorClass
from campaign_engine.rules.states import MessageStatus

_STATUSES = {
    "SERVER_ACK": MessageStatus.SENT,
    "SENT": MessageStatus.SENT,  # the words of the business channel
    "DELIVERY_ACK": MessageStatus.DELIVERED,
    "DELIVERED": MessageStatus.DELIVERED,
    "READ": MessageStatus.READ,
    "PLAYED": MessageStatus.READ,
    "ERROR": MessageStatus.FAILED,
    "FAILED": MessageStatus.FAILED,
}
_NUMBERED = ("ERROR", "PENDING", "SERVER_ACK", "DELIVERY_ACK", "READ", "PLAYED")  # Baileys' enum, from 0
_PERSON = "@s.whatsapp.net"
_WRAPPERS = ("ephemeralMessage", "viewOnceMessage", "viewOnceMessageV2", "documentWithCaptionMessage")


def number_of(jid: Any) -> str | None:
    """Return the number in the WhatsApp id of a person (`5511...@s.whatsapp.net`), or None for all others.

    A device (`5511...:12@...`) is its person. Groups, broadcasts and hidden ids (`@lid`) have no number.
    """
    if not isinstance(jid, str) or not jid.endswith(_PERSON):
        return None
    number = jid.removesuffix(_PERSON).partition(":")[0]
    return number if number.isascii() and number.isdigit() and len(number) <= 20 else None


def statuses_in(payload: Mapping[str, Any], *, now: datetime) -> Iterator[StatusUpdate]:
    """Yield the statuses of a `messages.update`."""
    if _event_of(payload) != "messages.update":
        return
    for item in _data_of(payload):
        key, update = object_of(item.get("key")), object_of(item.get("update"))
        word = _status_word(item.get("status", update.get("status")))
        status = _STATUSES.get(word)
        identity = text_of(item.get("keyId")) or text_of(key.get("id"))
        if status is None or identity is None:
            continue
        failed = status is MessageStatus.FAILED
        yield StatusUpdate(
            status=status,
            at=now,
            number=_instance_of(payload),
            provider_message_id=identity,
            callback_data=None,
            recipient=number_of(item.get("remoteJid")) or number_of(key.get("remoteJid")),
            error_class=ErrorClass.RECIPIENT if failed else None,
            error_code=word.lower() if failed else None,
            error_detail="WhatsApp did not deliver the message and does not say why." if failed else None,
        )


def inbound_in(payload: Mapping[str, Any], *, now: datetime) -> Iterator[Inbound]:
    """Yield what people wrote to the number: a `messages.upsert` that is not from ourselves and not from a group."""
    if _event_of(payload) != "messages.upsert":
        return
    for item in _data_of(payload):
        key = object_of(item.get("key"))
        sender = number_of(key.get("remoteJid"))
        if sender is None and str(key.get("remoteJid")).endswith("@lid"):
            # A person who hides the number may still be known by it; versions put the number in different places.
            sender = number_of(key.get("senderPn")) or number_of(key.get("remoteJidAlt"))
        identity = text_of(key.get("id"))
        if key.get("fromMe") is not False or sender is None or identity is None:
            continue
        kind, text, button, context = _read(object_of(item.get("message")))
        yield Inbound(
            number=_instance_of(payload),
            provider_message_id=identity,
            sender=sender,
            at=moment_of(item.get("messageTimestamp")) or now,
            kind=kind,
            text=text,
            payload=button,
            answers=text_of((context or object_of(item.get("contextInfo"))).get("stanzaId")),
        )


def notices_in(payload: Mapping[str, Any]) -> Iterator[Notice]:
    """Yield what a `connection.update` says of the phone session: `open`, `connecting`, `close` or `refused`."""
    if _event_of(payload) != "connection.update":
        return
    for item in _data_of(payload):
        state = text_of(item.get("state"))
        if state is not None:
            reason = text_of(item.get("statusReason"))
            yield Notice(
                kind=NoticeKind.CONNECTION,
                value=state.lower(),
                detail=f"reason {reason}" if reason is not None else "",
                number=_instance_of(payload),
                health=health_after(state.lower()),
            )


def _event_of(payload: Mapping[str, Any]) -> str:
    return str(payload.get("event", "")).lower().replace("_", ".").replace("-", ".")


def _instance_of(payload: Mapping[str, Any]) -> str:
    return text_of(payload.get("instance")) or ""


def _data_of(payload: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    data = payload.get("data")
    if isinstance(data, dict) and isinstance(data.get("messages"), list):
        data = data["messages"]
    yield from objects_of(data if isinstance(data, list) else [data])


def _status_word(value: Any) -> str:
    text = (text_of(value) or "") if not isinstance(value, bool) else ""
    if text.isascii() and text.isdigit():
        return _NUMBERED[int(text)] if len(text) == 1 and int(text) < len(_NUMBERED) else ""
    return text.upper()


def _read(message: Mapping[str, Any]) -> tuple[str, str | None, str | None, Mapping[str, Any]]:
    """Return kind, text, payload of a button, and context of what a person sent."""
    for wrapper in _WRAPPERS:
        message = object_of(object_of(message.get(wrapper)).get("message")) or message
    if isinstance(message.get("conversation"), str):
        return "text", words_of(message["conversation"]), None, {}
    for name, kind, words, button in (
        ("extendedTextMessage", "text", "text", None),
        ("buttonsResponseMessage", "button", "selectedDisplayText", "selectedButtonId"),
        ("templateButtonReplyMessage", "button", "selectedDisplayText", "selectedId"),
        ("listResponseMessage", "interactive", "title", None),
        ("imageMessage", "image", "caption", None),
        ("videoMessage", "video", "caption", None),
        ("documentMessage", "document", "caption", None),
    ):
        part = object_of(message.get(name))
        if part:
            text = words_of(part.get(words))
            return kind, text, text_of(part.get(button)) if button else None, object_of(part.get("contextInfo"))
    kind = next((name.removesuffix("Message") for name in message if name.endswith("Message")), "unknown")
    return kind, None, None, {}
