"""What the Cloud API's adapter makes of an answer: whose fault it is, and when to try again."""

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.providers.base import Accepted, Outcome, Refused
from campaign_engine.providers.cloud_api.adapter import CloudApi
from campaign_engine.rules.failures import ErrorClass
from tests.campaign_engine.providers.sending import NUMBER, TOKEN, refusal, send, sender, sent_to
from tests.campaign_engine.providers.wire import GOOD_BODY, Request, answering, response, serving

# --- Answers without Meta's envelope: the HTTP status decides.


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (302, ErrorClass.ACCOUNT),
        (400, ErrorClass.CAMPAIGN),
        (401, ErrorClass.ACCOUNT),
        (403, ErrorClass.ACCOUNT),
        (404, ErrorClass.ACCOUNT),
        (408, ErrorClass.TEMPORARY),
        (413, ErrorClass.CAMPAIGN),
        (429, ErrorClass.THROTTLED),
        (500, ErrorClass.TEMPORARY),
        (503, ErrorClass.TEMPORARY),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", {"error": "a text"}, {"error": {"message": "no code"}}, ["error"]])
def test_without_an_envelope_the_status_decides(status: int, error_class: ErrorClass, body: object) -> None:
    outcome = sent_to(answering(response(status, body)))
    assert refusal(outcome) == (error_class, f"http_{status}")
    assert isinstance(outcome, Refused)
    assert outcome.failure.may_have_left is (status >= 500)


def test_with_an_envelope_the_code_decides_and_not_the_status() -> None:
    for status in (200, 400, 403, 429, 500, 502, 504):
        envelope = {"error": {"code": 131056, "message": "pair", "error_data": "a plain text"}}
        outcome = sent_to(answering(response(status, envelope)))
        assert refusal(outcome) == (ErrorClass.TEMPORARY, "131056")
        assert isinstance(outcome, Refused)
        assert outcome.failure.detail == "pair"
        assert not outcome.failure.may_have_left


def test_an_unlisted_code_is_temporary_only_where_meta_says_so() -> None:
    transient = {"error": {"code": 999999, "is_transient": True, "message": "later"}}
    final = {"error": {"code": 999999, "is_transient": "yes", "message": "never"}}
    assert refusal(sent_to(answering(response(500, transient))))[0] is ErrorClass.TEMPORARY
    assert refusal(sent_to(answering(response(500, final))))[0] is ErrorClass.RECIPIENT


@pytest.mark.parametrize(("code", "may_have_left"), [(131000, True), (2, True), (131056, False), (131057, False)])
def test_a_fault_of_the_providers_own_may_have_let_the_message_out(code: int, may_have_left: bool) -> None:
    outcome = sent_to(answering(response(500, {"error": {"code": code, "message": "oops"}})))
    assert isinstance(outcome, Refused)
    assert outcome.failure.may_have_left is may_have_left


@pytest.mark.parametrize("status", [201, 202])
def test_another_kind_of_success_is_a_success(status: int) -> None:
    assert isinstance(sent_to(answering(response(status))), Accepted)


def test_an_empty_error_beside_an_id_is_a_success() -> None:
    assert isinstance(sent_to(answering(response(200, {**GOOD_BODY, "error": None}))), Accepted)


def test_the_details_are_preferred_cut_and_fit_for_the_database() -> None:
    details = "linha\x00 \ud800" + "ã" * 1000
    envelope = {"error": {"code": 131026, "message": "short", "error_data": {"details": details}}}
    outcome = sent_to(answering(response(400, envelope)))
    assert isinstance(outcome, Refused)
    assert outcome.failure.detail.startswith("linha")
    assert outcome.failure.detail.endswith("ãã")
    assert len(outcome.failure.detail) == 500
    assert "\0" not in outcome.failure.detail
    outcome.failure.detail.encode()


def test_a_message_id_and_an_alias_are_fit_for_the_database() -> None:
    body = {"messages": [{"id": "wamid.\ud83d\x00" + "x" * 5000}], "contacts": [{"wa_id": "55\x0011"}]}
    outcome = sent_to(answering(response(body=body)))
    assert isinstance(outcome, Accepted)
    assert "\0" not in f"{outcome}"
    assert len(outcome.provider_message_id.encode()) <= 2000  # what an index of PostgreSQL takes, and more than Meta's
    assert outcome.wa_id == "5511"


def test_a_redirect_is_not_followed(api: CloudApi) -> None:
    with serving(answering(response())) as elsewhere:
        for status in (301, 302, 303, 307, 308):
            headers = {"Location": f"{elsewhere.url}/v26.0/{NUMBER}/messages"}
            outcome = sent_to(answering(response(status, b"", headers=headers)))
            assert refusal(outcome) == (ErrorClass.ACCOUNT, f"http_{status}")
        with serving(answering(response(302, b"", headers=headers))) as server:
            health = api.check_health(sender(server.url))
        assert health.details == {}
        assert elsewhere.requests == []


def test_a_token_that_the_provider_repeats_is_not_kept(api: CloudApi) -> None:
    # Graph says "Malformed access token EAAB..." with the token in full.
    envelope = {"error": {"code": 190, "message": f"Malformed access token {TOKEN}"}}
    with serving(answering(response(400, envelope))) as server:
        outcome = send(api, sender(server.url))
        assert refusal(outcome) == (ErrorClass.ACCOUNT, "190")
        health = api.check_health(sender(server.url))
    assert health.refused_field == "access_token"
    assert TOKEN not in repr(health)
    assert TOKEN not in repr(sender("https://graph.facebook.com"))


# --- Retry-After.


def retry_after(value: str) -> float | None:
    outcome = sent_to(answering(response(429, b"", headers={"Retry-After": value})))
    assert isinstance(outcome, Refused)
    assert outcome.failure.error_class is ErrorClass.THROTTLED
    return outcome.failure.retry_after_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("Fri, 99 Dec 1999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_read_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after(value) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_retry_after_is_read_as_a_date(zone: str) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=90)
    seconds = retry_after(format_datetime(moment, usegmt=True).replace("GMT", zone))
    assert seconds is not None
    assert 80 < seconds <= 90


@pytest.mark.parametrize("value", ["inf", "1e300", "9" * 30, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_retry_after_beyond_reason_is_cut_to_a_day(value: str) -> None:
    assert retry_after(value) == 86400.0


@pytest.fixture(scope="module")
def any_retry_after() -> Iterator[Callable[[str], Outcome]]:
    """Send once and be told to wait, by a server that stays."""
    wanted = [""]

    def behave(connection: socket.socket, request: Request) -> bool:
        connection.sendall(response(429, b"", headers={"Retry-After": wanted[0]}))
        return True

    api = CloudApi(version="v26.0", timeout_s=60)
    with serving(behave) as server:

        def ask(value: str) -> Outcome:
            wanted[0] = value
            return send(api, sender(server.url))

        yield ask


_DATES = st.builds(
    "{} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Fri, 31", "0", "99", "31"]),
    st.sampled_from(["Dec", "Foo", "12"]),
    st.sampled_from(["1999", "99999", "-1", "0000"]),
    *(st.sampled_from(["00", "61", "-1", ""]),) * 3,
    st.sampled_from(["GMT", "+9999", "-99999999999999", "", "EST"]),
)


@given(value=st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")) | _DATES)
def test_no_retry_after_whatsoever_breaks_a_send(any_retry_after: Callable[[str], Outcome], value: str) -> None:
    outcome = any_retry_after(value)
    assert isinstance(outcome, Refused)
    wait_s = outcome.failure.retry_after_s
    assert wait_s is None or 0 <= wait_s <= 86400
