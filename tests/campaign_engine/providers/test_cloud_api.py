"""The Cloud API's adapter on a real wire: the simulator, and tiny servers for what a good provider never does."""

import ipaddress
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.providers import cloud_api, cloud_api_webhooks
from campaign_engine.providers.base import (
    Accepted,
    ErrorClass,
    Lost,
    NotSent,
    Outcome,
    Outgoing,
    Refused,
    Sender,
    StatusUpdate,
)
from campaign_engine.providers.cloud_api import CloudApi
from campaign_engine.providers.cloud_api_errors import CLASS_OF_CODE
from campaign_engine.rules.states import MessageStatus
from simulator.graph_errors import GRAPH_ERRORS
from tests.campaign_engine.providers.wire import (
    GOOD_BODY,
    Behaviour,
    Request,
    answering,
    closing_after,
    cutting,
    response,
    serving,
)
from tests.simulator import running
from tests.simulator.running import Simulator

TOKEN = running.TOKEN
NUMBER = running.PHONE_NUMBER_ID
TEXT = {"type": "text", "text": {"body": "Olá, Conceição 🎉"}}


def outgoing(to: str = "+5511900000001", content: Mapping[str, Any] = TEXT, callback_data: str = "m-1") -> Outgoing:
    return Outgoing(to=to, content=content, callback_data=callback_data)


def sender(base_url: str, *, number: str = NUMBER, secret: str = TOKEN) -> Sender:
    return Sender(account_id=7, base_url=base_url, number=number, secret=secret)


@pytest.fixture
def api() -> CloudApi:
    return CloudApi(version="v26.0", timeout_s=5)


def send(api: CloudApi, to: Sender, message: Outgoing | None = None) -> Outcome:
    """Send, and check what holds for every outcome: it can be shown to anybody."""
    outcome = api.send(to, message or outgoing())
    assert to.secret not in repr(outcome)
    assert "127.0.0.1" not in repr(outcome)
    return outcome


def sent_to(behave: Behaviour, *, timeout_s: float = 5, reads: bool = True) -> Outcome:
    with serving(behave, reads=reads) as server:
        outcome = send(CloudApi(version="v26.0", timeout_s=timeout_s), sender(server.url))
        assert len(server.requests) == 1, "nothing is ever sent twice"
        return outcome


def refusal(outcome: Outcome) -> tuple[ErrorClass, str]:
    assert isinstance(outcome, Refused), outcome
    return outcome.failure.error_class, outcome.failure.code


# --- The simulator: what a provider does on an ordinary day.


@pytest.fixture(scope="module")
def running_simulator() -> Iterator[Simulator]:
    simulator = Simulator()
    yield simulator
    assert simulator.stop() == 0


@pytest.fixture
def simulator(running_simulator: Simulator) -> Simulator:
    running_simulator.control("POST", "reset", {"numbers": True, "behaviour": True})
    running_simulator.register()
    return running_simulator


def test_an_accepted_message_has_the_providers_id_and_carries_ours(api: CloudApi, simulator: Simulator) -> None:
    outcome = send(api, sender(simulator.url), outgoing(callback_data="0198-our-id"))
    (entry,) = simulator.ledger()
    assert outcome == Accepted(provider_message_id=entry["message_id"], wa_id="5511900000001")
    assert (entry["to"], entry["callback_data"], entry["type"]) == ("+5511900000001", "0198-our-id", "text")


def test_a_brazilian_comes_back_under_the_name_that_whatsapp_knows(api: CloudApi, simulator: Simulator) -> None:
    outcome = send(api, sender(simulator.url), outgoing(to="+5531987654321"))
    assert isinstance(outcome, Accepted)
    assert outcome.wa_id == "553187654321"


@pytest.mark.parametrize(
    "content",
    [
        {"type": "template", "template": {"name": "any_name", "language": {"code": "pt_BR"}}},
        {"type": "image", "image": {"link": "https://example.com/a.png", "caption": "Olá"}},
        {"type": "audio", "audio": {"id": "1037543291543636"}},
    ],
)
def test_every_kind_of_content_is_taken(api: CloudApi, simulator: Simulator, content: dict[str, Any]) -> None:
    assert isinstance(send(api, sender(simulator.url), outgoing(content=content)), Accepted)
    assert simulator.ledger()[-1]["type"] == content["type"]


