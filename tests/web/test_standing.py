"""How limits and queues stand."""

from collections.abc import Callable
from typing import Any

import redis
from flask import Flask

from campaign_engine.config import Config
from campaign_engine.core import prefix_of
from campaign_engine.models import Company, User
from campaign_engine.services.company import limits
from jobs import queues
from jobs.enqueueing import enqueue_prepare
from ratelimit import Limiter
from tests import factories
from tests.web.conftest import Caller


def test_limits_are_looked_at_and_not_charged(
    call: Caller, config: Config, database: Callable[[], Any], redis_client: redis.Redis
) -> None:
    with database() as session:
        company = session.get_one(Company, call.company_id)
        account = factories.account(session, company, rate_limit="20/minute", burst=4)
    for _ in range(3):
        listed = call("GET", "/rate-limits").json
        assert [each["used"] for each in listed["items"]] == [0, 0]

    limiter = Limiter(redis_client, prefix=prefix_of(call.company_id))
    limiter.acquire([limits.of_account(account, company, config)], count=4)
    listed = call("GET", "/rate-limits").json
    assert listed["next_cursor"] is None
    mine, of_account = listed["items"]
    assert (mine["key"], mine["limit"], mine["account_id"]) == (f"user:{call.user_id}", "100/minute", None)
    assert (mine["used"], mine["remaining"], mine["next_free_at"]) == (0, 1, None)
    assert of_account["account_id"] == str(account.id)
    assert (of_account["limit"], of_account["used"], of_account["remaining"]) == ("20/minute", 4, 0)
    assert of_account["next_free_at"].endswith("Z")


def test_limits_come_in_pages_with_the_callers_own_first(call: Caller, database: Callable[[], Any]) -> None:
    with database() as session:
        company = session.get_one(User, call.user_id).company
        ids = [str(factories.account(session, company).id) for _ in range(3)]
    first = call("GET", "/rate-limits?limit=2").json
    second = call("GET", f"/rate-limits?limit=2&cursor={first['next_cursor']}").json
    assert [each["account_id"] for each in first["items"] + second["items"]] == [None, *ids]


def test_queues_are_counted_and_left_as_they_are(call: Caller, app: Flask, redis_client: redis.Redis) -> None:
    enqueue_prepare(redis_client, 7)
    # What RQ's own counting would sweep away: a job that was started and whose time is over.
    redis_client.zadd("rq:wip:contact-sync", {"a-job:1": 1})
    # And a worker that was killed: it stays registered for a while and serves nobody.
    redis_client.sadd("rq:workers:contact-sync", "rq:worker:killed")
    redis_client.hset("rq:worker:killed", "last_heartbeat", "2026-01-01T00:00:00.000000Z")
    before = {key: redis_client.dump(key) for key in redis_client.keys("rq:*")}

    items = {each["name"]: each for each in call("GET", "/queues").json["items"]}
    assert set(items) == set(queues.NAMES)
    assert items["campaign-scheduler"]["queued"] == 1
    assert items["contact-sync"] == {
        "name": "contact-sync",
        "queued": 0,
        "started": 1,
        "scheduled": 0,
        "failed": 0,
        "workers": 0,
    }
    assert {key: redis_client.dump(key) for key in redis_client.keys("rq:*")} == before
