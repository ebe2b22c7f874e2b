"""What Meta's Graph shows of a phone number and of a WABA, and how it pages lists (docs/wire.md, Health)."""

import base64
import re
from collections.abc import Sequence

from simulator.behaviour import Behaviour
from simulator.errors import Refused
from simulator.state.numbers import Number

_DEFAULT_PHONE_FIELDS = ("id", "display_phone_number", "verified_name", "quality_rating")
_DEFAULT_WABA_FIELDS = ("id", "name", "currency", "timezone_id")
_NESTED = re.compile(r"\{[^{}]*\}|\.[a-z]+\([^()]*\)")
_PAGE_LIMIT = 100

# Most unique recipients of each tier; the names above TIER_250 are not confirmed by Meta's pages.
_TIERS = ((250, "TIER_250"), (2_000, "TIER_2K"), (10_000, "TIER_10K"), (100_000, "TIER_100K"))


def requested_fields(text: str) -> tuple[str, ...]:
    """Return the names in `fields=`; what stands in braces or parentheses behind a name is ignored."""
    return tuple(name.strip() for name in _NESTED.sub("", text).split(",") if name.strip())


def phone_number(number: Number, fields: Sequence[str], behaviour: Behaviour) -> dict[str, object]:
    """Return the node of a phone number. Raises Refused (100) for a field it does not have."""
    rate = behaviour.throughput_per_s if number.throughput_per_s is None else number.throughput_per_s
    tier = _tier(behaviour.unique_recipients_per_day)
    known: dict[str, object] = {
        "id": number.phone_number_id,
        "display_phone_number": f"+{number.display_phone_number}",
        "verified_name": number.verified_name,
        "quality_rating": number.quality_rating,
        "code_verification_status": "VERIFIED",
        "name_status": "APPROVED",
        "status": number.status,
        "throughput": {"level": "STANDARD" if 0 < rate <= 80 else "HIGH"},
        "platform_type": "CLOUD_API",
        "account_mode": "SANDBOX",
        "webhook_configuration": {"application": number.webhook_url} if number.webhook_url else {},
        "health_status": _health(number),
        "whatsapp_business_manager_messaging_limit": tier,
        "messaging_limit_tier": tier,
    }
    return _selected(known, fields or _DEFAULT_PHONE_FIELDS, "WhatsAppBusinessPhoneNumber")


def waba(waba_id: str, fields: Sequence[str]) -> dict[str, object]:
    """Return the node of a WABA. Raises Refused (100) for a field it does not have."""
    known: dict[str, object] = {
        "id": waba_id,
        "name": "Simulated WABA",
        "currency": "BRL",
        "timezone_id": "25",
        "health_status": {"can_send_message": "AVAILABLE", "entities": _account_entities(waba_id)},
    }
    return _selected(known, fields or _DEFAULT_WABA_FIELDS, "WhatsAppBusinessAccount")


def page_of(items: Sequence[object], limit_text: str | None, after: str | None) -> dict[str, object]:
    """Return one page of a list with Graph's cursors. Raises Refused (100)."""
    limit = _PAGE_LIMIT
    if limit_text is not None:
        if not (limit_text.isascii() and limit_text.isdigit() and 1 <= len(limit_text) <= 6 and int(limit_text)):
            raise Refused(100, "Param limit must be a positive integer.")
        limit = int(limit_text)
    start = _place(after) if after else 0
    page = list(items[start : start + limit])
    if not page:
        return {"data": []}
    paging: dict[str, object] = {"cursors": {"before": _cursor(start), "after": _cursor(start + len(page))}}
    return {"data": page, "paging": paging}


def _selected(known: dict[str, object], fields: Sequence[str], node_type: str) -> dict[str, object]:
    for name in fields:
        if name not in known:
            raise Refused(100, f"Tried accessing nonexisting field ({name[:60]}) on node type ({node_type})")
    return {"id": known["id"], **{name: known[name] for name in fields}}


def _health(number: Number) -> dict[str, object]:
    phone: dict[str, object] = {"entity_type": "PHONE_NUMBER", "id": number.phone_number_id}
    if number.status != "CONNECTED":
        worst = "BLOCKED"
        phone["errors"] = [
            {
                "error_code": 141000,
                "error_description": f"The phone number is {number.status}.",
                "possible_solution": "Bring the phone number back to CONNECTED.",
            }
        ]
    elif number.quality_rating == "RED":
        worst = "LIMITED"
        phone["additional_info"] = ["The quality rating of the phone number is low."]
    else:
        worst = "AVAILABLE"
    phone["can_send_message"] = worst
    return {"can_send_message": worst, "entities": [phone, *_account_entities(number.waba_id)]}


def _account_entities(waba_id: str) -> list[dict[str, object]]:
    return [
        {"entity_type": entity_type, "id": entity_id, "can_send_message": "AVAILABLE"}
        for entity_type, entity_id in (
            ("WABA", waba_id),
            ("BUSINESS", "200000000000001"),
            ("APP", "300000000000001"),
        )
    ]


def _tier(unique_recipients_per_day: int) -> str:
    if not unique_recipients_per_day:
        return "TIER_UNLIMITED"
    reached = [name for size, name in _TIERS if size <= unique_recipients_per_day]
    return reached[-1] if reached else _TIERS[0][1]


def _cursor(place: int) -> str:
    return base64.urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def _place(cursor: str) -> int:
    try:
        return max(0, int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))))
    except ValueError:
        raise Refused(100, "Param after is not a cursor.") from None
