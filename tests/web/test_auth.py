"""Who may call what."""

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from campaign_engine.db import transaction
from campaign_engine.models import Role, User
from campaign_engine.services.company import users
from tests import factories
from tests.web.conftest import Caller, problem
from web import auth


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "cet_x", "Bearer cet_unknown", "Bearer \xff\xfe"]
)
def test_without_a_token_that_is_known_nothing_is_answered(app: Flask, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = app.test_client().get("/api/v1/campaigns", headers=headers)
    body = problem(answer, 401)
    assert body["code"] == "not_authenticated"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_every_address_of_the_api_needs_a_token(app: Flask) -> None:
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith("/api/v1/") or rule.rule.endswith("/openapi.json"):
            continue
        path = re.sub(r"<[^>]+>", "1", re.sub(r"<uuid:[^>]+>", str(uuid.uuid4()), rule.rule))
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert client.open(path, method=method).status_code == 401, (method, path)


def test_a_revoked_token_is_useless_at_once(call: Caller) -> None:
    made = call("POST", "/tokens", json={"name": "mine"}).json
    other = Caller(call.client, made["token"], call.user_id, call.company_id)
    assert other("GET", "/campaigns").status_code == 200
    assert call("DELETE", f"/tokens/{made['id']}").status_code == 204
    problem(other("GET", "/campaigns"), 401)


def test_the_use_of_a_token_is_noted(call: Caller, database: Callable[[], Any]) -> None:
    call("GET", "/campaigns")
    (mine,) = call("GET", "/tokens").json["items"]
    assert mine["last_used_at"] is not None


LEAST_ROLE = {
    ("GET", "/accounts"): Role.VIEWER,
    ("POST", "/accounts"): Role.ADMIN,
    ("PATCH", "/accounts/1"): Role.ADMIN,
    ("DELETE", "/accounts/1"): Role.ADMIN,
    ("POST", "/accounts/1/reactivate"): Role.ADMIN,
    ("POST", "/accounts/1/health-check"): Role.ADMIN,
    ("GET", "/contacts"): Role.VIEWER,
    ("POST", "/contacts"): Role.OPERATOR,
    ("POST", "/contacts/import"): Role.OPERATOR,
    ("DELETE", "/contacts/1"): Role.OPERATOR,
    ("GET", "/imports/1/errors.csv"): Role.VIEWER,
    ("POST", "/lists"): Role.OPERATOR,
    ("DELETE", "/lists/1/contacts"): Role.OPERATOR,
    ("POST", "/templates"): Role.OPERATOR,
    ("GET", "/campaigns"): Role.VIEWER,
    ("POST", "/campaigns"): Role.OPERATOR,
    ("POST", "/campaigns/1/start"): Role.OPERATOR,
    ("POST", "/campaigns/1/cancel"): Role.OPERATOR,
    ("GET", "/campaigns/1/progress"): Role.VIEWER,
    ("POST", "/opt-outs"): Role.OPERATOR,
    ("GET", "/rate-limits"): Role.VIEWER,
    ("GET", "/queues"): Role.VIEWER,
    ("GET", "/notifications"): Role.VIEWER,
    ("POST", "/notifications/1/read"): Role.OPERATOR,
    ("POST", "/notifications/read-all"): Role.OPERATOR,
    ("GET", "/audit-log"): Role.ADMIN,
    ("POST", "/tokens"): Role.VIEWER,
    ("GET", "/users"): Role.ADMIN,
    ("POST", "/users"): Role.ADMIN,
    ("GET", "/company/settings"): Role.VIEWER,
    ("PATCH", "/company/settings"): Role.ADMIN,
}


def test_each_role_may_do_what_its_rank_includes(caller: Callable[..., Caller]) -> None:
    ranks = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    for role in ranks:
        mine = caller(role=role)
        for (method, path), least in LEAST_ROLE.items():
            answer = mine(method, path)
            refused = ranks.index(role) < ranks.index(least)
            assert (answer.status_code == 403) is refused, (role, method, path, answer.text)
            if refused:
                assert problem(answer, 403)["code"] == "not_allowed"


@pytest.fixture
def person(app: Flask, caller: Callable[..., Caller]) -> User:
    made = caller()
    with app.app_context(), transaction() as session:
        return session.get_one(User, made.user_id)


def signed_in(app: Flask, user: User, client: FlaskClient | None = None) -> FlaskClient:
    """Return a browser in which the user signed in on the page."""
    browser = client or app.test_client()
    answer = login(browser, user.email, factories.PASSWORD)
    assert answer.status_code == 303, answer.text
    return browser


def login(browser: FlaskClient, email: str, password: str) -> Any:
    return browser.post(
        "/login", data={"csrf_token": csrf_of(browser), "email": email, "password": password, "next": ""}
    )


def csrf_of(browser: FlaskClient, page: str = "/login") -> str:
    found = re.search(r'name="csrf[_-]token"[^>]*(?:value|content)="([^"]+)"', browser.get(page).text)
    assert found is not None
    return found.group(1)


def test_the_session_of_the_pages_may_read_the_api(app: Flask, person: User) -> None:
    browser = signed_in(app, person)
    assert browser.get("/api/v1/campaigns").status_code == 200
    assert app.test_client().get("/api/v1/campaigns").status_code == 401


def test_a_session_changes_something_only_with_the_token_of_the_page(app: Flask, person: User) -> None:
    browser = signed_in(app, person)
    for headers in ({}, {"X-CSRFToken": "wrong"}):
        answer = browser.post("/api/v1/lists", json={"name": "x"}, headers=headers)
        assert problem(answer, 403)["code"] == "csrf_failed"
    token = csrf_of(browser, "/")
    assert browser.post("/api/v1/lists", json={"name": "x"}, headers={"X-CSRFToken": token}).status_code == 201


def test_a_wrong_token_is_not_made_good_by_a_session(app: Flask, person: User) -> None:
    browser = signed_in(app, person)
    answer = browser.get("/api/v1/campaigns", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


def test_signing_in_drops_what_the_browser_had_before(app: Flask, person: User) -> None:
    browser = app.test_client()
    with browser.session_transaction() as planted:
        planted["planted"] = "by somebody else"
    signed_in(app, person, browser)
    with browser.session_transaction() as session:
        assert "planted" not in session
        assert session["user_id"] == person.id


def test_a_new_password_ends_the_old_sessions(app: Flask, person: User, database: Callable[[], Any]) -> None:
    browser = signed_in(app, person)
    with database() as session:
        users.update(session, session.get_one(User, person.id), password="another password")
    assert browser.get("/api/v1/campaigns").status_code == 401


def test_a_deleted_user_is_signed_out(app: Flask, person: User, database: Callable[[], Any]) -> None:
    browser = signed_in(app, person)
    with database() as session:
        session.execute(text("DELETE FROM users WHERE id = :id"), {"id": person.id})
    assert browser.get("/api/v1/campaigns").status_code == 401


def test_a_cookie_of_another_key_is_nobody(app: Flask, person: User) -> None:
    browser = app.test_client()
    browser.set_cookie("campaign_engine", "eyJ1c2VyX2lkIjoxfQ.ZZZZZZ.forged")
    assert browser.get("/api/v1/campaigns").status_code == 401


def test_the_cookie_is_kept_from_scripts_and_other_sites(app: Flask, person: User) -> None:
    browser = app.test_client()
    answer = login(browser, person.email, factories.PASSWORD)
    (cookie,) = [each for each in answer.headers.getlist("Set-Cookie") if each.startswith("campaign_engine=")]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


def test_the_cookie_is_secure_where_the_public_address_is(config: Any) -> None:
    from web.app import create_app

    variables = {"PUBLIC_URL": "https://campaigns.example.com"}
    app = create_app(factories.config(database_url=config.database_url, redis_url=config.redis_url, **variables))
    assert app.config["SESSION_COOKIE_SECURE"] is True


def test_a_wrong_password_and_an_unknown_address_look_the_same(app: Flask, person: User) -> None:
    pages = [login(app.test_client(), email, "wrong password") for email in (person.email, "nobody@example.com")]
    assert [page.status_code for page in pages] == [401, 401]
    assert pages[0].text.replace(person.email, "") != ""
    for page in pages:
        assert "The e-mail address or the password is wrong." in page.text


def test_an_address_that_nobody_can_have_is_nobodys(app: Flask) -> None:
    for email in ("a\0@example.com", "", "é@example.com", "x" * 10_000):
        assert login(app.test_client(), email, "some password\0").status_code == 401


def test_too_many_attempts_for_one_person_wait(app: Flask, person: User, redis_client: redis.Redis) -> None:
    browser = app.test_client()
    token = csrf_of(browser)
    answers = [
        browser.post("/login", data={"csrf_token": token, "email": person.email.upper(), "password": "wrong"})
        for _ in range(11)
    ]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert "Too many attempts" in answers[-1].text


def test_attempts_count_for_the_address_they_come_from_whatever_they_claim(
    app: Flask, redis_client: redis.Redis
) -> None:
    browser = app.test_client()
    browser.environ_base["HTTP_X_FORWARDED_FOR"] = "203.0.113.9"
    login(browser, "nobody@example.com", "wrong password")
    keys = b" ".join(redis_client.keys("rl:*"))
    assert b"login:address:127.0.0.1" in keys
    assert b"203.0.113.9" not in keys
    assert b"nobody" not in keys


def test_a_target_of_another_site_is_not_gone_to() -> None:
    assert auth.local_target("/campaigns?page=2#top") == "/campaigns?page=2#top"
    for target in (
        None,
        "",
        "campaigns",
        "//evil.example",
        "///evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/a\nb",
        "/\t/x",
    ):
        assert auth.local_target(target) == "/"
