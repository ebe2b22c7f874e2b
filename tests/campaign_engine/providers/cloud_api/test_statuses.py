"""What Meta's webhooks say of our messages, and the signature that says who wrote them."""

import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.providers.base import StatusUpdate
from campaign_engine.providers.cloud_api import door, webhooks
from campaign_engine.providers.cloud_api.adapter import CloudApi
from campaign_engine.rules.failures import ErrorClass
from campaign_engine.rules.states import MessageStatus
from tests.campaign_engine.providers.sending import NUMBER


def status(**fields: Any) -> dict[str, Any]:
    return {
        "id": "wamid.1",
        "status": "delivered",
        "timestamp": "1764000000",
        "recipient_id": "5511900000001",
        **fields,
    }


def webhook(*changes: Sequence[dict[str, Any]], number: str = NUMBER) -> dict[str, Any]:
    """A body with one entry per change."""
    return {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": "WABA",
                "changes": [
                    {
                        "field": "messages",
                        "value": {"metadata": {"phone_number_id": number}, "statuses": list(statuses)},
                    }
                ],
            }
            for statuses in changes
        ],
    }


def test_a_status_is_read_in_full(api: CloudApi) -> None:
    error = {"code": 131026, "title": "Undeliverable", "message": "m", "error_data": {"details": "not on WhatsApp"}}
    payload = webhook([status(status="failed", biz_opaque_callback_data="m-1", errors=[error, {"code": 1}])])
    assert api.parse_statuses(payload) == [
        StatusUpdate(
            status=MessageStatus.FAILED,
            at=datetime(2025, 11, 24, 16, 0, tzinfo=UTC),
            number=NUMBER,
            provider_message_id="wamid.1",
            callback_data="m-1",
            recipient="5511900000001",
            error_class=ErrorClass.RECIPIENT,
            error_code="131026",
            error_detail="not on WhatsApp",
            business="WABA",
        )
    ]


def test_a_thousand_statuses_over_many_entries_are_all_read_in_order(api: CloudApi) -> None:
    statuses = [status(id=f"wamid.{at}") for at in range(1000)]
    payload = webhook(*(statuses[at : at + 100] for at in range(0, 800, 100)))
    payload["entry"].append({"changes": [*webhook(statuses[800:900])["entry"][0]["changes"]]})
    payload["entry"][-1]["changes"] += webhook(statuses[900:], number="222")["entry"][0]["changes"]
    found = api.parse_statuses(payload)
    assert [update.provider_message_id for update in found] == [f"wamid.{at}" for at in range(1000)]
    assert [update.number for update in found] == [NUMBER] * 900 + ["222"] * 100
    assert webhooks.numbers_in(payload) == {NUMBER, "222"}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("sent", MessageStatus.SENT),
        ("delivered", MessageStatus.DELIVERED),
        ("read", MessageStatus.READ),
        ("played", MessageStatus.READ),
        ("failed", MessageStatus.FAILED),
    ],
)
def test_every_status_of_the_wire_is_understood(api: CloudApi, said: str, meant: MessageStatus) -> None:
    assert [update.status for update in api.parse_statuses(webhook([status(status=said)]))] == [meant]


def test_what_may_be_absent_may_be_absent(api: CloudApi) -> None:
    bare = {"status": "sent", "timestamp": 1764000000, "recipient_user_id": "BR.abc", "conversation": None, "new": {}}
    payload = webhook([bare])
    del payload["entry"][0]["changes"][0]["value"]["metadata"]
    (update,) = api.parse_statuses(payload)
    assert update == StatusUpdate(
        MessageStatus.SENT, datetime(2025, 11, 24, 16, 0, tzinfo=UTC), "", None, None, recipient=None, business="WABA"
    )


