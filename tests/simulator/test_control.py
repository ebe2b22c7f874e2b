"""The control API and the page: registering, settings, ledger, counts."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.simulator.running import PHONE_NUMBER_ID, SECRET, TOKEN, Simulator


def recipient(place: int) -> str:
    return f"+551191000{place:04d}"


def test_it_says_that_it_is_well(simulator: Simulator) -> None:
    assert simulator.control("GET", "healthz").json() == {"status": "ok"}


def test_secrets_are_never_shown(simulator: Simulator) -> None:
    registered = simulator.control(
        "POST", "numbers", {"phone_number_id": "2", "access_token": TOKEN, "app_secret": SECRET}
    )
    page = simulator.http.get(simulator.url, timeout=60)
    for shown in (registered, simulator.control("GET", "numbers"), page):
        assert TOKEN not in shown.text and SECRET not in shown.text
    numbers = simulator.control("GET", "numbers").json()["numbers"]
    assert [each["phone_number_id"] for each in numbers] == [PHONE_NUMBER_ID, "2"]
    assert numbers[0]["has_app_secret"] is True


def test_a_number_keeps_what_an_update_leaves_out(simulator: Simulator) -> None:
    simulator.register(verified_name="First", throughput_per_s=5)
    response = simulator.control("POST", "numbers", {"phone_number_id": PHONE_NUMBER_ID, "verified_name": "Second"})
    assert response.json()["throughput_per_s"] == 5
    assert response.json()["verified_name"] == "Second"
    assert simulator.send().status_code == 200, "the token is still the same"


def test_a_removed_number_is_gone(simulator: Simulator) -> None:
    assert simulator.control("DELETE", f"numbers/{PHONE_NUMBER_ID}").status_code == 200
    assert simulator.control("DELETE", f"numbers/{PHONE_NUMBER_ID}").status_code == 404
    assert simulator.send().status_code == 401


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"phone_number_id": "12a"}, "phone_number_id"),
        ({"phone_number_id": 12}, "phone_number_id"),
        ({"access_token": ""}, "access_token"),
        ({"access_token": None}, "access_token"),
        ({"webhook_url": "ftp://127.0.0.1/"}, "webhook_url"),
        ({"webhook_url": "http://"}, "webhook_url"),
        ({"throughput_per_s": -1}, "throughput_per_s"),
        ({"status": "HAPPY"}, "status"),
        ({"refuse_code": "131031"}, "refuse_code"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_wrong_field_of_a_number_is_named(simulator: Simulator, fields: Any, named: str) -> None:
    response = simulator.control("POST", "numbers", {"phone_number_id": "9", "access_token": "t", **fields})
    assert response.status_code == 400
    assert response.json()["error"]["field"] == named
    assert response.json()["error"]["message"].startswith(named)
    assert len(simulator.control("GET", "numbers").json()["numbers"]) == 1


@pytest.mark.parametrize(
    ("kind", "fields", "named"),
    [
        ("numbers", {"phone_number_id": "9"}, "access_token"),
        ("numbers", {"access_token": "t"}, "phone_number_id"),
        ("instances", {"instance": "shop"}, "apikey"),
        ("instances", {"apikey": "k"}, "instance"),
    ],
)
def test_what_is_registered_has_a_name_and_a_secret(
    simulator: Simulator, kind: str, fields: dict[str, str], named: str
) -> None:
    response = simulator.control("POST", kind, fields)
    assert (response.status_code, response.json()["error"]["message"]) == (400, f"{named} is required")


def test_a_webhook_needs_a_secret_to_sign_with(simulator: Simulator) -> None:
    body = {"phone_number_id": "9", "access_token": "t", "webhook_url": "http://127.0.0.1:1/"}
    response = simulator.control("POST", "numbers", body)
    assert (response.status_code, response.json()["error"]["field"]) == (400, "app_secret")


def test_settings_change_at_once_and_are_shown(simulator: Simulator) -> None:
    simulator.behave(read_share=0.25, delivered_delay_ms=70, number_rules={"7": "sent"})
    shown = simulator.control("GET", "behaviour").json()
    assert shown["read_share"] == 0.25
    assert shown["delivered_delay_ms"] == [70, 70]
    assert shown["number_rules"] == {"7": "sent"}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("read_share", 1.5),
        ("read_share", "0.5"),
        ("read_share", True),
        ("latency_ms", -1),
        ("latency_ms", float("nan")),
        ("latency_ms", float("inf")),
        ("seed", 1.5),
        ("delivered_delay_ms", [5, 1]),
        ("delivered_delay_ms", [1, 2, 3]),
        ("failure_codes", []),
        ("failure_codes", ["131026"]),
        ("number_rules", {"x": "sent"}),
        ("number_rules", {"1": "explode"}),
        ("number_rules", {"1": "fail"}),
        ("number_rules", {"1": "http:200"}),
        ("number_rules", {"1": "refuse:1:2:3"}),
        ("webhook_batch_size", 0),
        ("reply_kind", "song"),
        ("shoe_size", 42),
    ],
)
def test_a_wrong_setting_is_named_and_none_is_changed(simulator: Simulator, setting: str, value: Any) -> None:
    before = simulator.control("GET", "behaviour").json()
    body = "{" + f'"jitter_ms": 5, "{setting}": {_json(value)}' + "}"
    response = simulator.http.patch(f"{simulator.url}/simulator/behaviour", data=body, timeout=60)
    assert response.status_code == 400
    assert response.json()["error"]["field"] == setting
    assert simulator.control("GET", "behaviour").json() == before


def _json(value: Any) -> str:
    """Write what Python's own reader takes, NaN and Infinity included."""
    import json

    return json.dumps(value)


