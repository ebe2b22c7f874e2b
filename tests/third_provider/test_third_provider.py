"""A provider is what it declares: one of the tests' own is registered, and a campaign goes out through it."""

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask

from campaign_engine.config import Config
from campaign_engine.core import create_core, traits_of
from campaign_engine.db import db
from campaign_engine.models import Company
from campaign_engine.providers import REGISTRY
from campaign_engine.providers.cloud_api.door import signature_of
from jobs import receiving, runtime, scheduling
from jobs.lane import turns
from jobs.lane.worker import LaneWorker
from tests import factories
from tests.campaign_engine.providers.wire import Request, Server, response, serving
from tests.third_provider.pigeons import Pigeons
from tests.web.conftest import Caller, in_transaction, problem
from tests.web.visitor import person, signed_in
from web.app import create_app

WITH_PIGEONS = (*REGISTRY, Pigeons)
SEAL, SECRET = "seal-of-the-loft", "what the loft says at the door"
LANDED_AT = 1_800_000_000


@pytest.fixture
def config(database_url: str, redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> Config:
    return factories.config(database_url=database_url, redis_url=redis_url, VAR_DIR=str(tmp_path))


@pytest.fixture
def app(config: Config) -> Iterator[Flask]:
    """The web application, which knows pigeons."""
    app = create_app(config, registry=WITH_PIGEONS)
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def call(app: Flask) -> Caller:
    with in_transaction(app) as session:
        user = factories.user(session)
        user.company.settings = {"campaign_rate_limit": "60000/minute"}
        return Caller(app.test_client(), factories.token(session, user), user.id, user.company_id)


@pytest.fixture
def work(config: Config) -> Iterator[Callable[..., None]]:
    """Run a job as a worker that knows pigeons would."""
    current = runtime.build(config, registry=WITH_PIGEONS)

    def run(job: Callable[..., None], *ids: int) -> None:
        with current.app.app_context():
            job(*ids)

    yield run
    current.kept(LaneWorker).leave_journal()
    with current.app.app_context():
        db.engine.dispose()


@pytest.fixture
def loft() -> Iterator[Server]:
    """A loft on the loopback interface: every bird gets the next number."""
    birds = iter(range(1, 1000))

    def behave(connection: socket.socket, request: Request) -> bool:
        said = {"bird": f"bird-{next(birds)}"} if request.line.startswith("POST") else {"food": "plenty"}
        connection.sendall(response(200, said))
        return True

    with serving(behave) as server:
        yield server


def new_account(call: Caller, loft: Server, **values: Any) -> dict[str, Any]:
    fields = {
        "name": "Loft",
        "provider": "pigeons",
        "base_url": loft.url,
        "instance": "north",
        "access_token": SEAL,
        "app_secret": SECRET,
        "rate_limit": "60000/minute",
        "burst": 500,
        "message_interval_s": 0,
        **values,
    }
    answer = call("POST", "/accounts", json=fields)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json
    return made


def new_campaign(call: Caller, account: dict[str, Any], **values: Any) -> Any:
    fields = {
        "name": "News",
        "account_ids": [account["id"]],
        "audience": {"recipients": [{"phone": f"+551198765430{number}"} for number in range(3)]},
        "content": {"type": "text", "text": "Olá"},
        "pacing": {"message_delay_s": 0},
        **values,
    }
    return call("POST", "/campaigns", json=fields)


def states(call: Caller, campaign: dict[str, Any]) -> Counter[str]:
    return Counter(row["status"] for row in call("GET", f"/campaigns/{campaign['id']}/messages").json["items"])


def report(app: Flask, *birds: str, secret: str = SECRET, loft: str = "north", size: int = 0) -> Any:
    body = json.dumps({"loft": loft, "birds": [{"bird": bird, "landed_at": LANDED_AT} for bird in birds]})
    return app.test_client().post("/webhooks/pigeons", data=body.ljust(size), headers={"X-Loft-Secret": secret})


def test_a_campaign_goes_out_and_its_deliveries_come_in(
    app: Flask, call: Caller, work: Callable[..., None], loft: Server
) -> None:
    account = new_account(call, loft)
    assert (account["health"]["food"], account["max_in_flight"]) == ("plenty", 2)
    assert account["webhook_url"].endswith("/webhooks/pigeons")

    campaign = new_campaign(call, account).json
    assert call("POST", f"/campaigns/{campaign['id']}/start").status_code in (200, 202)
    work(scheduling.prepare_campaign, int(campaign["id"]))
    work(turns.run_turn, int(account["id"]))
    assert states(call, campaign) == {"sent": 3}
    flown = [request for request in loft.requests if request.line.startswith("POST /north/birds")]
    assert sorted(request.json["to"] for request in flown) == [f"+551198765430{number}" for number in range(3)]
    assert {request.headers["seal"] for request in flown} == {SEAL}

    assert report(app, "bird-1", "bird-3").status_code == 200
    work(receiving.apply_delivery_events)
    assert states(call, campaign) == {"delivered": 2, "sent": 1}


def test_its_door_opens_to_nobody_else(app: Flask, call: Caller, loft: Server) -> None:
    new_account(call, loft)
    for stranger in ({"secret": "a guess"}, {"secret": ""}, {"loft": "south"}):
        assert problem(report(app, "bird-1", **stranger), 401)["code"] == "loft_unknown"
    assert report(app, "bird-1", size=1000).status_code == 200
    assert report(app, "bird-1", size=1001).status_code == 413
    assert app.test_client().get("/webhooks/pigeons").status_code == 405


def test_its_secret_opens_no_other_door(app: Flask, call: Caller, loft: Server) -> None:
    new_account(call, loft)
    signed = {"X-Hub-Signature-256": signature_of(SECRET, b"{}")}
    answer = app.test_client().post("/webhooks/cloud", data=b"{}", headers=signed)
    assert problem(answer, 401)["code"] == "signature_unknown"


def test_what_it_declares_is_asked_of_its_accounts_and_campaigns(call: Caller, loft: Server) -> None:
    account = new_account(call, loft)
    fields = {"name": "South", "provider": "pigeons", "base_url": loft.url, "access_token": SEAL, "app_secret": "s"}
    refused = call("POST", "/accounts", json={**fields, "phone_number_id": "1", "max_in_flight": 3})
    assert set(problem(refused, 422)["errors"]) == {"instance", "phone_number_id", "max_in_flight"}
    assert problem(call("POST", "/accounts", json={**fields, "instance": "north"}), 409)["errors"].keys() == {
        "instance"
    }
    unsuited = new_campaign(call, account, content={"type": "template", "name": "promo", "language": "pt_BR"})
    assert problem(unsuited, 422)["errors"]["content"] == ["A pigeon carries a text and nothing else."]


def test_whom_its_codes_protect_is_not_written_to_again(call: Caller, work: Callable[..., None]) -> None:
    codes = {"+5511987654300": "has_a_cat", "+5511987654301": "feeds_today", "+5511987654302": "lost"}

    def behave(connection: socket.socket, request: Request) -> bool:
        said = {"no": codes[request.json["to"]]} if request.line.startswith("POST") else {"food": "none"}
        connection.sendall(response(200, said))
        return True

    with serving(behave) as loft:
        account = new_account(call, loft)
        campaign = new_campaign(call, account).json
        call("POST", f"/campaigns/{campaign['id']}/start")
        work(scheduling.prepare_campaign, int(campaign["id"]))
        work(turns.run_turn, int(account["id"]))
    assert states(call, campaign) == {"failed": 3}
    (refusing,) = call("GET", "/opt-outs").json["items"]
    assert refusing["source"] == "provider"
    assert call("DELETE", f"/opt-outs/{refusing['phone']}").status_code == 204
    retried = call("POST", f"/campaigns/{campaign['id']}/retry", json={"classes": ["recipient"], "dry_run": True}).json
    assert {each["code"]: each["retried"] for each in retried["groups"]} == {
        "has_a_cat": 0,
        "feeds_today": 0,
        "lost": 1,
    }
    assert sorted(each["reason"] for each in retried["excluded"]) == ["marketing_switched_off", "shielded"]


def test_an_application_knows_the_providers_that_it_was_given_and_no_others(config: Config) -> None:
    with create_core(config, registry=WITH_PIGEONS).app_context():
        assert traits_of("pigeons").title == "Pigeon Post"
    with create_core(config).app_context(), pytest.raises(KeyError):
        traits_of("pigeons")


def test_the_page_of_accounts_shows_its_title_and_its_notice(app: Flask, call: Caller, loft: Server) -> None:
    new_account(call, loft)
    new_account(call, loft, name="South", instance="south")
    with in_transaction(app) as session:
        company = session.get_one(Company, call.company_id)
        page = signed_in(app, person(session, company, "viewer"))
    seen = page.see("/accounts")
    assert (seen.count("Pigeon Post, "), seen.count("Pigeons rest at night.")) == (2, 1)