def test_a_timestamp_may_be_a_number_or_a_text(api: CloudApi) -> None:
    found = api.parse_statuses(webhook([status(timestamp=1764000000), status(timestamp="1764000000")]))
    assert found[0].at == found[1].at == datetime(2025, 11, 24, 16, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"code": 131049, "title": "t", "message": "m"}, (ErrorClass.RECIPIENT, "131049", "m")),
        ({"code": 131049, "title": "t"}, (ErrorClass.RECIPIENT, "131049", "t")),
        ({"code": 999999}, (ErrorClass.RECIPIENT, "999999", None)),
        ({"code": "131049", "title": "t"}, (None, "131049", "t")),
        ({"error_data": "a text", "title": "t"}, (None, None, "t")),
        ({}, (None, None, None)),
    ],
)
def test_the_reason_of_a_failure_is_the_most_that_is_said(
    api: CloudApi, error: dict[str, Any], said: tuple[ErrorClass | None, str | None, str | None]
) -> None:
    (update,) = api.parse_statuses(webhook([status(status="failed", errors=[error])]))
    assert (update.error_class, update.error_code, update.error_detail) == said


def test_what_is_not_understood_is_left_out_and_the_rest_is_read(api: CloudApi) -> None:
    odd: list[Any] = [
        status(status="warned"),
        status(status=None),
        status(timestamp="yesterday"),
        status(timestamp=10**30),
        status(timestamp=None),
        "a text",
        None,
    ]
    payload = webhook([*odd, status(id="wamid.good")])
    payload["entry"][0]["changes"][0]["value"]["messages"] = [{"from": "5511900000001", "type": "text"}]
    payload["entry"] += [None, {"changes": "none"}, {"changes": [{"value": []}]}, {"id": "WABA"}]
    assert [update.provider_message_id for update in api.parse_statuses(payload)] == ["wamid.good"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.sampled_from(["sent"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)
_STATUS = st.dictionaries(
    st.sampled_from(["id", "status", "timestamp", "recipient_id", "biz_opaque_callback_data", "errors"]),
    _JSON | st.just("failed") | st.just("1764000000") | st.lists(st.dictionaries(st.just("code"), _JSON), max_size=2),
)


@given(
    payload=st.fixed_dictionaries({"entry": _JSON})
    | st.builds(lambda statuses: webhook(statuses), st.lists(_STATUS, max_size=3))
)
def test_no_payload_whatsoever_breaks_the_reading(payload: dict[str, Any]) -> None:
    webhooks.numbers_in(payload)
    for update in CloudApi(version="v26.0", timeout_s=1).parse_statuses(payload):
        assert update.at.tzinfo is UTC
        for text in (update.provider_message_id, update.callback_data, update.recipient, update.error_detail):
            assert text is None or "\0" not in text
            assert text is None or text.encode().decode() == text


# --- Signatures.


def test_the_signature_is_that_of_rfc_4231_case_2() -> None:
    body = b"what do ya want for nothing?"
    signed = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert door.signature_of("Jefe", body) == signed
    assert door.secrets_equal(door.signature_of("Jefe", body), signed)


@pytest.mark.parametrize(
    "signature",
    ["", "sha256=", "5bdcc146", "sha1=5bdcc146bf60754e6a042426089575c75a003f08", "sha256=ã", "sha256=" + "0" * 64],
)
def test_another_signature_does_not_match(signature: str) -> None:
    assert not door.secrets_equal(door.signature_of("Jefe", b"what do ya want for nothing?"), signature)


def test_the_signature_covers_the_raw_bytes() -> None:
    raw = b'{"text": "\\u00e4"}'
    rewritten = json.dumps(json.loads(raw), ensure_ascii=False).encode()
    assert door.signature_of("secret", raw) != door.signature_of("secret", rewritten)


def test_secrets_are_compared_whole() -> None:
    assert door.secrets_equal("segredo ã", "segredo ã")
    assert not door.secrets_equal("segredo", "segredo ")


def test_secrets_and_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append((one, other)) or real(one, other))
    assert not door.secrets_equal("segredo", "x")
    assert [other for _, other in compared] == [b"x"]
