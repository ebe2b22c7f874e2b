"""What Meta's webhooks say beside statuses: what people write, and notices."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.providers.base import UNLIMITED, Inbound, Notice, NoticeKind
from campaign_engine.providers.cloud_api.adapter import CloudApi

NUMBER = "106540352242922"
AT = datetime(2025, 11, 24, 16, 0, tzinfo=UTC)
API = CloudApi(version="v26.0", timeout_s=1)


def change(field: str, value: Any, *, business: str = "WABA") -> dict[str, Any]:
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": business, "time": 1764000000, "changes": [{"field": field, "value": value}]}],
    }


def message(**fields: Any) -> dict[str, Any]:
    given = {"from": "5511900000001", "id": "wamid.in", "timestamp": "1764000000", "type": "text", **fields}
    return {name: value for name, value in given.items() if value is not None}


def inbound(*messages: Any, contacts: Any = None, number: str = NUMBER) -> dict[str, Any]:
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": number},
        "contacts": contacts or [{"wa_id": "5511900000001", "profile": {"name": "Ana"}}],
        "messages": list(messages),
    }
    return change("messages", value)


def read(**fields: Any) -> Inbound:
    (found,) = API.parse_inbound(inbound(message(**fields)))
    return found


def notice(field: str, value: dict[str, Any]) -> Notice:
    (found,) = API.parse_notices(change(field, value))
    return found


def test_a_text_is_read_in_full() -> None:
    assert read(text={"body": "Não quero mais 🙏"}, context={"from": "15550783881", "id": "wamid.ours"}) == Inbound(
        number=NUMBER,
        provider_message_id="wamid.in",
        sender="5511900000001",
        at=AT,
        kind="text",
        text="Não quero mais 🙏",
        payload=None,
        answers="wamid.ours",
    )


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("button", {"payload": "STOP", "text": "Stop promotions"}, ("Stop promotions", "STOP")),
        (
            "interactive",
            {"type": "button_reply", "button_reply": {"id": "opt-out", "title": "Sair"}},
            ("Sair", "opt-out"),
        ),
        (
            "interactive",
            {"type": "list_reply", "list_reply": {"id": "r1", "title": "Azul", "description": "d"}},
            ("Azul", "r1"),
        ),
        (
            "interactive",
            {"type": "nfm_reply", "nfm_reply": {"name": "flow", "body": "Sent", "response_json": '{"a": "stop"}'}},
            ("Sent", None),
        ),
        ("image", {"id": "1", "mime_type": "image/jpeg", "sha256": "x", "caption": "sair"}, ("sair", None)),
        ("audio", {"id": "1", "mime_type": "audio/ogg"}, (None, None)),
        ("document", {"id": "1", "caption": "c", "filename": "f.pdf"}, ("c", None)),
        ("location", {"latitude": 1, "longitude": 2}, (None, None)),
        ("sticker", {"id": "1"}, (None, None)),
        ("unheard_of", {"whatever": 1}, (None, None)),
        ("text", "not an object", (None, None)),
        ("text", {"body": {"not": "a text"}}, (None, None)),
    ],
)
def test_every_kind_of_message_is_read(kind: str, content: Any, said: tuple[str | None, str | None]) -> None:
    found = read(type=kind, **{kind: content})
    assert (found.kind, found.text, found.payload) == (kind, *said)


def test_a_reaction_answers_what_it_reacts_to() -> None:
    found = read(type="reaction", reaction={"message_id": "wamid.ours", "emoji": "👍"})
    assert (found.text, found.answers) == ("👍", "wamid.ours")


def test_what_whatsapp_cannot_show_is_a_message_all_the_same() -> None:
    found = read(type="unsupported", errors=[{"code": 131051, "title": "Unsupported"}])
    assert (found.kind, found.text) == ("unsupported", None)


def test_a_new_number_is_told_with_the_old_one_and_other_system_words_are_left_out() -> None:
    changed = {"type": "user_changed_number", "wa_id": "5511900000002", "body": "Ana changed from ..."}
    found = read(type="system", system=changed)
    assert (found.kind, found.sender, found.payload) == ("number_changed", "5511900000001", "5511900000002")
    other = message(type="system", system={"type": "user_changed_user_id", "user_id": "BR.2"})
    assert API.parse_inbound(inbound(other)) == []


@pytest.mark.parametrize(
    ("fields", "contacts", "sender"),
    [
        ({"from": None}, [{"wa_id": "5511900000009"}], "5511900000009"),
        ({"from": None, "from_user_id": "BR.13491208655302741918"}, [{"profile": {}}], "BR.13491208655302741918"),
        ({"from": None}, [{"user_id": "BR.1", "profile": {"username": "ana"}}], "BR.1"),
        ({"from": None}, [{"wa_id": "5511900000008"}, {"wa_id": "5511900000009"}], ""),
        ({"from": None}, [{}], ""),
    ],
)
def test_who_hides_the_number_is_named_by_what_there_is(fields: Any, contacts: Any, sender: str) -> None:
    (found,) = API.parse_inbound(inbound(message(**fields, text={"body": "x"}), contacts=contacts))
    assert found.sender == sender


def test_a_thousand_messages_over_many_entries_are_all_read_and_odd_ones_left_out() -> None:
    odd: list[Any] = [None, "x", message(id=None), message(timestamp="soon"), message(timestamp=None)]
    many = [message(id=f"wamid.{at}", text={"body": "oi"}) for at in range(1000)]
    payload = inbound(*odd, *many[:700])
    payload["entry"] += [None, *inbound(*many[700:], number="222")["entry"]]
    found = API.parse_inbound(payload)
    assert [each.provider_message_id for each in found] == [f"wamid.{at}" for at in range(1000)]
    assert {each.number for each in found} == {NUMBER, "222"}


def test_a_preference_is_of_a_person_and_its_time_is_a_number() -> None:
    value = {
        "metadata": {"phone_number_id": NUMBER},
        "contacts": [{"wa_id": "5511900000001"}],
        "user_preferences": [
            {
                "wa_id": "5511900000001",
                "detail": "User requested to stop marketing messages",
                "category": "marketing_messages",
                "value": "stop",
                "timestamp": 1764000000,
            },
            {"user_id": "BR.2", "category": "marketing_messages", "value": "resume", "timestamp": "1764000000"},
            {"wa_id": "5511900000003", "value": "perhaps"},
            {"value": "stop"},
            7,
        ],
    }
    stopped, resumed = API.parse_notices(change("user_preferences", value))
    assert (stopped.kind, stopped.subject, stopped.at, stopped.number) == (
        NoticeKind.MARKETING_STOPPED,
        "5511900000001",
        AT,
        NUMBER,
    )
    assert (resumed.kind, resumed.subject, resumed.at) == (NoticeKind.MARKETING_RESUMED, "BR.2", AT)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {"event": "PAUSED", "reason": "NONE", "other_info": {"title": "FIRST_PAUSE", "description": "for 3 hours"}},
            ("PAUSED", "for 3 hours"),
        ),
        ({"event": "REJECTED", "reason": "INVALID_FORMAT"}, ("REJECTED", "INVALID_FORMAT")),
        ({"event": "DELETED", "reason": None}, ("DELETED", "")),
        ({"event": "DISABLED", "other_info": {"title": "DISABLED"}}, ("DISABLED", "DISABLED")),
        ({"event": "APPROVED", "other_info": {"title": "UNPAUSE"}}, ("REINSTATED", "UNPAUSE")),
    ],
)
def test_the_state_of_a_template_comes_with_the_reason_that_is_given(
    value: dict[str, Any], said: tuple[str, str]
) -> None:
    named = {
        "message_template_id": 123456,
        "message_template_name": "promo",
        "message_template_language": "pt_BR",
        **value,
    }
    found = notice("message_template_status_update", named)
    assert (found.kind, found.value, found.detail) == (NoticeKind.TEMPLATE_STATUS, *said)
    assert (found.subject, found.language, found.business) == ("promo", "pt_BR", "WABA")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (
            "message_template_quality_update",
            {"previous_quality_score": "GREEN", "new_quality_score": "RED"},
            ("quality", "RED", "before: GREEN"),
        ),
        (
            "template_category_update",
            {"previous_category": "UTILITY", "new_category": "MARKETING"},
            ("category", "MARKETING", "before: UTILITY"),
        ),
        ("message_template_components_update", {"message_template_element": "new"}, ("components", "changed", "")),
    ],
)
def test_what_changes_about_a_template_is_named(field: str, value: dict[str, Any], said: tuple[str, str, str]) -> None:
    found = notice(field, {"message_template_name": "promo", "message_template_language": "en", **value})
    assert found.kind is NoticeKind.TEMPLATE_CHANGED
    assert (found.aspect, found.value, found.detail) == said


@pytest.mark.parametrize(
    ("value", "kind", "until"),
    [
        (
            {
                "event": "ACCOUNT_RESTRICTION",
                "restriction_info": [
                    {"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 1764000000},
                    {"restriction_type": "RESTRICTED_ADD_PHONE_NUMBER_ACTION"},
                ],
            },
            NoticeKind.ACCOUNT_STOPPED,
            AT,
        ),
        (
            {
                "event": "ACCOUNT_RESTRICTION",
                "restriction_info": [{"restriction_type": "RESTRICTED_ADD_PHONE_NUMBER_ACTION"}],
            },
            NoticeKind.ACCOUNT_ALERT,
            None,
        ),
        (
            {"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "SPAM"}},
            NoticeKind.ACCOUNT_STOPPED,
            None,
        ),
        (
            {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE", "waba_ban_date": "May 1"}},
            NoticeKind.ACCOUNT_STOPPED,
            None,
        ),
        (
            {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "SCHEDULE_FOR_DISABLE"}},
            NoticeKind.ACCOUNT_ALERT,
            None,
        ),
        ({"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"}}, NoticeKind.ACCOUNT_RESTORED, None),
        ({"event": "ACCOUNT_DELETED"}, NoticeKind.ACCOUNT_STOPPED, None),
        ({"event": "ACCOUNT_OFFBOARDED"}, NoticeKind.ACCOUNT_STOPPED, None),
        ({"event": "ACCOUNT_RECONNECTED"}, NoticeKind.ACCOUNT_RESTORED, None),
        ({"event": "VERIFIED_ACCOUNT", "phone_number": "15550783881"}, NoticeKind.ACCOUNT_ALERT, None),
    ],
)
def test_what_stops_an_account_is_told_from_what_is_only_to_be_known(
    value: dict[str, Any], kind: NoticeKind, until: datetime | None
) -> None:
    found = notice("account_update", value)
    assert (found.kind, found.value, found.until) == (kind, value["event"], until)
    assert found.number == ("+15550783881" if "phone_number" in value else None)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("business_capability_update", {"max_daily_conversations_per_business": 2000}, ("2000", 2000)),
        ("business_capability_update", {"max_daily_conversations_per_business": "TIER_10K"}, ("TIER_10K", 10_000)),
        ("business_capability_update", {"max_daily_conversations_per_business": -1}, (UNLIMITED, None)),
        ("business_capability_update", {"max_phone_numbers_per_business": 20}, ("changed", None)),
        ("business_capability_update", {"max_daily_conversations_per_business": True}, ("changed", None)),
        ("phone_number_quality_update", {"event": "UPGRADE", "current_limit": "TIER_100K"}, ("TIER_100K", 100_000)),
        ("phone_number_quality_update", {"event": "ONBOARDING", "current_limit": "TIER_250"}, ("TIER_250", 250)),
        ("phone_number_quality_update", {"current_limit": "TIER_UNLIMITED"}, (UNLIMITED, None)),
        ("phone_number_quality_update", {"event": "THROUGHPUT_UPGRADE"}, ("THROUGHPUT_UPGRADE", None)),
        ("phone_number_quality_update", {"current_limit": "TIER_9999999999999K"}, ("TIER_9999999999999K", None)),
    ],
)
def test_a_new_limit_is_counted_in_people_a_day(
    field: str, value: dict[str, Any], said: tuple[str, int | None]
) -> None:
    found = notice(field, value)
    assert (found.kind, found.value, found.limit) == (NoticeKind.LIMIT_CHANGED, *said)


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("account_alerts", {"alert_type": "OBA_APPROVED", "alert_severity": "INFO"}, "OBA_APPROVED"),
        ("security", {"event": "PIN_CHANGED", "display_phone_number": "+1 555 078 3881"}, "PIN_CHANGED"),
        ("phone_number_name_update", {"decision": "APPROVED", "requested_verified_name": "Shop"}, "APPROVED"),
    ],
)
def test_what_is_only_to_be_known_is_an_alert(field: str, value: dict[str, Any], word: str) -> None:
    found = notice(field, value)
    assert (found.kind, found.value) == (NoticeKind.ACCOUNT_ALERT, word)


@pytest.mark.parametrize("field", ["flows", "history", None, 7, "messages"])
def test_a_field_that_is_not_known_says_nothing(field: Any) -> None:
    assert API.parse_notices(change(field, {"event": "PAUSED", "message_template_name": "x"})) == []


_FIELDS = (
    *("messages", "user_preferences", "message_template_status_update", "message_template_quality_update"),
    *("account_update", "business_capability_update", "phone_number_quality_update", "account_alerts", "security"),
)
_NAMES = (
    *("metadata", "messages", "contacts", "from", "id", "timestamp", "type", "text", "button", "interactive", "system"),
    *("body", "event", "ban_info", "restriction_info", "user_preferences", "value", "wa_id", "other_info", "title"),
    *("message_template_name", "max_daily_conversations_per_business", "current_limit", "phone_number_id", "context"),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["1764000000", "stop", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=5),
    max_leaves=25,
)


@given(st.sampled_from(_FIELDS), st.dictionaries(st.sampled_from(_NAMES), _JSON, max_size=8))
def test_no_payload_whatsoever_breaks_the_reading(field: str, value: dict[str, Any]) -> None:
    payload = change(field, value)
    for found in (*API.parse_inbound(payload), *API.parse_notices(payload)):
        for text in (getattr(found, name) for name in found.__slots__):
            assert not isinstance(text, str) or ("\0" not in text and text.encode().decode() == text)
