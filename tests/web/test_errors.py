"""Every failure is one kind of answer."""

import io
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask import Flask

from campaign_engine.errors import EngineError
from tests import factories
from tests.web.conftest import Caller, problem, running
from web import errors
from web.schemas.base import flattened


def every(kind: type[EngineError]) -> set[type[EngineError]]:
    return {kind}.union(*(every(child) for child in kind.__subclasses__()))


def test_every_error_of_the_domain_has_a_status_of_its_own() -> None:
    assert every(EngineError) == set(errors.STATUS_OF)


def test_an_unknown_address_is_not_found(call: Caller) -> None:
    body = problem(call("GET", "/nothing"), 404)
    assert body["code"] == "not_found"
    assert "/api/v1/nothing" in body["detail"]


@pytest.mark.parametrize("identity", ["abc", "-1", "1.5", "9223372036854775808", "9" * 30, "%00", "1%2F2", "١"])
def test_an_id_that_is_none_is_not_found(call: Caller, identity: str) -> None:
    for path in ("accounts", "contacts", "lists", "campaigns", "templates", "imports", "users"):
        problem(call("GET", f"/{path}/{identity}"), 404)


def test_a_method_that_is_not_served_says_which_are(call: Caller) -> None:
    answer = call("PUT", "/campaigns")
    assert problem(answer, 405)["code"] == "method_not_allowed"
    assert {"GET", "POST"} <= {method.strip() for method in answer.headers["Allow"].split(",")}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'name': 'x'}",
        b'{"name": NaN}',
        b'{"name": Infinity}',
        b"\xff\xfe",
        b'{"name": "\xe9"}',
        b"[" * 100_000,
        b"1" * 5000,
        b'{"name": "a"} trailing',
    ],
)
def test_malformed_json_is_one_clear_error(call: Caller, body: bytes) -> None:
    answer = call("POST", "/lists", data=body, content_type="application/json")
    shown = problem(answer, 400)
    assert shown["code"] == "malformed_request"
    assert list(shown["errors"]) == ["body"]
    assert "JSON" in shown["detail"]