@pytest.mark.parametrize("body", ["", "[]", "{", "null"])
def test_a_body_that_is_no_object_is_refused(simulator: Simulator, body: str) -> None:
    response = simulator.http.patch(f"{simulator.url}/simulator/behaviour", data=body, timeout=60)
    assert (response.status_code, response.json()["error"]["field"]) == (400, "body")


def test_the_ledger_is_read_in_pages_in_the_order_of_arrival(simulator: Simulator) -> None:
    before = time.time()
    for place in range(5):
        simulator.send(recipient(place), f"m{place}")
    first = simulator.control("GET", "ledger?limit=3").json()
    assert [each["seq"] for each in first["messages"]] == [1, 2, 3]
    assert (first["next_since"], first["more"], first["total"]) == (3, True, 5)
    second = simulator.control("GET", f"ledger?since={first['next_since']}&limit=3").json()
    assert [each["callback_data"] for each in second["messages"]] == ["m3", "m4"]
    assert (second["next_since"], second["more"]) == (5, False)
    assert simulator.control("GET", "ledger?since=5").json()["messages"] == []
    times = [each["received_at"] for each in first["messages"] + second["messages"]]
    assert times == sorted(times) and before - 0.1 < times[0] and times[-1] < time.time() + 0.1


@pytest.mark.parametrize("query", ["since=-1", "since=x", "limit=0", "limit=10001"])
def test_a_wrong_page_is_refused(simulator: Simulator, query: str) -> None:
    response = simulator.control("GET", f"ledger?{query}")
    assert (response.status_code, response.json()["error"]["field"]) == (400, query.partition("=")[0])


def test_the_summary_finds_people_who_got_more_than_one_message(simulator: Simulator) -> None:
    simulator.send("+5511987654321", "a")
    simulator.send("+551187654321", "b")
    simulator.send("+5511987654322", "a")
    simulator.send(token="wrong")
    summary = simulator.summary()
    assert (summary["requests"], summary["accepted"]) == (4, 3)
    assert summary["unique_recipients"] == 2
    assert summary["repeated_recipients"] == {
        "count": 1,
        "listed": [{"to_key": "551187654321", "messages": 2}],
    }
    assert summary["repeated_callback_data"] == {
        "count": 1,
        "listed": [{"callback_data": "a", "messages": 2}],
    }
    entries = simulator.ledger()
    assert (summary["first_at"], summary["last_at"]) == (entries[0]["received_at"], entries[2]["received_at"])


def test_the_summary_says_how_many_requests_of_a_number_were_open_at_once(simulator: Simulator) -> None:
    simulator.behave(latency_ms=150)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda place: simulator.send(recipient(place)), range(3)))
        list(pool.map(lambda _: simulator.graph("GET", PHONE_NUMBER_ID), range(2)))
    simulator.graph("GET", PHONE_NUMBER_ID)
    use = {"accepted": 3, "sends": 3, "most_sends_at_once": 3}
    use |= {"health_checks": 3, "most_health_checks_at_once": 2}
    assert simulator.summary()["by_number"] == {PHONE_NUMBER_ID: use}


def test_the_list_of_repeats_is_bounded_and_its_count_is_not(simulator: Simulator) -> None:
    for _ in range(2):
        for place in range(101):
            simulator.send(recipient(place))
    repeated = simulator.summary()["repeated_recipients"]
    assert (repeated["count"], len(repeated["listed"])) == (101, 100)


def test_reset_forgets_messages_and_keeps_numbers_and_settings(simulator: Simulator) -> None:
    simulator.behave(pair_burst=1, jitter_ms=1)
    first = simulator.send().json()["messages"][0]["id"]
    assert simulator.control("POST", "reset").json() == {"status": "ok"}
    assert simulator.ledger() == []
    assert simulator.summary()["requests"] == 0
    second = simulator.send()
    assert second.status_code == 200, "the pair limit has been forgotten too"
    assert second.json()["messages"][0]["id"] != first
    assert simulator.ledger()[0]["seq"] == 1
    assert simulator.control("GET", "behaviour").json()["jitter_ms"] == 1
    simulator.control("POST", "reset", {"behaviour": True, "numbers": True})
    assert simulator.control("GET", "behaviour").json()["jitter_ms"] == 0
    assert simulator.control("GET", "numbers").json() == {"numbers": []}
    assert simulator.control("POST", "reset", {"everything": True}).status_code == 400


def test_what_is_not_there_is_said_in_one_line(simulator: Simulator) -> None:
    assert simulator.control("GET", "nothing").status_code == 404
    body = {"phone_number_id": PHONE_NUMBER_ID, "from": recipient(1), "text": "Hello"}
    assert "webhook_url" in simulator.control("POST", "inbound", body).json()["error"]["message"]


def test_the_page_shows_numbers_and_counts_and_escapes_everything(simulator: Simulator) -> None:
    simulator.register(verified_name="<script>alert(1)</script>")
    simulator.send(callback_data="<img src=x>")
    simulator.send(callback_data="<img src=x>")
    simulator.send(recipient(2), "\ud800")
    simulator.send(recipient(3), "\ud800")
    response = simulator.http.get(simulator.url, timeout=60)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<script" not in response.text and "<img" not in response.text
    assert "&lt;script&gt;" in response.text and "&lt;img src=x&gt;" in response.text
    assert PHONE_NUMBER_ID in response.text
    assert '<meta http-equiv="refresh"' in response.text
