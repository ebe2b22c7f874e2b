"""Accounts of Evolution API over HTTP: their webhook address, what comes to it, and their phone's people."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
import requests
import structlog
from flask import Flask
from rq import Queue
from structlog.testing import capture_logs

from campaign_engine.models import Company, WebhookEvent
from tests.web.conftest import Caller, problem
from tests.web.visitor import person, signed_in
from web import webhooks

Account = dict[str, Any]
BODY = json.dumps({"event": "messages.update", "instance": "shop", "data": {"keyId": "3EB0", "status": "READ"}})


@pytest.fixture
def account(call: Caller, simulator: str) -> Account:
    instance = {"instance": "shop", "apikey": "a-good-key"}
    requests.post(f"{simulator}/simulator/instances", json=instance, timeout=60).raise_for_status()
    answer = call(
        "POST",
        "/accounts",
        json={
            "name": "Shop",
            "provider": "evolution",
            "base_url": simulator,
            "instance": "shop",
            "access_token": "a-good-key",
        },
    )
    assert answer.status_code == 201, answer.text
    shown: Account = answer.json
    return shown


def path_of(account: Account) -> str:
    found: str = account["webhook_url"].removeprefix("http://localhost")
    return found


def post(app: Flask, path: str, body: str | bytes = BODY) -> Any:
    return app.test_client().post(path, data=body, content_type="application/json")


def stored(database: Callable[[], Any]) -> list[WebhookEvent]:
    with database() as session:
        return list(session.query(WebhookEvent).order_by(WebhookEvent.id))


def test_an_account_shows_its_webhook_address_to_administrators_and_its_key_to_nobody(
    call: Caller, caller: Callable[..., Caller], account: Account
) -> None:
    assert (account["provider"], account["instance"], account["max_in_flight"]) == ("evolution", "shop", 1)
    assert account["health"]["summary"] == "connected"
    assert account["webhook_url"].startswith("http://localhost/webhooks/evolution/")
    assert call("GET", f"/accounts/{account['id']}").json["webhook_url"] == account["webhook_url"]
    operator = caller(role="operator", like=call)("GET", f"/accounts/{account['id']}")
    assert operator.json["webhook_url"] is None
    assert account["webhook_url"].rpartition("/")[2] not in operator.text
    assert "a-good-key" not in operator.text


def test_the_address_of_a_cloud_api_account_is_no_secret(
    caller: Callable[..., Caller], call: Caller, registered: Callable[..., dict[str, str]]
) -> None:
    made = call("POST", "/accounts", json={"name": "Cloud", "provider": "cloud_api", **registered()}).json
    shown = caller(role="viewer", like=call)("GET", f"/accounts/{made['id']}").json
    assert shown["webhook_url"] == "http://localhost/webhooks/cloud"


@pytest.mark.parametrize("suffix", ["", "/messages-update"])
def test_a_webhook_to_the_address_is_stored_as_it_came_and_answered_at_once(
    app: Flask, account: Account, database: Callable[[], Any], redis_client: redis.Redis, suffix: str
) -> None:
    before = len(stored(database))
    body = BODY.replace('"READ"', '  "READ"')
    answer = post(app, path_of(account) + suffix, body)
    assert (answer.status_code, answer.data) == (200, b"")
    (event,) = stored(database)[before:]
    assert (event.provider, event.account_ids, event.body) == ("evolution", [int(account["id"])], body.encode())
    assert event.applied_at is None
    assert redis_client.llen("rq:queue:delivery-events") == 1


@pytest.mark.parametrize("spoil", [lambda key: key[:-1], lambda key: key + "x", lambda _: "None", lambda _: "%00"])
def test_a_webhook_to_any_other_address_is_refused(
    app: Flask, account: Account, row_counts: Callable[[], dict[str, int]], spoil: Callable[[str], str]
) -> None:
    before = row_counts()
    start, _, key = path_of(account).rpartition("/")
    assert problem(post(app, f"{start}/{spoil(key)}"), 401)["code"] == "webhook_key_unknown"
    assert row_counts() == before


def test_an_account_that_was_deleted_gets_no_webhooks(app: Flask, call: Caller, account: Account) -> None:
    assert call("DELETE", f"/accounts/{account['id']}").status_code == 204
    assert post(app, path_of(account)).status_code == 401


def test_a_webhook_has_a_limit(app: Flask, account: Account) -> None:
    assert post(app, path_of(account), b" " * (8 << 20)).status_code == 200
    assert post(app, path_of(account), b" " * ((8 << 20) + 1)).status_code == 413


def test_the_key_is_in_no_log(app: Flask, account: Account) -> None:
    key = path_of(account).rpartition("/")[2]
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        post(app, path_of(account)[:-1])
    assert lines[0]["path"] == "/webhooks/evolution/"
    assert key[:-1] not in repr(lines)
    assert webhooks.loggable_path("/webhooks/cloud") == "/webhooks/cloud"


def test_the_people_of_the_phone_are_asked_for_in_the_background(
    call: Caller, account: Account, redis_client: redis.Redis
) -> None:
    answer = call("POST", f"/accounts/{account['id']}/sync-contacts", json={"list": "Phone"})
    assert answer.status_code == 202
    assert (answer.json["account_id"], answer.json["list"]) == (account["id"], "Phone")
    assert call("POST", f"/accounts/{account['id']}/sync-contacts").json["list"] == "WhatsApp: Shop"
    path = f"/accounts/{account['id']}/lists/{answer.json['list_id']}/check-numbers"
    checked = call("POST", path)
    assert (checked.status_code, checked.json["list"]) == (202, "Not on WhatsApp")
    jobs = Queue("contact-sync", connection=redis_client).jobs
    assert [job.func_name for job in jobs] == [
        "jobs.address_books.sync_account",
        "jobs.address_books.sync_account",
        "jobs.address_books.check_numbers",
    ]
    assert jobs[0].args == (int(account["id"]), int(answer.json["list_id"]))


def test_an_account_without_a_phone_and_a_viewer_are_refused(
    call: Caller, caller: Callable[..., Caller], account: Account, registered: Callable[..., dict[str, str]]
) -> None:
    cloud = call("POST", "/accounts", json={"name": "Cloud", "provider": "cloud_api", **registered()}).json
    assert list(problem(call("POST", f"/accounts/{cloud['id']}/sync-contacts"), 422)["errors"]) == ["account"]
    viewer = caller(role="viewer", like=call)
    assert viewer("POST", f"/accounts/{account['id']}/sync-contacts").status_code == 403


def test_the_page_of_accounts_says_that_evolution_api_is_in_use_and_where_its_webhooks_go(
    app: Flask, call: Caller, database: Callable[[], Any], registered: Callable[..., dict[str, str]]
) -> None:
    with database() as session:
        company = session.get_one(Company, call.company_id)
        users = {role: person(session, company, role) for role in ("admin", "viewer")}
    people = {role: signed_in(app, user) for role, user in users.items()}
    call("POST", "/accounts", json={"name": "Cloud", "provider": "cloud_api", **registered()})
    assert "This system uses Evolution API." not in people["viewer"].see("/accounts")
    answer = call(
        "POST",
        "/accounts",
        json={
            "name": "Shop",
            "provider": "evolution",
            "base_url": "http://127.0.0.1:9",
            "instance": "shop",
            "access_token": "a-good-key",
        },
    )
    seen = {role: visitor.see("/accounts") for role, visitor in people.items()}
    assert all("This system uses Evolution API." in page for page in seen.values())
    assert answer.json["webhook_url"] in seen["admin"]
    assert "/webhooks/evolution/" not in seen["viewer"]
