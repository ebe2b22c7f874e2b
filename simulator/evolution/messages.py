"""The bodies of Evolution's calls: what they must hold, and what they ask for (docs/wire.md, Evolution sending)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from simulator import recipients
from simulator.recipients import Recipient
from simulator.sending import Sending

_SUMMARY_LENGTH = 60
_MEDIA_TYPES = ("image", "document", "video", "audio", "ptv")

Body = Mapping[str, Any]


class SchemaFault(Exception):
    """The body does not fit the schema of its path; `problems` are sentences."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class NotOnWhatsApp(Exception):
    """It cannot be a number, so nobody has it."""

    def __init__(self, number: str) -> None:
        super().__init__("no such number")
        self.number = number


def parse(raw: bytes) -> Body:
    """Return the JSON object of a request. Raises SchemaFault."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise SchemaFault("instance is not of a type(s) object")
    return body


def text(body: Body) -> Sending:
    """Return what `sendText` asks to send. Raises SchemaFault, NotOnWhatsApp."""
    _require(body, "number", "text")
    return Sending(recipient_of(body["number"]), "text", body["text"][:_SUMMARY_LENGTH], "service")


def media(body: Body) -> Sending:
    """Return what `sendMedia` asks to send. Raises SchemaFault, NotOnWhatsApp."""
    _require(body, "number", "mediatype", "media")
    kind = body["mediatype"]
    if kind not in _MEDIA_TYPES:
        raise SchemaFault(f"instance.mediatype is not one of enum values: {','.join(_MEDIA_TYPES)}")
    return Sending(recipient_of(body["number"]), kind, body["media"][:_SUMMARY_LENGTH], "service")


def sticker(body: Body) -> Sending:
    """Return what `sendSticker` asks to send. Raises SchemaFault, NotOnWhatsApp."""
    _require(body, "number", "sticker")
    return Sending(recipient_of(body["number"]), "sticker", body["sticker"][:_SUMMARY_LENGTH], "service")


def delay_ms(body: Body) -> int:
    """Return how long the request is to be held open. Raises SchemaFault."""
    delay = body.get("delay", 0)
    if isinstance(delay, bool) or not isinstance(delay, int) or delay < 0:
        raise SchemaFault("instance.delay is not of a type(s) integer")
    return delay


def numbers(body: Body) -> Sequence[str]:
    """Return the numbers that `whatsappNumbers` asks about. Raises SchemaFault."""
    found = body.get("numbers")
    if not isinstance(found, list) or not found or not all(isinstance(number, str) for number in found):
        raise SchemaFault('instance requires property "numbers"')
    return found


def recipient_of(number: str) -> Recipient:
    """Return the recipient of a number. Raises NotOnWhatsApp."""
    recipient = recipients.from_phone(number)
    if recipient is None:
        raise NotOnWhatsApp(number)
    return replace(recipient, wa_id=_wa_id_of(recipient.digits))


def jid_of(wa_id: str) -> str:
    return f"{wa_id}@s.whatsapp.net"


def _wa_id_of(digits: str) -> str:
    """Return the number from which Evolution makes an id; its rule is not Meta's (docs/wire.md, Evolution ids)."""
    if len(digits) != 13:
        return digits
    if digits.startswith(("52", "54")):
        return digits[:2] + digits[3:]
    if digits.startswith("55") and int(digits[2:4]) >= 31 and digits[5] >= "7":
        return digits[:4] + digits[5:]
    return digits


def _require(body: Body, *names: str) -> None:
    missing = [name for name in names if name not in body]
    if missing:
        raise SchemaFault(*(f'instance requires property "{name}"' for name in missing))
    wrong = [name for name in names if not isinstance(body[name], str) or not body[name]]
    if wrong:
        raise SchemaFault(*(f"instance.{name} is not of a type(s) string" for name in wrong))
