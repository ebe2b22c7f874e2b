"""What the Cloud API's webhooks say: statuses, what people wrote, and notices (docs/wire.md, Webhooks).

    {"entry": [{"id": <business account>, "changes": [{"field", "value"}]}]}

A body holds up to 1,000 updates over its entries and changes. Anything missing, of another type or unknown is ignored,
and nothing here raises.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from campaign_engine.providers.base import UNLIMITED, Inbound, Notice, NoticeKind, StatusUpdate
from campaign_engine.providers.cloud_api.errors import MARKETING_REFUSED, classify
from campaign_engine.providers.values import moment_of, object_of, objects_of, text_of, words_of
from campaign_engine.rules.states import MessageStatus

_STATUSES = {
    "sent": MessageStatus.SENT,
    "delivered": MessageStatus.DELIVERED,
    "read": MessageStatus.READ,
    "played": MessageStatus.READ,  # a voice note that was listened to
    "failed": MessageStatus.FAILED,
}


@dataclass(frozen=True, slots=True)
class _Change:
    """One change of one entry, and whom it speaks of."""

    business: str | None
    field: str
    value: Mapping[str, Any]

    @property
    def number(self) -> str:
        """The phone number id it names, or nothing."""
        return text_of(object_of(self.value.get("metadata")).get("phone_number_id")) or ""


def numbers_in(payload: Mapping[str, Any]) -> set[str]:
    """Return the phone number ids a webhook body speaks of."""
    return {change.number for change in _changes(payload) if change.number}


def statuses_in(payload: Mapping[str, Any]) -> Iterator[StatusUpdate]:
    """Yield the statuses of messages."""
    for change in _changes(payload):
        number = change.number
        for item in objects_of(change.value.get("statuses")):
            status = _STATUSES.get(str(item.get("status")))
            at = moment_of(item.get("timestamp"))
            if status is None or at is None:
                continue
            error = next(objects_of(item.get("errors")), {})
            code = error.get("code")
            yield StatusUpdate(
                status=status,
                at=at,
                number=number,
                provider_message_id=text_of(item.get("id")),
                callback_data=text_of(item.get("biz_opaque_callback_data")),
                recipient=text_of(item.get("recipient_id")),
                error_class=classify(code) if isinstance(code, int) else None,
                error_code=text_of(code),
                error_detail=text_of(
                    object_of(error.get("error_data")).get("details") or error.get("message") or error.get("title")
                ),
                person_refuses_marketing=code == MARKETING_REFUSED,
                business=change.business,
            )


def inbound_in(payload: Mapping[str, Any]) -> Iterator[Inbound]:
    """Yield what people wrote.

    If a person hides the number, a business-scoped id, which begins with letters, names the person, in `sender` too.
    """
    for change in _changes(payload):
        number = change.number
        contacts = list(objects_of(change.value.get("contacts")))
        contact = contacts[0] if len(contacts) == 1 else {}  # with several, nothing says whose message it is
        for item in objects_of(change.value.get("messages")):
            identity, at = text_of(item.get("id")), moment_of(item.get("timestamp"))
            if identity is None or at is None or not number:
                continue
            kind = text_of(item.get("type")) or "unknown"
            if kind == "system":
                yield from _changed_number(item, number=number, identity=identity)
                continue
            text, payload_of_button, reacts_to = _content(kind, object_of(item.get(kind)))
            yield Inbound(
                number=number,
                provider_message_id=identity,
                sender=(
                    text_of(item.get("from"))
                    or text_of(contact.get("wa_id"))
                    or text_of(item.get("from_user_id"))
                    or text_of(contact.get("user_id"))
                    or ""
                ),
                at=at,
                kind=kind,
                text=text,
                payload=payload_of_button,
                answers=text_of(object_of(item.get("context")).get("id")) or reacts_to,
            )


def _changed_number(item: Mapping[str, Any], *, number: str, identity: str) -> Iterator[Inbound]:
    """Yield that a person has a new number, which is the payload; other system messages of WhatsApp are ignored."""
    system, at = object_of(item.get("system")), moment_of(item.get("timestamp"))
    old = text_of(item.get("from")) or text_of(system.get("customer"))
    new = text_of(system.get("wa_id")) or text_of(system.get("new_wa_id"))
    if system.get("type") in ("user_changed_number", "customer_changed_number") and old and new and at:
        yield Inbound(
            number=number, provider_message_id=identity, sender=old, at=at, kind="number_changed", payload=new
        )


def _content(kind: str, content: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
    """Return the words of a message, the payload of a pressed button, and the id of the message reacted to."""
    if kind == "text":
        return words_of(content.get("body")), None, None
    if kind == "button":
        return words_of(content.get("text")), text_of(content.get("payload")), None
    if kind == "interactive":
        for name in ("button_reply", "list_reply"):
            reply = object_of(content.get(name))
            if reply:
                return words_of(reply.get("title")), text_of(reply.get("id")), None
        return words_of(object_of(content.get("nfm_reply")).get("body")), None, None
    if kind == "reaction":
        return words_of(content.get("emoji")), None, text_of(content.get("message_id"))
    return words_of(content.get("caption")), None, None


def notices_in(payload: Mapping[str, Any]) -> Iterator[Notice]:
    """Yield what Meta says of templates, accounts, limits and the preferences of people."""
    for change in _changes(payload):
        read = _NOTICES.get(change.field)
        if read is not None:
            yield from read(change)


def _preferences(change: _Change) -> Iterator[Notice]:
    kinds = {"stop": NoticeKind.MARKETING_STOPPED, "resume": NoticeKind.MARKETING_RESUMED}
    for item in objects_of(change.value.get("user_preferences")):
        word = text_of(item.get("value")) or ""
        person = text_of(item.get("wa_id")) or text_of(item.get("user_id"))
        if word in kinds and person is not None:
            yield Notice(
                kind=kinds[word],
                value=word,
                detail=text_of(item.get("detail")) or "",
                number=change.number or None,
                business=change.business,
                subject=person,
                at=moment_of(item.get("timestamp")),
            )


def _template_status(change: _Change) -> Iterator[Notice]:
    value = change.value
    event, name = text_of(value.get("event")), text_of(value.get("message_template_name"))
    if event is None or name is None:
        return
    other = object_of(value.get("other_info"))
    title = text_of(other.get("title")) or ""
    reason = text_of(value.get("reason"))
    yield Notice(
        kind=NoticeKind.TEMPLATE_STATUS,
        # The end of a pause is told in two ways.
        value="REINSTATED" if title.upper().startswith("UNPAUSE") else event.upper(),
        detail=text_of(other.get("description")) or (reason if reason and reason.upper() != "NONE" else "") or title,
        business=change.business,
        subject=name,
        language=text_of(value.get("message_template_language")),
    )


def _template_change(aspect: str, now_field: str, before_field: str) -> Callable[[_Change], Iterator[Notice]]:
    """Return a reader of a change of a template: the new value in one field, the old one in the other."""

    def read(change: _Change) -> Iterator[Notice]:
        name = text_of(change.value.get("message_template_name"))
        word = text_of(change.value.get(now_field)) if now_field else "changed"
        if name is None or word is None:
            return
        before = text_of(change.value.get(before_field)) if before_field else None
        yield Notice(
            kind=NoticeKind.TEMPLATE_CHANGED,
            value=word,
            detail=f"before: {before}" if before else "",
            business=change.business,
            subject=name,
            language=text_of(change.value.get("message_template_language")),
            aspect=aspect,
        )

    return read


_STOPS = frozenset({"ACCOUNT_VIOLATION", "ACCOUNT_DELETED", "ACCOUNT_OFFBOARDED", "PARTNER_REMOVED"})
_STOPPING_RESTRICTIONS = ("RESTRICTED_BIZ_INITIATED_MESSAGING", "RESTRICTED_CUSTOMER_INITIATED_MESSAGING")


def _account_update(change: _Change) -> Iterator[Notice]:
    value = change.value
    event = text_of(value.get("event"))
    if event is None:
        return
    kind, detail, until = NoticeKind.ACCOUNT_ALERT, "", None
    if event in _STOPS:
        kind = NoticeKind.ACCOUNT_STOPPED
        detail = text_of(object_of(value.get("violation_info")).get("violation_type")) or ""
    elif event == "ACCOUNT_RECONNECTED":
        kind = NoticeKind.ACCOUNT_RESTORED
    elif event == "ACCOUNT_RESTRICTION":
        restrictions = list(objects_of(value.get("restriction_info")))
        words = [text_of(each.get("restriction_type")) or "" for each in restrictions]
        if any(word in _STOPPING_RESTRICTIONS for word in words):
            kind = NoticeKind.ACCOUNT_STOPPED
        detail = ", ".join(filter(None, words))
        until = max(filter(None, (moment_of(each.get("expiration")) for each in restrictions)), default=None)
    elif event == "DISABLED_UPDATE":
        ban = object_of(value.get("ban_info"))
        state = text_of(ban.get("waba_ban_state")) or ""
        detail = " ".join(filter(None, (state, text_of(ban.get("waba_ban_date")))))
        if state == "REINSTATE":
            kind = NoticeKind.ACCOUNT_RESTORED
        elif state != "SCHEDULE_FOR_DISABLE":
            kind = NoticeKind.ACCOUNT_STOPPED
    about = object_of(value.get("waba_info"))
    yield Notice(
        kind=kind,
        value=event,
        detail=detail,
        number=_displayed_number(value.get("phone_number")),
        business=text_of(about.get("waba_id")) or change.business,
        until=until,
    )


def _limit_changed(change: _Change) -> Iterator[Notice]:
    """Yield the recipients a day of the whole portfolio; news about one number's throughput has no count."""
    value = change.value
    given = next(
        (
            each
            for name in ("max_daily_conversations_per_business", "max_daily_conversation_per_phone", "current_limit")
            if (each := value.get(name)) is not None
        ),
        None,
    )
    word, limit = tier_of(given)
    yield Notice(
        kind=NoticeKind.LIMIT_CHANGED,
        value=word or text_of(value.get("event")) or "changed",
        detail=text_of(value.get("event")) or "",
        number=_displayed_number(value.get("display_phone_number")),
        business=change.business,
        limit=limit,
    )


