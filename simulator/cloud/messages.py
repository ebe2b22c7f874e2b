"""The body of a send request: what it must hold, and what it asks for (docs/wire.md, Sending)."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simulator import recipients
from simulator.behaviour import Behaviour
from simulator.errors import Refused
from simulator.recipients import Recipient
from simulator.sending import Sending
from simulator.state.numbers import Number
from simulator.state.templates import Templates

_SUMMARY_LENGTH = 60
_CALLBACK_DATA_LENGTH = 512
_MEDIA_WITH_CAPTION = ("image", "video", "document")
_INTERACTIVE_TYPES = (
    "button", "list", "cta_url", "flow", "catalog_message", "product", "product_list",
    "location_request_message", "contact_request", "address_message", "call_permission_request",
)  # fmt: skip

Body = Mapping[str, Any]


def parse(raw: bytes) -> Body:
    """Return the JSON object of a request. Raises Refused (100)."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused(100, "The request body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise Refused(100, "The request body must be a JSON object.")
    product = body.get("messaging_product")
    if product is None:
        raise Refused(100, "The parameter messaging_product is required.")
    if not isinstance(product, str) or product.lower() != "whatsapp":
        raise Refused(100, "Param messaging_product must be one of {WHATSAPP}.")
    return body


def read_receipt(body: Body) -> str | None:
    """Return the id of the user's message that the request marks as read, None when it is no read receipt.

    It comes with or without the typing indicator (docs/wire.md, Read receipts). Raises Refused.
    """
    if "status" not in body:
        return None
    if body["status"] != "read":
        raise Refused(100, "Param status must be one of {READ}.")
    message_id = body.get("message_id")
    if not isinstance(message_id, str) or not message_id:
        raise Refused(131008, "The parameter message_id is required.")
    typing = body.get("typing_indicator")
    if typing is not None and (not isinstance(typing, dict) or typing.get("type") != "text"):
        raise Refused(131009, "Param typing_indicator.type must be text.")
    return message_id


def sending(body: Body, number: Number, templates: Templates, behaviour: Behaviour) -> Sending:
    """Return what the request asks to send. Raises Refused with Meta's code for what is wrong."""
    recipient = _recipient(body, behaviour.country_code_without_plus)
    if recipient.wa_id and recipient.wa_id == recipients.wa_id_of(number.display_phone_number):
        raise Refused(131021, "The recipient is the sender.")
    callback_data = _callback_data(body.get("biz_opaque_callback_data"))
    kind = body.get("type", "text")
    if not isinstance(kind, str):
        raise Refused(100, "Param type must be a string.")
    if kind == "template":
        summary, category = _template(_payload(body, kind), number, templates, behaviour.accept_unknown_templates)
    else:
        check = _CHECKS.get(kind)
        if check is None:
            raise Refused(131051, f"Message type {kind[:40]} is not supported.")
        summary, category = check(kind, _payload(body, kind)), "service"
    return Sending(recipient, kind, summary, category, callback_data)


def _recipient(body: Body, country_code_without_plus: str) -> Recipient:
    if body.get("recipient_type", "individual") != "individual":
        raise Refused(100, "Param recipient_type must be individual: this simulator has no groups.")
    # `to` wins when both are there.
    if "to" in body:
        to = body["to"]
        recipient = recipients.from_phone(to, country_code_without_plus) if isinstance(to, str) else None
        if recipient is None:
            raise Refused(131009, "Param to is not a valid phone number.")
        return recipient
    user_id = body.get("recipient")
    if user_id is None:
        raise Refused(131008, "The parameter to is required.")
    recipient = recipients.from_user_id(user_id) if isinstance(user_id, str) else None
    if recipient is None:
        raise Refused(131009, "Param recipient is not a valid business-scoped user id.")
    return recipient


