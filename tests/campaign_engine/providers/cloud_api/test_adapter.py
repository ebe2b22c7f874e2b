"""The Cloud API's adapter on a real wire: the simulator, and tiny servers for what a good provider never does."""

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from campaign_engine.config import Config
from campaign_engine.providers.base import Accepted, Lost, NotSent, Outcome, Refused
from campaign_engine.providers.cloud_api.adapter import CloudApi
from campaign_engine.providers.cloud_api.errors import CLASS_OF_CODE
from campaign_engine.rules.failures import ErrorClass
from simulator.graph_errors import GRAPH_ERRORS
from tests.campaign_engine.providers.authority import Authority
from tests.campaign_engine.providers.sending import NUMBER, TOKEN, outgoing, refusal, send, sender, sent_to
from tests.campaign_engine.providers.wire import (
    Behaviour,
    Request,
    answering,
    closing_after,
    cutting,
    response,
    serving,
)
from tests.simulator.running import Simulator


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


def test_an_account_without_an_address_sends_to_the_installations(simulator: Simulator) -> None:
    api = CloudApi.of(Config(cloud_api_url=f"{simulator.url}/"))
    assert isinstance(send(api, sender("")), Accepted)
    assert api.check_health(sender("")).summary == "connected"


def test_a_token_that_is_wrong_is_the_accounts_fault(api: CloudApi, simulator: Simulator) -> None:
    wrong = send(api, sender(simulator.url, secret="another-token"))
    assert refusal(wrong) == (ErrorClass.ACCOUNT, "190")


def test_a_number_that_is_gone_is_the_accounts_fault_and_not_the_contents(api: CloudApi, simulator: Simulator) -> None:
    # Meta says 100 (a parameter is wrong) with the subcode 33 (docs/wire.md, Errors).
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
    barrier = threading.Barrier(16, timeout=60)

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


def test_the_request_is_what_the_wire_asks_for(api: CloudApi) -> None:
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


@pytest.mark.parametrize("address", ["http://[::1", "http://a b/", "http://.example.com", "http://*.example.com"])
def test_a_health_check_of_an_address_that_is_none_says_so(api: CloudApi, address: str) -> None:
    health = api.check_health(sender(address))
    assert (health.reachable, health.summary) == (
        False,
        "The provider cannot be reached: the address is not one",
    )


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
        server.released.wait(60)
        return False

    with serving(hang) as server:
        outcome = send(CloudApi(version="v26.0", timeout_s=0.1), sender(server.url))
        assert outcome == Lost("no answer in time")
        assert len(server.requests) == 1


def test_a_certificate_the_operator_trusts_is_enough(api: CloudApi, trusted: Authority) -> None:
    with serving(answering(response()), tls=trusted.context("127.0.0.1")) as server:
        assert isinstance(send(api, sender(server.url)), Accepted)


def test_nothing_is_sent_to_a_server_that_is_not_who_it_says(api: CloudApi, authority: Authority) -> None:
    with serving(answering(response()), tls=authority.context("127.0.0.1")) as server:
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


def test_a_fault_of_tls_after_the_request_leaves_the_outcome_open(api: CloudApi, trusted: Authority) -> None:
    def break_the_stream(connection: socket.socket, request: Request) -> bool:
        os.write(connection.fileno(), b"HTTP/1.1 502 Bad Gateway\r\n\r\n")  # beneath TLS: no record of it
        return False

    with serving(break_the_stream, tls=trusted.context("127.0.0.1")) as server:
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
