"""The company, its people, tokens and templates."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from sqlalchemy import text

from campaign_engine.models import Role, User
from tests import factories
from tests.web.conftest import Caller, problem

NEW_USER = {"email": "new@example.com", "password": "long enough to use", "role": "operator"}


def new_user(call: Caller, email: str, role: str = Role.OPERATOR) -> dict[str, Any]:
    answer = call("POST", "/users", json={**NEW_USER, "email": email, "role": role})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json
    return shown


def test_a_token_is_shown_once(call: Caller, database: Callable[[], Any]) -> None:
    made = call("POST", "/tokens", json={"name": " nightly job "})
    assert made.status_code == 201
    secret = made.json["token"]
    assert (made.json["name"], secret[:10]) == ("nightly job", made.json["prefix"])
    listed = call("GET", "/tokens")
    assert secret not in listed.text
    assert [each["name"] for each in listed.json["items"]] == ["nightly job", "tests"]
    with database() as session:
        row = session.execute(text("SELECT * FROM api_tokens WHERE id = :id"), {"id": made.json["id"]}).one()
    assert secret not in str(row)


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": 5}, {"name": "x" * 201}, {"name": "a\0"}])
def test_a_bad_token_is_refused(call: Caller, row_counts: Callable[[], dict[str, int]], body: Any) -> None:
    before = row_counts()
    assert list(problem(call("POST", "/tokens", json=body), 422)["errors"]) == ["name"]
    assert row_counts() == before


def test_tokens_of_others_are_none(caller: Callable[..., Caller]) -> None:
    one = caller()
    other = caller(like=one)
    theirs = other("GET", "/tokens").json["items"][0]
    problem(one("DELETE", f"/tokens/{theirs['id']}"), 404)
    assert other("GET", "/tokens").status_code == 200


def test_a_user_is_made_changed_and_deleted(call: Caller) -> None:
    made = new_user(call, "Maria@Example.com")
    assert set(made) == {"id", "email", "role", "created_at"}
    path = f"/users/{made['id']}"
    assert call("GET", path).json == made
    assert call("PATCH", path, json={"role": "viewer"}).json["role"] == "viewer"
    assert call("PATCH", path, json={"password": "another long one"}).status_code == 200
    assert call("DELETE", path).status_code == 204
    problem(call("GET", path), 404)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("email", ""),
        ("email", None),
        ("email", 5),
        ("email", "a@b\0.com"),
        ("email", "x" * 250 + "@example.com"),
        ("password", "short"),
        ("password", 12345678901),
        ("password", "x" * 1001),
        ("role", "owner"),
        ("role", ""),
        ("role", ["admin"]),
        ("company_id", "1"),
    ],
)
def test_a_bad_user_is_refused_by_the_name_of_its_field(
    call: Caller, row_counts: Callable[[], dict[str, int]], field: str, value: Any
) -> None:
    before = row_counts()
    body = problem(call("POST", "/users", json={**NEW_USER, field: value}), 422)
    assert list(body["errors"]) == [field]
    assert row_counts() == before


def test_an_address_is_used_once_over_all_companies(call: Caller, stranger: Caller) -> None:
    new_user(call, "once@example.com")
    body = problem(stranger("POST", "/users", json={**NEW_USER, "email": "ONCE@example.com"}), 409)
    assert list(body["errors"]) == ["email"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"role": "owner"}, "role"),
        ({"password": "short"}, "password"),
        ({"password": None}, "password"),
        ({"email": "other@example.com"}, "email"),
    ],
)
def test_a_bad_change_of_a_user_changes_nothing(
    call: Caller, caller: Callable[..., Caller], change: Any, field: str
) -> None:
    other = caller(like=call, role=Role.VIEWER)
    before = call("GET", f"/users/{other.user_id}").json
    assert list(problem(call("PATCH", f"/users/{other.user_id}", json=change), 422)["errors"]) == [field]
    assert call("GET", f"/users/{other.user_id}").json == before


def test_the_last_administrator_stays_one(call: Caller) -> None:
    path = f"/users/{call.user_id}"
    for answer in (call("PATCH", path, json={"role": "viewer"}), call("DELETE", path)):
        assert problem(answer, 409)["code"] == "last_admin"
    assert call("GET", path).json["role"] == "admin"


def test_who_owns_campaigns_is_not_deleted(
    call: Caller, caller: Callable[..., Caller], database: Callable[[], Any]
) -> None:
    owner = caller(like=call, role=Role.OPERATOR)
    with database() as session:
        factories.campaign(session, session.get_one(User, owner.user_id))
    assert problem(call("DELETE", f"/users/{owner.user_id}"), 409)["code"] == "user_owns_campaigns"


def test_users_are_listed_in_pages(call: Caller, caller: Callable[..., Caller]) -> None:
    ids = [str(each) for each in (call.user_id, caller(like=call).user_id, caller(like=call).user_id)]
    first = call("GET", "/users?limit=2").json
    second = call("GET", f"/users?limit=2&cursor={first['next_cursor']}").json
    assert [each["id"] for each in first["items"] + second["items"]] == ids


def test_settings_override_and_go_back(call: Caller, database: Callable[[], Any], redis_client: redis.Redis) -> None:
    with database() as session:
        factories.account(session, session.get_one(User, call.user_id).company)
    before = call("GET", "/company/settings").json
    assert before["whatsapp_rate_limit"] is None
    change = {
        "name": "Renamed",
        "timezone": "Europe/Lisbon",
        "whatsapp_rate_limit": "10/minute",
        "message_interval_s": 0,
        "longer_interval_after": 7,
        "frequency_cap": "2/7 days",
        "start_late_s": 90,
    }
    answer = call("PATCH", "/company/settings", json=change)
    assert answer.status_code == 200
    assert answer.json == {**before, **change}
    assert call("GET", "/company/settings").json == answer.json
    assert redis_client.zcard("rq:scheduled:campaign-messages") == 1
    back = call("PATCH", "/company/settings", json={"whatsapp_rate_limit": None}).json
    assert back == {**before, **change, "whatsapp_rate_limit": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", None),
        ("timezone", "Mars/Olympus"),
        ("timezone", None),
        ("whatsapp_rate_limit", "fast"),
        ("whatsapp_rate_limit", 20),
        ("campaign_rate_limit", "0/minute"),
        ("frequency_cap", "often"),
        ("frequency_cap", "1/91 days"),
        ("start_late_s", -1),
        ("start_late_s", "60"),
        ("message_interval_s", -1),
        ("longer_interval_after", 0.5),
        ("jitter_s", "1"),
        ("api_rate_limit", "1/minute"),
    ],
)
def test_a_bad_setting_changes_nothing(call: Caller, field: str, value: Any) -> None:
    before = call("GET", "/company/settings").json
    change = {"greater_interval_s": 5, field: value}
    assert list(problem(call("PATCH", "/company/settings", json=change), 422)["errors"]) == [field]
    assert call("GET", "/company/settings").json == before


TEMPLATE = {
    "name": "spring_sale",
    "language": "pt_BR",
    "category": "MARKETING",
    "components": [{"type": "BODY", "text": "Olá {{1}}"}],
}


def test_a_template_is_kept_changed_and_forgotten(call: Caller) -> None:
    made = call("POST", "/templates", json=TEMPLATE)
    assert made.status_code == 201
    assert made.json["status"] == "unknown"
    assert made.json["components"] == TEMPLATE["components"]
    path = f"/templates/{made.json['id']}"
    assert call("GET", path).json == made.json
    assert call("PATCH", path, json={"status": "APPROVED"}).json == {**made.json, "status": "APPROVED"}
    assert [each["id"] for each in call("GET", "/templates").json["items"]] == [made.json["id"]]
    assert call("DELETE", path).status_code == 204
    problem(call("GET", path), 404)


def test_a_template_is_one_by_name_and_language(call: Caller) -> None:
    call("POST", "/templates", json=TEMPLATE)
    assert list(problem(call("POST", "/templates", json=TEMPLATE), 409)["errors"]) == ["name"]
    other = call("POST", "/templates", json={**TEMPLATE, "language": "en"}).json
    conflict = call("PATCH", f"/templates/{other['id']}", json={"language": "pt_BR"})
    assert problem(conflict, 409)["code"] == "already_exists"
    assert call("GET", f"/templates/{other['id']}").json == other


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", None),
        ("language", 5),
        ("language", "x" * 21),
        ("components", {}),
        ("components", ["text"]),
        ("components", [{"text": "\0"}]),
        ("status", ""),
        ("colour", "green"),
    ],
)
def test_a_bad_template_is_refused(
    call: Caller, row_counts: Callable[[], dict[str, int]], field: str, value: Any
) -> None:
    before = row_counts()
    named = list(problem(call("POST", "/templates", json={**TEMPLATE, field: value}), 422)["errors"])
    assert len(named) == 1
    assert named[0].split(".")[0] == field
    assert row_counts() == before