def test_every_code_the_simulator_knows_is_refused_as_its_class(api: CloudApi, simulator: Simulator) -> None:
    seen = {}
    for code in GRAPH_ERRORS:
        simulator.behave(refuse_next=1, refuse_next_code=code)
        error_class, said = refusal(send(api, sender(simulator.url)))
        assert said == str(code)
        seen[code] = error_class
    assert seen == {code: CLASS_OF_CODE.get(code, ErrorClass.RECIPIENT) for code in GRAPH_ERRORS}
    assert simulator.ledger() == []


def test_a_token_that_is_wrong_is_the_accounts_fault(api: CloudApi, simulator: Simulator) -> None:
    wrong = send(api, sender(simulator.url, secret="another-token"))
    assert refusal(wrong) == (ErrorClass.ACCOUNT, "190")


def test_a_number_that_is_gone_is_the_accounts_fault_and_not_the_contents(api: CloudApi, simulator: Simulator) -> None:
    # Meta says 100 (a parameter is wrong) with the subcode 33 (wire reference 3.1).
    assert refusal(send(api, sender(simulator.url, number="999999999999999")))[0] is ErrorClass.ACCOUNT


def test_a_throttled_number_hears_for_how_long(api: CloudApi, simulator: Simulator) -> None:
    simulator.behave(retry_after_s=7, refuse_next=2, refuse_next_code=130429)
    outcome = send(api, sender(simulator.url))
    assert isinstance(outcome, Refused)
    assert (outcome.failure.error_class, outcome.failure.retry_after_s) == (ErrorClass.THROTTLED, 7.0)
    simulator.behave(retry_after_s=0)
    outcome = send(api, sender(simulator.url))
    assert isinstance(outcome, Refused)
    assert outcome.failure.retry_after_s is None


def test_an_answer_that_is_lost_after_acceptance_is_never_sent_again(api: CloudApi, simulator: Simulator) -> None:
    simulator.behave(lost_answer_next=1)
    assert isinstance(send(api, sender(simulator.url)), Lost)
    assert len(simulator.ledger()) == 1


def test_sixteen_threads_share_one_adapter(api: CloudApi, simulator: Simulator) -> None:
    barrier = threading.Barrier(16, timeout=10)

    def send_some(thread: int) -> list[Outcome]:
        barrier.wait()
        messages = [outgoing(to=f"+55119000{thread:02}{at:02}", callback_data=f"{thread}-{at}") for at in range(10)]
        return [send(api, sender(simulator.url), message) for message in messages]

    with ThreadPoolExecutor(16) as threads:
        outcomes = [outcome for some in threads.map(send_some, range(16)) for outcome in some]
    accepted = {outcome.provider_message_id for outcome in outcomes if isinstance(outcome, Accepted)}
    ledger = simulator.ledger()
    assert len(accepted) == 160
    assert accepted == {entry["message_id"] for entry in ledger}
    assert {entry["callback_data"] for entry in ledger} == {
        f"{thread}-{at}" for thread in range(16) for at in range(10)
    }


# --- The request, byte by byte.


def test_the_request_is_what_the_wire_reference_asks_for(api: CloudApi) -> None:
    with serving(answering(response())) as server:
        send(api, sender(server.url))
        (request,) = server.requests
    assert request.line == f"POST /v26.0/{NUMBER}/messages HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json"
    assert request.json == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+5511900000001",
        "type": "text",
        "text": {"body": "Olá, Conceição 🎉"},
        "biz_opaque_callback_data": "m-1",
    }


def test_connections_are_kept_and_used_again_also_after_a_refusal(api: CloudApi) -> None:
    refused = response(400, {"error": {"code": 131026, "message": "no"}})
    with serving(answering(response(), refused, response(503, b"busy"), response())) as server:
        for _ in range(20):
            send(api, sender(server.url))
        assert len(server.requests) == 20
        assert server.connection_count == 1


def test_threads_use_no_more_connections_than_there_are_threads(api: CloudApi) -> None:
    with serving(answering(response())) as server, ThreadPoolExecutor(16) as threads:
        outcomes = list(threads.map(lambda _: send(api, sender(server.url)), range(160)))
        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        assert len(server.requests) == 160
        assert server.connection_count <= 16


def test_a_kept_connection_that_the_provider_closed_costs_no_message(
    api: CloudApi, eventually: Callable[..., None]
) -> None:
    with serving(closing_after(response())) as server:
        for count in range(1, 4):
            assert isinstance(send(api, sender(server.url)), Accepted)
            eventually(lambda count=count: server.closed_count == count)
        assert server.connection_count == 3


# --- What certainly did not leave.


def test_a_refused_connection_is_not_sent(api: CloudApi) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert send(api, sender(f"http://127.0.0.1:{port}")) == NotSent("connection refused or host unreachable")