def tier_of(given: Any) -> tuple[str | None, int | None]:
    """Return (Meta's word, recipients a day) of a limit such as 2000 or `TIER_2K`; no count for `UNLIMITED`."""
    word = text_of(given)
    if isinstance(given, bool) or word is None:
        return None, None
    digits = word.upper().removeprefix("TIER_")
    if digits in ("UNLIMITED", "-1"):
        return UNLIMITED, None
    thousands = digits.endswith("K")
    digits = digits.removesuffix("K")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 9 or int(digits) == 0:
        return word, None
    return word, int(digits) * (1000 if thousands else 1)


def _alert(*names: str) -> Callable[[_Change], Iterator[Notice]]:
    """Return a reader of news on which the engine does not act; the first of `names` found is Meta's word for it."""

    def read(change: _Change) -> Iterator[Notice]:
        said = [text for name in names if (text := text_of(change.value.get(name))) is not None]
        if said:
            yield Notice(
                kind=NoticeKind.ACCOUNT_ALERT,
                value=said[0],
                detail=", ".join(said[1:]),
                number=_displayed_number(change.value.get("display_phone_number")),
                business=change.business,
            )

    return read


_NOTICES: Mapping[str, Callable[[_Change], Iterator[Notice]]] = {
    "user_preferences": _preferences,
    "message_template_status_update": _template_status,
    "message_template_quality_update": _template_change("quality", "new_quality_score", "previous_quality_score"),
    "template_category_update": _template_change("category", "new_category", "previous_category"),
    "message_template_components_update": _template_change("components", "", ""),
    "account_update": _account_update,
    "business_capability_update": _limit_changed,
    "phone_number_quality_update": _limit_changed,
    "account_alerts": _alert("alert_type", "alert_severity", "alert_status", "alert_description"),
    "security": _alert("event"),
    "phone_number_name_update": _alert("decision", "requested_verified_name", "rejection_reason"),
}


def _displayed_number(value: Any) -> str | None:
    """Return the digits of a telephone number: these fields name it, and not its id."""
    digits = "".join(char for char in text_of(value) or "" if char.isascii() and char.isdigit())
    return f"+{digits}" if digits else None


def _changes(payload: Mapping[str, Any]) -> Iterator[_Change]:
    for entry in objects_of(payload.get("entry")):
        business = text_of(entry.get("id"))
        for change in objects_of(entry.get("changes")):
            value = change.get("value")
            if isinstance(value, dict):
                yield _Change(business=business, field=str(change.get("field")), value=value)
