"""What a request does is committed and answered, also where Redis does not take what follows."""

import io
from dataclasses import replace

import redis
from flask import Flask
from structlog.testing import capture_logs

from campaign_engine import following
from campaign_engine.config import Config
from tests.web.conftest import Caller, running
from web.transactions import transaction


def test_what_follows_is_on_the_queues_after_the_commit(app: Flask, redis_client: redis.Redis) -> None:
    with app.app_context(), transaction() as session:
        following.wake(session, [7])
        following.note(session, following.Import(8))
        assert redis_client.keys("rq:*") == []
    assert redis_client.zcard("rq:scheduled:campaign-messages") == 1
    assert redis_client.zcard("rq:scheduled:message-retry") == 1
    assert redis_client.llen("rq:queue:contact-sync") == 1


def test_a_redis_that_is_away_fails_no_request_and_is_logged_once(
    config: Config, call: Caller, redis_client: redis.Redis
) -> None:
    with running(replace(config, redis_url="redis://127.0.0.1:1/0")) as app:
        away = Caller(app.test_client(), call.token, call.user_id, call.company_id)
        with capture_logs() as logs:
            answer = away("POST", "/contacts/import", data={"file": (io.BytesIO(b"phone\n+5511900000001\n"), "a.csv")})
    assert answer.status_code == 202
    assert call("GET", f"/imports/{answer.json['id']}").json["status"] == "pending"
    [lost] = [line for line in logs if line["event"] == "hints.lost"]
    assert (lost["count"], lost["first"]) == (1, f"Import(import_id={answer.json['id']})")
    assert redis_client.keys("rq:*") == []
