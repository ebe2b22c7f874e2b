"""Webhooks of the Cloud API: signed, stored as they came, answered at once."""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask
from sqlalchemy import text
from werkzeug.test import TestResponse

from campaign_engine.models import Account, Company, WebhookEvent
from tests import factories
from tests.web.conftest import Caller, problem, running

SECRET = "the app secret of this test"
VERIFY_TOKEN = "the verify token of this test"


@pytest.fixture
def account(call: Caller, database: Callable[[], Any]) -> Account:
    with database() as session:
        company = session.get_one(Company, call.company_id)
        return factories.account(
            session,
            company,
            app_secret=f"{SECRET} {company.id}",
            verify_token=f"{VERIFY_TOKEN} {company.id}",
        )


def secret_of(account: Account) -> str:
    return f"{SECRET} {account.company_id}"


def body_for(account: Account, **extra: Any) -> bytes:
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"phone_number_id": account.phone_number_id},
        "statuses": [{"id": "wamid.1", "status": "sent", "timestamp": "1739321024"}],
        **extra,
    }
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def signature(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def post(app: Flask, body: bytes, signed: str | None) -> TestResponse:
    headers = {} if signed is None else {"X-Hub-Signature-256": signed}
    return app.test_client().post("/webhooks/cloud", data=body, headers=headers, content_type="application/json")


def stored(database: Callable[[], Any]) -> list[WebhookEvent]:
    with database() as session:
        return list(session.query(WebhookEvent).order_by(WebhookEvent.id))


def test_a_signed_webhook_is_stored_byte_by_byte_and_its_job_enqueued_once(
    app: Flask, account: Account, database: Callable[[], Any], redis_client: redis.Redis
) -> None:
    before = len(stored(database))
    body = body_for(account, contacts=[{"profile": {"name": "João"}}]).replace(b'"sent"', b'  "sent"') + b"\n"
    for _ in range(3):
        answer = post(app, body, signature(body, secret_of(account)))
        assert (answer.status_code, answer.data) == (200, b"")

    events = stored(database)[before:]
    assert [(event.body, event.account_ids, event.provider) for event in events] == [
        (body, [account.id], "cloud_api")
    ] * 3
    assert all(event.applied_at is None for event in events)
    assert redis_client.llen("rq:queue:delivery-events") == 1


@pytest.mark.parametrize(
    "forge",
    [
        lambda **_: None,
        lambda **_: "",
        lambda **_: "sha256=",
        lambda body, **_: signature(body, "another secret"),
        lambda body, secret: signature(body + b" ", secret),
        lambda body, secret: signature(body, secret).removeprefix("sha256="),
        lambda body, secret: signature(body, secret).upper(),
        lambda body, secret: "sha1=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest(),
        lambda **_: "sha256=é",
    ],
)
def test_a_webhook_that_none_of_our_secrets_signed_is_refused(
    app: Flask, account: Account, row_counts: Callable[[], dict[str, int]], redis_client: redis.Redis, forge: Any
) -> None:
    before = row_counts()
    body = body_for(account)
    answer = post(app, body, forge(body=body, secret=secret_of(account)))
    assert problem(answer, 401)["code"] == "signature_unknown"
    assert row_counts() == before
    assert redis_client.keys("rq:queue:*") == []


def test_a_webhook_speaks_only_for_the_accounts_whose_secret_signed_it(
    app: Flask, account: Account, stranger: Caller, database: Callable[[], Any]
) -> None:
    with database() as session:
        company = session.get_one(Company, stranger.company_id)
        theirs = factories.account(session, company, app_secret="their secret")
    body = body_for(theirs)
    problem(post(app, body, signature(body, secret_of(account))), 401)


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"{}", b"[" * 100_000])
def test_a_body_that_is_no_webhook_is_answered_without_a_traceback(app: Flask, account: Account, body: bytes) -> None:
    assert post(app, body, signature(body, secret_of(account))).status_code in (200, 401)
    assert post(app, body, "sha256=00").status_code == 401


def test_a_webhook_may_have_three_megabytes_and_no_more(app: Flask, account: Account) -> None:
    for size, status in ((3 << 20, 200), ((3 << 20) + 1, 413)):
        body = body_for(account)
        body += b" " * (size - len(body))
        assert post(app, body, signature(body, secret_of(account))).status_code == status


def test_a_redis_that_is_away_fails_no_webhook(config: Any, account: Account, database: Callable[[], Any]) -> None:
    before = len(stored(database))
    body = body_for(account)
    variables = {"database_url": config.database_url, "redis_url": "redis://127.0.0.1:9/0"}
    with running(factories.config(**variables)) as app:
        assert post(app, body, signature(body, secret_of(account))).status_code == 200
    assert len(stored(database)) == before + 1


def test_a_deleted_accounts_secret_signs_nothing(app: Flask, account: Account, database: Callable[[], Any]) -> None:
    with database() as session:
        session.execute(text("UPDATE accounts SET status = 'deleted' WHERE id = :id"), {"id": account.id})
    body = body_for(account)
    problem(post(app, body, signature(body, secret_of(account))), 401)


def verify(app: Flask, **query: str) -> TestResponse:
    return app.test_client().get(
        "/webhooks/cloud", query_string={f"hub.{name}": value for name, value in query.items()}
    )


def test_metas_challenge_is_given_back_bare(app: Flask, account: Account) -> None:
    answer = verify(app, mode="subscribe", challenge="1158201444", verify_token=f"{VERIFY_TOKEN} {account.company_id}")
    assert (answer.status_code, answer.data, answer.mimetype) == (200, b"1158201444", "text/plain")


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"mode": "subscribe", "challenge": "1"},
        {"mode": "subscribe", "challenge": "1", "verify_token": ""},
        {"mode": "subscribe", "challenge": "1", "verify_token": "wrong"},
        {"mode": "subscribe", "challenge": "1", "verify_token": "é\0"},
        {"mode": "unsubscribe", "challenge": "1", "verify_token": "{right}"},
        {"challenge": "1", "verify_token": "{right}"},
    ],
)
def test_a_wrong_verification_is_forbidden(app: Flask, account: Account, query: dict[str, str]) -> None:
    right = f"{VERIFY_TOKEN} {account.company_id}"
    answer = verify(app, **{name: value.replace("{right}", right) for name, value in query.items()})
    assert problem(answer, 403)["code"] == "verify_token_unknown"


def test_webhooks_are_not_throttled_and_need_no_csrf_token(app: Flask, account: Account) -> None:
    app.config["WTF_CSRF_ENABLED"] = True
    body = body_for(account)
    signed = signature(body, secret_of(account))
    answers = [post(app, body, signed) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit" not in answers[0].headers
    assert "Set-Cookie" not in answers[0].headers