@pytest.mark.parametrize(
    "base_url",
    ["http://no-such-host.invalid", f"http://{'a' * 64}.invalid", "http://a..invalid", "http://127.0.0.1:99999"],
)
def test_an_address_that_leads_nowhere_is_not_sent(api: CloudApi, base_url: str) -> None:
    assert isinstance(api.send(sender(base_url), outgoing()), NotSent)
    health = api.check_health(sender(base_url))
    assert (health.reachable, health.refused_field) == (False, None)


# --- What may have left.

LOST: dict[str, tuple[Behaviour, bool]] = {
    "cut before the request was read": (cutting, False),
    "cut after the request was read": (cutting, True),
    "closed after the request was read": (closing_after(b""), True),
    "cut inside the headers": (closing_after(b"HTTP/1.1 200 OK\r\nContent-Le"), True),
    "cut inside the body": (closing_after(response(body=b'{"messages": [{"id"', length=500)), True),
    "cut inside a chunk": (closing_after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"), True),
    "no HTTP at all": (closing_after(b"220 mail.example.com ESMTP\r\n"), True),
    "zeros": (closing_after(bytes(200)), True),
    "a damaged compression": (
        answering(response(body=b"\x1f\x8bnot gzip", headers={"Content-Encoding": "gzip"})),
        True,
    ),
    "a header without end": (closing_after(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"), True),
    "200 without an id": (answering(response(body={"messages": [{}], "contacts": []})), True),
    "200 without messages": (answering(response(body={"success": True})), True),
    "200 with a list": (answering(response(body=[])), True),
    "200 with a web page": (answering(response(body=b"<html>Please log in</html>")), True),
    "200 with nothing": (answering(response(body=b"")), True),
    "200 with bytes that are no text": (answering(response(body=b"\xff\xfe\xfd")), True),
    "200 with a bottomless list": (answering(response(body=b"[" * 100_000)), True),
    "502 without a body": (answering(response(502, b"")), True),
    "502 with a gateway's page": (answering(response(502, b"<html>Bad Gateway</html>")), True),
    "504 with a gateway's JSON": (answering(response(504, {"error": "upstream timed out"})), True),
}


@pytest.mark.parametrize("case", LOST)
def test_an_answer_that_says_nothing_leaves_the_outcome_open(case: str) -> None:
    behave, reads = LOST[case]
    assert isinstance(sent_to(behave, reads=reads), Lost)


@pytest.mark.parametrize(
    "said_first",
    [b"", b"HTTP/1.1 200 OK\r\n", response(body=b'{"messages": [', length=500)],
    ids=["nothing", "a status line", "half a body"],
)
def test_an_answer_that_does_not_come_in_time_leaves_the_outcome_open(said_first: bytes) -> None:
    def hang(connection: socket.socket, request: Request) -> bool:
        connection.sendall(said_first)
        server.released.wait(10)
        return False

    with serving(hang) as server:
        outcome = send(CloudApi(version="v26.0", timeout_s=0.1), sender(server.url))
        assert outcome == Lost("no answer in time")
        assert len(server.requests) == 1


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

    api = CloudApi(version="v26.0", timeout_s=5)
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


# --- TLS.


@dataclass(frozen=True)
class Certificate:
    """A certificate of our own for 127.0.0.1, and a server's context with it."""

    path: Path
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(key_pem + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return Certificate(path, context)


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """The certificate, trusted by this process: the way an operator trusts that of a company's own proxy."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.path))
    return certificate


def test_a_certificate_the_operator_trusts_is_enough(api: CloudApi, trusted: Certificate) -> None:
    with serving(answering(response()), tls=trusted.context) as server:
        assert isinstance(send(api, sender(server.url)), Accepted)


def test_nothing_is_sent_to_a_server_that_is_not_who_it_says(api: CloudApi, certificate: Certificate) -> None:
    with serving(answering(response()), tls=certificate.context) as server:
        outcome = send(api, sender(server.url))
        assert outcome == NotSent("the TLS certificate or handshake was refused")
        assert not api.check_health(sender(server.url)).reachable
        assert server.requests == []


def test_nothing_is_sent_in_clear_where_tls_was_asked_for(api: CloudApi) -> None:
    with serving(closing_after(response()), reads=False) as server:
        assert isinstance(send(api, sender(server.url.replace("http:", "https:"))), NotSent)


def test_nothing_is_sent_when_the_trusted_certificates_cannot_be_read(
    api: CloudApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for content in (None, "no certificate"):
        if content is not None:
            (tmp_path / "ca.pem").write_text(content)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        with serving(answering(response())) as server:
            assert isinstance(send(api, sender(server.url.replace("http:", "https:"))), NotSent)
            assert server.requests == []


def test_a_fault_of_tls_after_the_request_leaves_the_outcome_open(api: CloudApi, trusted: Certificate) -> None:
    def break_the_stream(connection: socket.socket, request: Request) -> bool:
        os.write(connection.fileno(), b"HTTP/1.1 502 Bad Gateway\r\n\r\n")  # beneath TLS: no record of it
        return False

    with serving(break_the_stream, tls=trusted.context) as server:
        assert isinstance(send(api, sender(server.url)), Lost)
        assert len(server.requests) == 1


# --- Health.


def test_a_healthy_number_shows_what_meta_says_of_it(api: CloudApi, simulator: Simulator) -> None:
    simulator.register(quality_rating="YELLOW")
    health = api.check_health(sender(simulator.url))
    assert (health.reachable, health.summary, health.refused_field) == (True, "connected", None)
    assert health.details["quality_rating"] == "YELLOW"
    assert health.details["status"] == "CONNECTED"


def test_health_names_the_field_that_the_provider_refuses(api: CloudApi, simulator: Simulator) -> None:
    assert api.check_health(sender(simulator.url, secret="wrong")).refused_field == "access_token"
    unknown = api.check_health(sender(simulator.url, number="999999999999999"))
    assert unknown.refused_field == "phone_number_id"
    assert "999999999999999" in unknown.summary


@pytest.mark.parametrize(
    ("status", "body", "field"),
    [
        (401, {"error": {"code": 104, "message": "token missing"}}, "access_token"),
        (400, {"error": {"code": 33, "message": "gone"}}, "phone_number_id"),
        (404, {"error": {"code": 803, "message": "no such object"}}, "phone_number_id"),
        # The number is right and the question was wrong: a field that a later version does not have.
        (400, {"error": {"code": 100, "message": "Tried accessing nonexisting field"}}, None),
        (403, {"error": {"code": 200, "message": "permission"}}, None),
        (503, {"error": {"code": 2, "message": "later"}}, None),
        (401, b"<html>a proxy wants a password</html>", None),
        (404, b"", None),
        (500, b"", None),
        (200, b"<html>", None),
    ],
)
def test_only_what_the_provider_itself_refuses_counts_against_a_field(
    api: CloudApi, status: int, body: object, field: str | None
) -> None:
    with serving(answering(response(status, body))) as server:
        health = api.check_health(sender(server.url))
    assert (health.reachable, health.refused_field) == (True, field)


@pytest.mark.parametrize(
    "case", ["cut after the request was read", "cut inside the body", "200 with a bottomless list"]
)
def test_health_survives_what_a_network_can_do(api: CloudApi, case: str) -> None:
    with serving(LOST[case][0]) as server:
        assert api.check_health(sender(server.url)).refused_field is None


# --- Webhooks.


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
    assert cloud_api_webhooks.numbers_in(payload) == {NUMBER, "222"}


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
    cloud_api_webhooks.numbers_in(payload)
    for update in CloudApi(version="v26.0", timeout_s=1).parse_statuses(payload):
        assert update.at.tzinfo is UTC
        for text in (update.provider_message_id, update.callback_data, update.recipient, update.error_detail):
            assert text is None or "\0" not in text
            assert text is None or text.encode().decode() == text


# --- Signatures.


def test_the_signature_is_that_of_rfc_4231_case_2() -> None:
    body = b"what do ya want for nothing?"
    signed = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert cloud_api.signature_of("Jefe", body) == signed
    assert cloud_api.signature_matches("Jefe", body, signed)


@pytest.mark.parametrize(
    "signature",
    ["", "sha256=", "5bdcc146", "sha1=5bdcc146bf60754e6a042426089575c75a003f08", "sha256=ã", "sha256=" + "0" * 64],
)
def test_another_signature_does_not_match(signature: str) -> None:
    assert not cloud_api.signature_matches("Jefe", b"what do ya want for nothing?", signature)


def test_the_signature_covers_the_raw_bytes() -> None:
    raw = b'{"text": "\\u00e4"}'
    rewritten = json.dumps(json.loads(raw), ensure_ascii=False).encode()
    assert cloud_api.signature_of("secret", raw) != cloud_api.signature_of("secret", rewritten)


def test_secrets_are_compared_whole() -> None:
    assert cloud_api.secrets_equal("segredo ã", "segredo ã")
    assert not cloud_api.secrets_equal("segredo", "segredo ")
