"""Accounts, with a real provider on the other side: the simulator."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from sqlalchemy import text

from tests import factories
from tests.web.conftest import Caller, problem

Account = dict[str, Any]


@pytest.fixture
def account_body(registered: Callable[..., dict[str, str]]) -> Account:
    return {"name": "Shop", "provider": "cloud_api", **registered()}


@pytest.fixture
def account(call: Caller, account_body: Account) -> Account:
    answer = call("POST", "/accounts", json=account_body)
    assert answer.status_code == 201, answer.text
    shown: Account = answer.json
    return shown


def test_an_account_is_created_and_shown_without_its_secrets(call: Caller, account_body: Account) -> None:
    secrets = {"app_secret": "the app secret", "verify_token": "the verify token"}
    answer = call("POST", "/accounts", json={**account_body, **secrets, "rate_limit": "30/minute", "burst": 5})

    assert answer.status_code == 201
    assert answer.json["has_app_secret"] is True
    assert answer.json["has_verify_token"] is True
    assert answer.json["health"]["reachable"] is True
    assert answer.json["rate_limit"] == "30/minute"
    assert answer.json["burst"] == 5
    assert isinstance(answer.json["id"], str)
    assert answer.json["created_at"].endswith("Z")
    for secret in (*secrets.values(), account_body["access_token"]):
        assert secret not in answer.text
    assert call("GET", f"/accounts/{answer.json['id']}").json == answer.json


def test_secrets_are_stored_encrypted(call: Caller, account: Account, database: Callable[[], Any]) -> None:
    with database() as session:
        stored = session.scalar(
            text("SELECT access_token_encrypted FROM accounts WHERE id = :id"), {"id": account["id"]}
        )
    assert b"a-good-token" not in stored
    assert factories.VAULT.decrypt(stored) == "a-good-token"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "  "),
        ("name", "x" * 201),
        ("name", "  "),
        ("name", None),
        ("provider", "telegram"),
        ("access_token", ""),
        ("access_token", "wrong"),
        ("access_token", "two words"),
        ("access_token", "line\nbreak"),
        ("access_token", "“quoted”"),
        ("phone_number_id", ""),
        ("phone_number_id", "+5511987654321"),
        ("phone_number_id", "999999999999999"),
        ("phone_number_id", "../me"),
        ("phone_number_id", "１２３"),
        ("instance", "a\nb"),
        ("base_url", "ftp://example.com"),
        ("base_url", "example.com"),
        ("base_url", "http://"),
        ("base_url", "http://["),
        ("base_url", "http://host:port"),
        ("base_url", "http://host:0"),
        ("base_url", "http://two words"),
        ("base_url", "http://exämple.com"),
        ("base_url", "http://example.com\nX: y"),
        ("rate_limit", "many"),
        ("rate_limit", "0/minute"),
        ("rate_limit", 20),
        ("burst", 0),
        ("burst", 30),
        ("burst", "5"),
        ("burst", 1.5),
        ("burst", True),
        ("max_in_flight", 0),
        ("max_in_flight", 257),
        ("message_interval_s", -1),
        ("message_interval_s", 86401),
        ("message_interval_s", "1"),
        ("longer_interval_after", -1),
        ("longer_interval_after", 100_001),
        ("greater_interval_s", 10**30),
        ("status", "active"),
        ("id", "7"),
        ("colour", "green"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(
    call: Caller, account_body: Account, row_counts: Callable[[], dict[str, int]], field: str, value: Any
) -> None:
    before = row_counts()
    body = problem(call("POST", "/accounts", json={"rate_limit": "20/minute", **account_body, field: value}), 422)
    assert list(body["errors"]) == [field]
    assert body["detail"].startswith(f"{field}: ")
    assert row_counts() == before


def test_a_long_pause_may_come_after_as_many_messages_as_anywhere_else(call: Caller, account: Account) -> None:
    for count in (0, 86_401, 100_000):
        answer = call("PATCH", f"/accounts/{account['id']}", json={"longer_interval_after": count})
        assert (answer.status_code, answer.json["longer_interval_after"]) == (200, count)


@pytest.mark.parametrize("field", ["name", "provider", "access_token", "phone_number_id"])
def test_what_is_needed_and_missing_is_named(call: Caller, account_body: Account, field: str) -> None:
    del account_body[field]
    assert list(problem(call("POST", "/accounts", json=account_body), 422)["errors"]) == [field]


def test_a_provider_that_is_away_is_no_reason_to_refuse(call: Caller, account_body: Account) -> None:
    answer = call("POST", "/accounts", json={**account_body, "base_url": "http://127.0.0.1:9"})
    assert answer.status_code == 201
    assert answer.json["health"]["reachable"] is False


def test_a_name_is_used_once(call: Caller, account: Account, account_body: Account) -> None:
    body = problem(call("POST", "/accounts", json=account_body), 409)
    assert body["code"] == "already_exists"
    assert list(body["errors"]) == ["name"]


def test_a_change_takes_effect_and_wakes_the_lane(call: Caller, account: Account, redis_client: redis.Redis) -> None:
    answer = call("PATCH", f"/accounts/{account['id']}", json={"rate_limit": "5/minute", "message_interval_s": 0})
    assert answer.status_code == 200
    assert answer.json["rate_limit"] == "5/minute"
    assert answer.json["message_interval_s"] == 0
    assert answer.json["name"] == "Shop"
    assert redis_client.zcard("rq:scheduled:campaign-messages") == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"access_token": "wrong"}, "access_token"),
        ({"phone_number_id": "999999999999999"}, "phone_number_id"),
        ({"name": ""}, "name"),
        ({"burst": 100}, "burst"),
        ({"rate_limit": "2/minute"}, "burst"),
        ({"rate_limit": "1000000/366 days", "burst": 999999}, "rate_limit"),
        ({"provider": "evolution"}, "provider"),
        ({"access_token": None}, "access_token"),
    ],
)
def test_a_bad_change_changes_nothing(call: Caller, account: Account, change: Account, field: str) -> None:
    call("PATCH", f"/accounts/{account['id']}", json={"rate_limit": "20/minute", "burst": 5})
    before = call("GET", f"/accounts/{account['id']}").json

    assert list(problem(call("PATCH", f"/accounts/{account['id']}", json=change), 422)["errors"]) == [field]
    assert call("GET", f"/accounts/{account['id']}").json == before


def test_a_burst_above_a_later_company_limit_is_cut_and_stops_nothing(call: Caller, account: Account) -> None:
    call("PATCH", f"/accounts/{account['id']}", json={"burst": 50})
    assert call("PATCH", "/company/settings", json={"whatsapp_rate_limit": "10/minute"}).status_code == 200

    limits = call("GET", "/rate-limits").json["items"]
    assert [each["burst"] for each in limits if each["account_id"] == account["id"]] == [10]


def test_health_is_asked_on_demand(call: Caller, account: Account) -> None:
    answer = call("POST", f"/accounts/{account['id']}/health-check")
    assert answer.status_code == 200
    assert answer.json["health"]["reachable"] is True
    assert answer.json["health_checked_at"] >= account["health_checked_at"]


def test_a_deactivated_account_is_reactivated_and_its_lane_woken(
    call: Caller, account: Account, database: Callable[[], Any], redis_client: redis.Redis
) -> None:
    with database() as session:
        session.execute(
            text("UPDATE accounts SET status = 'deactivated', consecutive_failures = 5 WHERE id = :id"),
            {"id": account["id"]},
        )
    answer = call("POST", f"/accounts/{account['id']}/reactivate")
    assert (answer.json["status"], answer.json["consecutive_failures"]) == ("active", 0)
    assert redis_client.zcard("rq:scheduled:campaign-messages") == 1


def test_a_deleted_account_is_gone_and_its_name_free(call: Caller, account: Account, account_body: Account) -> None:
    answer = call("DELETE", f"/accounts/{account['id']}")
    assert (answer.status_code, answer.data) == (204, b"")
    problem(call("GET", f"/accounts/{account['id']}"), 404)
    assert call("POST", "/accounts", json=account_body).status_code == 201


def test_an_account_in_use_is_not_deleted(call: Caller, account: Account) -> None:
    campaign = {
        "name": "Open",
        "account_ids": [account["id"]],
        "audience": {"recipients": [{"phone": "+5511987654321"}]},
        "content": {"type": "text", "text": "Hello"},
    }
    assert call("POST", "/campaigns", json=campaign).status_code == 201
    assert "Open" in problem(call("DELETE", f"/accounts/{account['id']}"), 422)["detail"]


def test_lists_are_read_in_pages(call: Caller, database: Callable[[], Any]) -> None:
    from campaign_engine.models import Company

    with database() as session:
        mine = [factories.account(session, session.get_one(Company, call.company_id)).id for _ in range(5)]
    seen: list[int] = []
    path = "/accounts?limit=2"
    pages = 0
    while path:
        page = call("GET", path).json
        seen += [int(each["id"]) for each in page["items"]]
        path = f"/accounts?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
        pages += 1
    assert (seen, pages) == (mine, 3)
    assert call("GET", "/accounts?limit=5").json["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=%00", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=WyJhIl0", "cursor"),
        ("cursor=WzEsMl0", "cursor"),
        ("cursor=Wy0xXQ", "cursor"),
        ("cursor=%F0%9F", "cursor"),
        ("page=2", "page"),
    ],
)
def test_a_bad_query_is_refused_by_name(call: Caller, query: str, field: str) -> None:
    assert list(problem(call("GET", f"/accounts?{query}"), 422)["errors"]) == [field]
