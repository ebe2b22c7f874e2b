"""The API's own limit: said in every answer, kept, and open when Redis is away."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask import Flask

from tests import factories
from tests.web.conftest import Caller, problem, running


@pytest.fixture
def app(config: Any, redis_client: redis.Redis) -> Iterator[Flask]:
    variables = {"API_RATE_LIMIT": "5/minute"}
    with running(factories.config(database_url=config.database_url, redis_url=config.redis_url, **variables)) as app:
        yield app


def test_every_answer_says_how_the_limit_stands(call: Caller) -> None:
    remaining = []
    for _ in range(5):
        answer = call("GET", "/lists")
        assert answer.headers["RateLimit-Policy"] == '"api";q=5;w=60'
        found = re.fullmatch(r'"api";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
        assert found is not None
        assert 1 <= int(found[2]) <= 60
        remaining.append(int(found[1]))
    assert remaining == [4, 3, 2, 1, 0]


def test_who_calls_too_often_is_told_when_to_come_back(call: Caller) -> None:
    for _ in range(5):
        assert call("GET", "/lists").status_code == 200
    answer = call("POST", "/lists", json={"name": "x"})
    assert problem(answer, 429)["code"] == "too_many_requests"
    assert 1 <= int(answer.headers["Retry-After"]) <= 12
    assert answer.headers["RateLimit"].startswith('"api";r=0;')


def test_refusals_of_other_kinds_are_charged_too(call: Caller) -> None:
    for _ in range(5):
        problem(call("GET", "/lists/999999999"), 404)
    problem(call("GET", "/lists"), 429)


def test_users_have_limits_of_their_own(caller: Callable[..., Caller]) -> None:
    one = caller()
    other = caller(like=one)
    for _ in range(6):
        one("GET", "/lists")
    assert other("GET", "/lists").status_code == 200


def test_all_tokens_of_a_user_share_one_limit(call: Caller) -> None:
    token = call("POST", "/tokens", json={"name": "second"}).json["token"]
    second = Caller(call.client, token, call.user_id, call.company_id)
    for _ in range(4):
        assert second("GET", "/lists").status_code == 200
    assert second("GET", "/lists").status_code == 429
    assert call("GET", "/lists").status_code == 429


def test_calls_without_a_user_are_charged_to_nobody(app: Flask, redis_client: redis.Redis) -> None:
    for _ in range(10):
        assert app.test_client().get("/api/v1/lists").status_code == 401
    assert redis_client.keys("rl:*") == []


def test_a_limit_that_cannot_be_asked_is_open_and_says_so(
    call: Caller, redis_client: redis.Redis, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.config_set("maxmemory", "1")
    redis_client.config_set("maxmemory-policy", "noeviction")
    try:
        answers = [call("GET", "/lists") for _ in range(10)]
    finally:
        redis_client.config_set("maxmemory", "0")
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers.get("RateLimit-Degraded") for answer in answers} == {"1"}
    lines = capsys.readouterr().out + caplog.text
    # Left alone for a moment after the first failure.
    assert lines.count("throttling.degraded") == 1