def _callback_data(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _CALLBACK_DATA_LENGTH:
        longest = f"a string of at most {_CALLBACK_DATA_LENGTH} characters"
        raise Refused(100, f"Param biz_opaque_callback_data must be {longest}.")
    return value


def _payload(body: Body, kind: str) -> Any:
    if kind not in body:
        raise Refused(131008, f"The parameter {kind} is required.")
    return body[kind]


def _object(kind: str, payload: object) -> Body:
    if not isinstance(payload, dict):
        raise Refused(100, f"Param {kind} must be a JSON object.")
    return payload


def _text(kind: str, payload: object) -> str:
    text = _object(kind, payload).get("body")
    if text is None or text == "":
        raise Refused(131008, "The parameter text['body'] is required.")
    if not isinstance(text, str):
        raise Refused(100, "Param text['body'] must be a string.")
    if len(text) > 4096:
        raise Refused(100, "Param text['body'] must be at most 4096 characters long.")
    return text[:_SUMMARY_LENGTH]


def _media(kind: str, payload: object) -> str:
    media = _object(kind, payload)
    media_id, link = media.get("id"), media.get("link")
    if not media_id and not link:
        raise Refused(131008, f"One of the parameters {kind}['id'] and {kind}['link'] is required.")
    source = media_id or link
    if not isinstance(source, str):
        raise Refused(100, f"Param {kind}['id'] or {kind}['link'] must be a string.")
    if not media_id and not source.lower().startswith(("http://", "https://")):
        raise Refused(131009, f"Param {kind}['link'] must be an http or https address.")
    caption = media.get("caption")
    if caption is not None and (kind not in _MEDIA_WITH_CAPTION or not isinstance(caption, str)):
        raise Refused(100, f"Param {kind}['caption'] is not allowed.")
    if caption is not None and len(caption) > 1024:
        raise Refused(100, f"Param {kind}['caption'] must be at most 1024 characters long.")
    return f"{kind} {source}"[:_SUMMARY_LENGTH]


def _interactive(kind: str, payload: object) -> str:
    interactive = _object(kind, payload)
    style = interactive.get("type")
    if style not in _INTERACTIVE_TYPES:
        raise Refused(131009, "Param interactive['type'] is not a known type.")
    action = interactive.get("action")
    if not isinstance(action, dict):
        raise Refused(131008, "The parameter interactive['action'] is required.")
    buttons = action.get("buttons", [])
    if style == "button" and not (isinstance(buttons, list) and 1 <= len(buttons) <= 3):
        raise Refused(131009, "Param interactive['action']['buttons'] must have 1 to 3 buttons.")
    return f"interactive {style}"


def _reaction(kind: str, payload: object) -> str:
    if not _object(kind, payload).get("message_id"):
        raise Refused(131008, "The parameter reaction['message_id'] is required.")
    return kind


def _location(kind: str, payload: object) -> str:
    location = _object(kind, payload)
    for name in ("latitude", "longitude"):
        if name not in location:
            raise Refused(131008, f"The parameter location['{name}'] is required.")
    return kind


def _contacts(kind: str, payload: object) -> str:
    if not isinstance(payload, list) or not payload:
        raise Refused(131008, "The parameter contacts is required.")
    return kind


def _template(payload: object, number: Number, templates: Templates, accept_unknown_templates: bool) -> tuple[str, str]:
    """Return the summary and the pricing category of a template message. Raises Refused."""
    template = _object("template", payload)
    name = template.get("name")
    if not isinstance(name, str) or not name:
        raise Refused(131008, "The parameter template['name'] is required.")
    language = template.get("language")
    code = language.get("code") if isinstance(language, dict) else None
    if not isinstance(code, str) or not code:
        raise Refused(131008, "The parameter template['language']['code'] is required.")
    components = _components(template.get("components", []))
    known = templates.find(number.waba_id, name, code, accept_unknown=accept_unknown_templates)
    if known is not None:
        known.check(components)
    category = known.category.lower() if known is not None else "marketing"
    return f"template {name}/{code}"[:_SUMMARY_LENGTH], category


def _components(components: object) -> Sequence[Body]:
    if not isinstance(components, list) or not all(isinstance(each, dict) for each in components):
        raise Refused(100, "Param template['components'] must be an array of objects.")
    for component in components:
        parameters = component.get("parameters", [])
        if not isinstance(parameters, list) or not all(isinstance(each, dict) for each in parameters):
            raise Refused(100, "Param template['components']['parameters'] must be an array of objects.")
    return components


_CHECKS: dict[str, Callable[[str, object], str]] = {
    "text": _text,
    "image": _media,
    "video": _media,
    "audio": _media,
    "document": _media,
    "sticker": _media,
    "interactive": _interactive,
    "location": _location,
    "contacts": _contacts,
    "reaction": _reaction,
}
