"""What Evolution API answers instead of a sent message, as data: one class per failure, with its source.

Evolution has no codes of its own, so the codes here are ours. Source: docs/wire.md, Evolution API (read in
Evolution 2.3.6, commit 3454bec7), unless an entry says otherwise. On the WHATSAPP-BUSINESS channel it passes Meta's
errors on, with Meta's codes and classes.

A closed session is a failure of the account and does not pass by itself: somebody has to scan the QR code again, and
every further message of that number would meet the same.

If the message may have left, the failure has no class (None). The Cloud API's adapter may try such a message again
after a pause, because a status with our own id would have settled the row meanwhile. On this wire no id of ours
travels: webhooks are matched by `key.id`, and a failed answer does not give it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from campaign_engine.providers.base import Failure
from campaign_engine.providers.cloud_api.errors import MARKETING_REFUSED, MAY_HAVE_LEFT, classify
from campaign_engine.providers.values import object_of, objects_of, text_of
from campaign_engine.rules.failures import ErrorClass

NOTHING_SAID = "Evolution API does not say why."

CLASS_OF_STATUS: dict[int, tuple[ErrorClass, str]] = {
    401: (ErrorClass.ACCOUNT, "unauthorized"),  # the apikey is that of another instance, or of none
    403: (ErrorClass.ACCOUNT, "forbidden"),
    404: (ErrorClass.ACCOUNT, "instance_unknown"),  # or the address leads elsewhere: “Cannot POST ...”
    408: (ErrorClass.TEMPORARY, "http_408"),  # a gateway: the request did not arrive in time (RFC 9110, 15.5.9)
    413: (ErrorClass.CAMPAIGN, "too_large"),  # over 136 MB
    429: (ErrorClass.THROTTLED, "http_429"),  # a gateway: Evolution itself does not limit
    503: (ErrorClass.TEMPORARY, "http_503"),  # a gateway: there is nobody to handle the request (RFC 9110, 15.6.4)
}


@dataclass(frozen=True, slots=True)
class KnownFault:
    """A fault that is recognised by its words; `words` are lower case and part of the message.

    If `status` is given, the same words with another HTTP status mean something else.
    """

    words: str
    error_class: ErrorClass
    code: str
    status: int | None = None


KNOWN_FAULTS = (
    # The phone's session is not open. Baileys checks that before it writes to its socket.
    KnownFault("connection closed", ErrorClass.ACCOUNT, "session_closed"),
    # Inferred: the number is looked up before anything is sent, on a session that was never opened.
    KnownFault("(reading 'onwhatsapp')", ErrorClass.ACCOUNT, "session_closed"),
    # Templates exist on the business channel only.
    KnownFault("method not available", ErrorClass.CAMPAIGN, "not_available"),
    # The file is fetched before anything is sent, outside the attempt to send (which answers 400). The words are from
    # Evolution's HTTP client, by which it also calls other systems once a message has left.
    KnownFault("request failed with status code", ErrorClass.CAMPAIGN, "media_unavailable", status=500),
)

# A fault while sending is an exception turned into a text (“Error: Connection Closed”); a check of the request answers
# with a sentence. The attempt to send also stores the message, so such a fault may come after it left.
_EXCEPTION = re.compile(r"\s*\w*(?:Error|Exception)\b")


def failure_of(status: int, payload: Any, *, retry_after_s: float | None = None) -> Failure | None:
    """Return why Evolution certainly did not send, or None when the message may have left."""
    body = object_of(payload)
    meta = meta_error_of(body)
    if meta is not None:
        return None if meta["code"] in MAY_HAVE_LEFT else _of_meta(meta)
    messages = list(_messages_of(body))
    words = text_of(" ".join(message for message in messages if isinstance(message, str)).strip())
    if any(answer.get("exists") is False for answer in objects_of(messages)):
        return Failure(ErrorClass.RECIPIENT, "not_on_whatsapp", "This number is not on WhatsApp.")
    for fault in KNOWN_FAULTS:
        if words is not None and fault.words in words.lower() and fault.status in (None, status):
            return Failure(fault.error_class, fault.code, words)
    known = CLASS_OF_STATUS.get(status)
    if known is not None:
        return Failure(known[0], known[1], words or NOTHING_SAID, retry_after_s=retry_after_s)
    if any(isinstance(message, list) for message in messages):
        return Failure(ErrorClass.CAMPAIGN, "invalid_request", _sentence_of(messages) or NOTHING_SAID)
    if 300 <= status < 400 or (400 <= status < 500 and "response" not in body):
        # No envelope of Evolution's: something in front of it refused, or the address leads elsewhere.
        return Failure(ErrorClass.ACCOUNT, f"http_{status}", words or NOTHING_SAID)
    if 400 <= status < 500 and words is not None and not _EXCEPTION.match(words):
        return Failure(ErrorClass.CAMPAIGN, f"http_{status}", words)
    return None


def meta_error_of(payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return Meta's error if a body is one or holds one: on the business channel it comes with a 201."""
    nested = payload.get("error")
    for error in (nested, payload):
        if isinstance(error, dict) and type(error.get("code")) is int:
            return error
    return None


def _of_meta(error: Mapping[str, Any]) -> Failure:
    detail = object_of(error.get("error_data")).get("details")
    return Failure(
        error_class=classify(error["code"], is_transient=error.get("is_transient") is True),
        code=str(error["code"]),
        detail=text_of(detail) or text_of(error.get("message")) or NOTHING_SAID,
        person_refuses_marketing=error["code"] == MARKETING_REFUSED,
    )


def _messages_of(body: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what the envelope says: texts, objects, and lists of texts for a body that breaks the schema."""
    response = body.get("response")
    message = response.get("message") if isinstance(response, dict) else body.get("message")
    if isinstance(message, list):
        yield from message
    elif message is not None:
        yield message


def _sentence_of(messages: list[Any]) -> str | None:
    nested = (text for message in messages if isinstance(message, list) for text in message)
    return text_of("; ".join(text for text in nested if isinstance(text, str)))
