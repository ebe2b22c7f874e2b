"""Real, private servers for the whole test run, made with the classes that `campaign-engine up` uses.

They live in one temporary folder and die with the test process. Under pytest-xdist each worker has its own.
"""

import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import sql

from cli.embedded.errors import EmbeddedError
from cli.embedded.installation import Installation
from cli.embedded.postgres import UNSAFE_AND_FAST, EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis

_PREFIX = "ce-tests-"


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """A function that waits until a claim becomes true, and fails when it has not within `timeout_s`."""

    def wait(claim: Callable[[], object], timeout_s: float = 5.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not claim():
            assert time.monotonic() < deadline, f"not true within {timeout_s} s"
            time.sleep(0.01)

    return wait


def _remove_abandoned() -> None:
    """Remove the folders of test runs that were killed: one whose lock can be taken has no owner."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if (folder / "local.json").exists():  # written under the lock
            with suppress(EmbeddedError), Installation(folder):
                shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _installation() -> Iterator[Installation]:
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with Installation(folder) as installation:
            yield installation
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _postgres(_installation: Installation) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(_installation, settings=UNSAFE_AND_FAST)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def postgres_url(_postgres: EmbeddedPostgres) -> str:
    """Address of the database `postgres`, as a role that may create databases."""
    return _postgres.admin_url


@pytest.fixture(scope="session")
def redis_url(_installation: Installation) -> Iterator[str]:
    """Address of a private Redis, database 0. Not emptied between tests: see `redis_client`."""
    server = EmbeddedRedis(_installation)
    server.start()
    try:
        yield server.url
    finally:
        server.kill()


@pytest.fixture
def redis_client(redis_url: str) -> Iterator["redis.Redis"]:
    """A client of a Redis that is empty before the test; replies are bytes."""
    with redis.Redis.from_url(redis_url, decode_responses=False) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def migrated_template(_postgres: EmbeddedPostgres) -> str:
    """Name of a database with all migrations applied, to be cloned and never connected to."""
    from campaign_engine import migrations

    name = "migrated_template"
    _execute(_postgres.admin_url, "CREATE DATABASE {}", name)
    migrations.upgrade(_postgres.url_of(name))
    return name


@pytest.fixture
def database_url(_postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """Address of a fresh, migrated database that is dropped after the test, connected to or not."""
    name = f"test_{uuid.uuid4().hex}"
    _execute(_postgres.admin_url, "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", name, migrated_template)
    yield _postgres.url_of(name)
    _execute(_postgres.admin_url, "DROP DATABASE {} WITH (FORCE)", name)


def _execute(url: str, statement: str, *names: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
