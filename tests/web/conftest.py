"""The web application against real servers, and people of two companies who call it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import requests
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from campaign_engine.config import Config
from campaign_engine.db import db, transaction
from campaign_engine.models import Account, Role, User
from campaign_engine.services.campaigns import lifecycle
from cli.embedded.postgres import EmbeddedPostgres
from tests import factories, outgoing
from tests.web import visitor
from web.app import create_app

ROOT = Path(__file__).parents[2]

Database = Callable[[], AbstractContextManager[Session]]


@pytest.fixture(autouse=True)
def no_request_inside_a_transaction() -> Iterator[None]:
    """Whatever a test does, no transaction is open on a thread that asks a provider."""
    with outgoing.watched() as seen:
        yield
    assert seen == []


@pytest.fixture(scope="session")
def shared_database_url(_postgres: EmbeddedPostgres, migrated_template: str) -> str:
    """Address of a database for all tests of the web: each has companies of its own."""
    with psycopg.connect(_postgres.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE web_tests TEMPLATE {migrated_template}")  # type: ignore[arg-type]
    return _postgres.url_of("web_tests")


@pytest.fixture(scope="session")
def config(
    shared_database_url: str, redis_url: str, simulator: str, tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """A configuration whose provider is the simulator."""
    return factories.config(
        database_url=shared_database_url,
        redis_url=redis_url,
        CLOUD_API_URL=simulator,
        PROVIDER_TIMEOUT_S="30",
        API_RATE_LIMIT="100000/minute",
        VAR_DIR=str(tmp_path_factory.mktemp("var")),
    )


@pytest.fixture(scope="session")
def shared_app(config: Config) -> Iterator[Flask]:
    """The application, built once for all tests."""
    with running(config) as app:
        yield app


@pytest.fixture
def app(shared_app: Flask, redis_client: redis.Redis) -> Flask:
    """The application with an empty Redis."""
    return shared_app


@contextmanager
def running(config: Config) -> Iterator[Flask]:
    """Make the application of `config`, and close its connections afterwards."""
    app = create_app(config)
    try:
        yield app
    finally:
        with app.app_context():
            db.engine.dispose()
        app.extensions["campaign_engine"].redis.close()
        app.extensions["campaign_engine"].limiter_redis.close()


@pytest.fixture
def database(app: Flask) -> Database:
    """Open a transaction: `with database() as session:`."""
    return lambda: in_transaction(app)


class in_transaction(AbstractContextManager[Session]):
    def __init__(self, app: Flask) -> None:
        self._context = app.app_context()

    def __enter__(self) -> Session:
        self._context.push()
        self._transaction = transaction()
        return self._transaction.__enter__()

    def __exit__(self, *error: Any) -> None:
        try:
            self._transaction.__exit__(*error)
        finally:
            self._context.pop(*error[1:2])


@dataclass(frozen=True, slots=True)
class Caller:
    """A program of a user: calls the API with that user's token."""

    client: FlaskClient
    token: str
    user_id: int
    company_id: int

    def __call__(self, method: str, path: str, **options: Any) -> TestResponse:
        """Call `/api/v1` + path; `json`, `data`, `headers` as for Flask's client."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return self.client.open(f"/api/v1{path}", method=method, headers=headers, **options)


@pytest.fixture
def caller(app: Flask) -> Callable[..., Caller]:
    """Make a program of a new user: `caller(role="viewer", like=another)` is of the other's company."""

    def make(*, role: str = Role.ADMIN, like: Caller | None = None) -> Caller:
        with in_transaction(app) as session:
            of = factories.company(session) if like is None else session.get_one(User, like.user_id).company
            user = factories.user(session, of, role=role)
            return Caller(app.test_client(), factories.token(session, user), user.id, of.id)

    return make


@pytest.fixture
def call(caller: Callable[..., Caller]) -> Caller:
    """A program of an administrator."""
    return caller()


@pytest.fixture
def stranger(caller: Callable[..., Caller]) -> Caller:
    """A program of an administrator of another company."""
    return caller()


@dataclass(frozen=True, slots=True)
class People:
    """The people of one company, each with a browser of their own, and the company's things."""

    admin: visitor.Visitor
    operator: visitor.Visitor
    viewer: visitor.Visitor
    company_id: int
    admin_id: int
    viewer_id: int
    account_id: int


@pytest.fixture
def people(app: Flask, database: Database) -> People:
    with database() as session:
        company = factories.company(session, name="Bakery")
        users = {role: visitor.person(session, company, role) for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER)}
        account = factories.account(session, company, name="Main number")
    return People(
        *(visitor.signed_in(app, users[role]) for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER)),
        company_id=company.id,
        admin_id=users[Role.ADMIN].id,
        viewer_id=users[Role.VIEWER].id,
        account_id=account.id,
    )


@pytest.fixture
def new_campaign(database: Database, people: People) -> Callable[..., int]:
    """Make a campaign of the company in a state; return its id."""

    def make(status: str = "draft", *, size: int = 3, **values: Any) -> int:
        with database() as session:
            owner = session.get_one(User, people.admin_id)
            account = session.get_one(Account, people.account_id)
            if status in ("draft", "scheduled"):
                when = {"scheduled_at": datetime(2099, 5, 4, 12, tzinfo=UTC)} if status == "scheduled" else {}
                return factories.campaign(session, owner, accounts=[account], **when, **values).id
            made = visitor.running(session, owner, accounts=[account], size=size, **values)
            if status in ("paused", "cancelled"):
                verb = {"paused": lifecycle.pause, "cancelled": lifecycle.cancel}[status]
                verb(session, made, **({"now": made.created_at} if status == "cancelled" else {}))
            elif status != "running":
                session.execute(
                    text("UPDATE campaigns SET status = :status WHERE id = :id"), {"status": status, "id": made.id}
                )
            return made.id

    return make


TABLES = (
    "accounts",
    "api_tokens",
    "campaign_accounts",
    "campaign_recipients",
    "campaigns",
    "contact_import_chunks",
    "contact_imports",
    "contact_list_members",
    "contact_lists",
    "contacts",
    "messages",
    "opt_outs",
    "replies",
    "templates",
    "users",
    "webhook_events",
)


@pytest.fixture
def row_counts(app: Flask) -> Callable[[], dict[str, int]]:
    """Count the rows of every table: what stays behind."""
    query = " UNION ALL ".join(
        f"SELECT '{table}' AS name, count(*) AS rows FROM {table}"  # noqa: S608 - our own names
        for table in TABLES
    )

    def count() -> dict[str, int]:
        with in_transaction(app) as session:
            return {row.name: row.rows for row in session.execute(text(query))}

    return count


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    """Return the body of an error after checking its form."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.mimetype == "application/problem+json"
    body: dict[str, Any] = json.loads(response.data)
    assert {"type", "title", "status", "detail", "code", "errors"} <= set(body)
    assert body["status"] == status
    return body


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    """Address of a simulator; `registered` makes it know a number."""
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator", "--port", "0", "--parent-dies"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found.group()
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def registered(simulator: str) -> Callable[..., dict[str, str]]:
    """Register a number at the simulator; return what an account needs to send from it."""

    def register(phone_number_id: str = "106540352242922", access_token: str = "a-good-token") -> dict[str, str]:  # noqa: S107
        given = {"phone_number_id": phone_number_id, "access_token": access_token}
        answer = requests.post(f"{simulator}/simulator/numbers", json=given, timeout=60)
        assert answer.status_code == 200, answer.text
        return given

    return register
