"""Errors on demand, lost answers and latency."""

import json
import socket
import struct
import subprocess
import time
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
import requests

from tests.simulator.running import PHONE_NUMBER_ID, TOKEN, Simulator, text_message, wait_for


def outcome(response: Any) -> int:
    return 0 if response.status_code == 200 else int(response.json()["error"]["code"])


def recipient(place: int) -> str:
    return f"+551191000{place:04d}"


def send_and_leave(simulator: Simulator, callback_data: str | None = None) -> None:
    """Send a message, and hang up as soon as it has arrived."""
    with closing(HTTPConnection(simulator.url.removeprefix("http://"))) as connection:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        body = json.dumps(text_message(callback_data=callback_data))
        connection.request("POST", f"/v26.0/{PHONE_NUMBER_ID}/messages", body, headers)
        wait_for(simulator.ledger)


def test_the_next_messages_can_be_refused_and_the_count_runs_down(simulator: Simulator) -> None:
    simulator.behave(refuse_next=2, refuse_next_code=131057)
    assert [outcome(simulator.send(recipient(place))) for place in range(3)] == [131057, 131057, 0]
    assert simulator.control("GET", "behaviour").json()["refuse_next"] == 0


def test_one_number_can_be_set_to_refuse_everything(simulator: Simulator) -> None:
    simulator.register(phone_number_id="2")
    simulator.register(refuse_code=131031)
    refused = simulator.send()
    assert (refused.status_code, outcome(refused)) == (403, 131031)
    assert outcome(simulator.send(phone_number_id="2")) == 0
    simulator.register(refuse_code=None)
    assert outcome(simulator.send()) == 0


def test_a_share_of_requests_is_refused_and_a_retry_draws_again(simulator: Simulator) -> None:
    simulator.behave(refusal_share=0.5, refusal_codes=[131000, 131016], seed=1)
    first = [outcome(simulator.send(recipient(place), f"m{place}")) for place in range(60)]
    assert {0, 131000, 131016} == set(first)
    assert 15 <= first.count(0) <= 45
    retried = [outcome(simulator.send(recipient(p), f"m{p}")) for p in range(60) if first[p]]
    assert 0 in retried and len(set(retried)) > 1

    simulator.control("POST", "reset")
    again = [outcome(simulator.send(recipient(place), f"m{place}")) for place in range(60)]
    assert again == first, "the same seed and keys meet the same faults"


def test_http_500_has_no_graph_body_and_accepts_nothing(simulator: Simulator) -> None:
    simulator.behave(http_500_share=1)
    response = simulator.send()
    assert response.status_code == 500
    assert not response.headers["Content-Type"].startswith("application/json")
    assert simulator.summary()["refused"] == {"http_500": 1}
    assert simulator.ledger() == []


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("+5511977130429", 130429),
        ("+5511977131031", 131031),
        ("+5531977132015", 132015),
        ("+5511977999999", 0),  # no such code: an ordinary number
        ("+5511977000004", 0),  # too short a code: an ordinary number
    ],
)
def test_magic_numbers_are_refused_with_the_code_they_end_in(simulator: Simulator, to: str, code: int) -> None:
    assert outcome(simulator.send(to)) == code
    simulator.behave(magic_numbers=False)
    assert outcome(simulator.send(to)) == 0


def test_rules_by_ending_are_set_live_and_the_longest_ending_decides(simulator: Simulator) -> None:
    simulator.behave(number_rules={"1": "refuse:131000", "0001": "http:503", "10001": "refuse:131016:2"})
    assert outcome(simulator.send("+5511920000011")) == 131000
    assert simulator.send("+5511920000001").status_code == 503
    assert [outcome(simulator.send("+5511920010001", "m")) for _ in range(3)] == [131016, 131016, 0]
    assert outcome(simulator.send("+5511920000002")) == 0


def test_an_answer_can_be_lost_after_acceptance(simulator: Simulator) -> None:
    simulator.behave(lost_answer_next=1)
    with pytest.raises(requests.ConnectionError):
        simulator.send(callback_data="lost")
    assert outcome(simulator.send(recipient(2), "kept")) == 0
    lost, kept = simulator.ledger()
    assert (lost["callback_data"], lost["answered"], lost["answer_lost"]) == ("lost", False, True)
    assert (kept["callback_data"], kept["answered"], kept["answer_lost"]) == ("kept", True, False)
    assert simulator.summary()["answers_lost"] == 1


def test_a_lost_answer_can_hang_until_the_client_gives_up(simulator: Simulator) -> None:
    simulator.behave(lost_answer_share=1, lost_answer_hang_ms=60_000)
    send_and_leave(simulator)
    assert [each["answered"] for each in simulator.ledger()] == [False]


def test_a_client_that_left_before_the_answer_was_not_answered(simulator: Simulator) -> None:
    simulator.behave(latency_ms=500)
    send_and_leave(simulator, "left")
    simulator.send(recipient(2), "stayed")
    assert [(each["callback_data"], each["answered"]) for each in simulator.ledger()] == [
        ("left", False),
        ("stayed", True),
    ]


@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_dies_in_the_middle_of_a_request_sent_nothing(reset: bool) -> None:
    simulator = Simulator(stderr=subprocess.PIPE)
    try:
        simulator.register()
        host, port = simulator.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            head = f"POST /v26.0/{PHONE_NUMBER_ID}/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
            client.sendall(head.encode() + b"{")
            time.sleep(0.05)  # nothing shows when the server has begun to wait for the rest
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert simulator.send().status_code == 200
        assert simulator.summary()["requests"] == 1
    finally:
        simulator.stop()
    assert simulator.process.stderr is not None
    with simulator.process.stderr as errors:
        assert errors.read() == "", "and is no reason for a traceback"


def test_a_magic_number_loses_its_answers_and_another_meets_500(simulator: Simulator) -> None:
    with pytest.raises(requests.ConnectionError):
        simulator.send("+5511978000001")
    assert simulator.send("+5511978000007").status_code == 500
    assert len(simulator.ledger()) == 1


def test_latency_is_waited_for_every_answer_and_arrival_is_noted_before_it(simulator: Simulator) -> None:
    simulator.behave(latency_ms=150)
    before = time.time()
    response = simulator.send()
    answered_at = time.time()
    assert response.elapsed.total_seconds() >= 0.15
    assert before - 0.01 < simulator.ledger()[0]["received_at"] < answered_at - 0.14
    assert simulator.graph("GET", PHONE_NUMBER_ID).elapsed.total_seconds() >= 0.15
    assert simulator.send(token="wrong").elapsed.total_seconds() >= 0.15


def test_jitter_only_adds(simulator: Simulator) -> None:
    simulator.behave(latency_ms=20, jitter_ms=60)
    took_s = [simulator.send(recipient(place)).elapsed.total_seconds() for place in range(10)]
    assert min(took_s) >= 0.02
    assert max(took_s) - min(took_s) > 0.005