def test_nesting_has_an_end(call: Caller) -> None:
    for depth in (33, 500):
        deep = b'{"name": ' + b"[" * depth + b"]" * depth + b"}"
        shown = problem(call("POST", "/lists", data=deep, content_type="application/json"), 422)
        assert "deeply" in shown["detail"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
def test_a_body_of_another_type_is_refused(call: Caller, kind: str) -> None:
    shown = problem(call("POST", "/lists", data=b'{"name": "x"}', content_type=kind), 415)
    assert shown["code"] == "unsupported_media_type"
    assert "application/json" in shown["detail"]


def test_a_body_that_is_too_large_is_refused(call: Caller) -> None:
    shown = problem(call("POST", "/lists", data=b'"' + b"x" * (5 << 20) + b'"', content_type="application/json"), 413)
    assert shown["code"] == "too_large"
    assert "5,242,880" in shown["detail"]


def test_an_empty_body_misses_its_fields(call: Caller) -> None:
    assert list(problem(call("POST", "/lists"), 422)["errors"]) == ["name"]
    assert list(problem(call("POST", "/lists", data=b" ", content_type="application/json"), 422)["errors"]) == ["name"]


def test_names_of_fields_are_dotted() -> None:
    messages = {"a": {"_schema": ["Whole."]}, "b": {"0": {"c": ["Not this.", "Nor that."]}}, "_schema": ["All."]}
    assert flattened(messages) == {"a": ["Whole."], "b.0.c": ["Not this.", "Nor that."], "body": ["All."]}


def test_a_nul_in_the_name_of_a_field_is_refused(call: Caller) -> None:
    shown = problem(call("POST", "/contacts", json={"phone": "+5511987654321", "variables": {"a\0": "x"}}), 422)
    assert list(shown["errors"]) == ["variables.name"]


def test_the_name_of_a_file_is_checked_too(call: Caller) -> None:
    data = {"file": (io.BytesIO(b"telefone\n11987654321\n"), "a\0.csv")}
    answer = call("POST", "/contacts/import", data=data)
    assert answer.status_code in (202, 422)


def test_people_get_a_page(app: Flask) -> None:
    answer = app.test_client().get("/nothing", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "/nothing" in answer.text


def test_what_a_person_typed_is_escaped_in_the_page(app: Flask) -> None:
    answer = app.test_client().get("/<script>alert(1)</script>", headers={"Accept": "text/html"})
    assert "<script>alert" not in answer.text


def test_a_defect_is_answered_with_the_reference_of_its_log_line(
    config: Any, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(config) as app:
        app.add_url_rule("/api/v1/defect", view_func=lambda: 1 / 0)
        body = problem(app.test_client().get("/api/v1/defect"), 500)
    assert body["code"] == "internal_error"
    assert len(body["reference"]) == 12
    assert "division" not in json.dumps(body)
    assert body["reference"] in capsys.readouterr().out + caplog.text


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
def app_without_postgres(redis_url: str, redis_client: redis.Redis, closed_port: int) -> Iterator[Flask]:
    url = f"postgresql://nobody:the-password@127.0.0.1:{closed_port}/none"
    with running(factories.config(database_url=url, redis_url=redis_url)) as app:
        yield app


@pytest.fixture
def app_without_redis(config: Any, closed_port: int) -> Iterator[Flask]:
    url = f"redis://:the-password@127.0.0.1:{closed_port}/0"
    with running(factories.config(database_url=config.database_url, redis_url=url)) as app:
        yield app


def test_without_postgres_the_answer_is_503_and_when_to_come_back(app_without_postgres: Flask) -> None:
    answer = app_without_postgres.test_client().get("/api/v1/campaigns", headers={"Authorization": "Bearer x"})
    body = problem(answer, 503)
    assert (body["code"], answer.headers["Retry-After"]) == ("dependency_unavailable", "5")
    assert "PostgreSQL" in body["detail"]
    assert "password" not in answer.text


def test_without_redis_everything_that_is_in_postgres_works(
    app_without_redis: Flask, call: Caller, database: Callable[[], Any]
) -> None:
    mine = Caller(app_without_redis.test_client(), call.token, call.user_id, call.company_id)
    from campaign_engine.models import User

    with database() as session:
        made = factories.campaign(session, session.get_one(User, call.user_id))
    answer = mine("POST", f"/campaigns/{made.id}/start")
    assert (answer.status_code, answer.json["status"]) == (202, "preparing")
    assert answer.headers["RateLimit-Degraded"] == "1"
    assert "RateLimit" not in answer.headers
    assert mine("GET", f"/campaigns/{made.id}/progress").status_code == 200
    assert mine("POST", "/lists", json={"name": "x"}).status_code == 201


def test_without_redis_what_needs_it_says_so(app_without_redis: Flask, call: Caller) -> None:
    mine = Caller(app_without_redis.test_client(), call.token, call.user_id, call.company_id)
    for path in ("/rate-limits", "/queues"):
        answer = mine("GET", path)
        body = problem(answer, 503)
        assert (body["code"], answer.headers["Retry-After"]) == ("dependency_unavailable", "5")
        assert "Redis" in body["detail"]
        assert "password" not in answer.text


def test_readiness_names_the_part_that_is_away_and_no_secret(
    app_without_redis: Flask, app_without_postgres: Flask
) -> None:
    for app, states in (
        (app_without_redis, {"postgres": "ok", "redis": "unavailable", "limits": "unavailable"}),
        (app_without_postgres, {"postgres": "unavailable", "redis": "ok", "limits": "ok"}),
    ):
        answer = app.test_client().get("/readyz")
        assert (answer.status_code, answer.json["parts"]) == (503, states)
        assert "password" not in answer.text
        assert app.test_client().get("/healthz").status_code == 200
