"""Real, private servers for the whole test run, made with the classes that `campaign-engine up` uses.

They live in one temporary folder and die with the test process. Under pytest-xdist each worker has its own.
"""

import gc
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings
from psycopg import sql
from sqlalchemy import event

from cli.embedded.errors import EmbeddedError
from cli.embedded.installation import Installation
from cli.embedded.postgres import UNSAFE_AND_FAST, EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy import Engine

    from campaign_engine.config import Config

# A run starts some hundred Pythons. Where the variable is set, as in many containers, each compiled everything anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_PREFIX = "ce-tests-"
# A password of tests protects nothing, and hashing it 4,096 times for a connection takes longer than most statements.
_SETTINGS = {**UNSAFE_AND_FAST, "scram_iterations": "1"}

# How long an example takes is the machine's affair.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_collection_finish() -> None:
    """Spare the collector what lives as long as the run: thousands of tests, and every module."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """A function that waits until a claim becomes true, and fails when it has not within `timeout_s`: that is long,
    since a busy machine is slow and only a failure takes as long.
    """

    def wait(claim: Callable[[], object], timeout_s: float = 60.0) -> None:
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
    server = EmbeddedPostgres(_installation, settings=_SETTINGS)
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


@pytest.fixture(scope="session")
def _database(_postgres: EmbeddedPostgres, migrated_template: str) -> str:
    """Name of the one database that tests have one after the other."""
    name = f"test_{uuid.uuid4().hex}"
    _execute(_postgres.admin_url, "CREATE DATABASE {} TEMPLATE {}", name, migrated_template)
    return name


@pytest.fixture(scope="session")
def kept_backends() -> set[int]:
    """The process ids of the server for connections that tests hand on to the next; the others are thrown out."""
    return set()


@pytest.fixture(scope="session")
def _caretaker(_postgres: EmbeddedPostgres, _database: str) -> Iterator[psycopg.Connection]:
    """A connection that can empty the database of the tests; it keeps the plans for that."""
    with psycopg.connect(_postgres.url_of(_database), autocommit=True) as connection:
        connection.execute(_emptying())  # type: ignore[arg-type]
        yield connection


@pytest.fixture
def database_url(
    _postgres: EmbeddedPostgres, _database: str, _caretaker: psycopg.Connection, kept_backends: set[int]
) -> str:
    """Address of a migrated and empty database; whoever else is still connected to it is thrown out.

    It is emptied before the test, so that a test begins clean however the one before ended, and by hand: making and
    dropping one costs several times as much, and half of all tests have one.
    """
    # An autovacuum worker is not ours to end, and is in nobody's way.
    _caretaker.execute(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend'"
        " AND pid <> pg_backend_pid() AND (state <> 'idle' OR pid <> ALL (%s))",
        [list(kept_backends)],
    )
    _caretaker.execute("SELECT be_emptied()")
    return _postgres.url_of(_database)


@pytest.fixture(scope="session")
def core_of(kept_backends: set[int]) -> Iterator[Callable[["Config"], "Flask"]]:
    """A function that returns the application without routes; a second time the same, with its connections and with
    the statements that it has compiled.
    """
    from campaign_engine.core import create_core
    from campaign_engine.db import db

    made: dict[Config, Flask] = {}

    def core_of(config: "Config") -> "Flask":
        if config not in made:
            made[config] = create_core(config)
            with made[config].app_context():
                keep_backends(db.engine, kept_backends)
        return made[config]

    yield core_of
    for core in made.values():
        with core.app_context():
            db.engine.dispose()


def keep_backends(engine: "Engine", kept_backends: set[int]) -> None:
    """Let the connections of an engine outlive the tests."""
    event.listen(engine, "connect", lambda connection, _: kept_backends.add(connection.info.backend_pid))


def _emptying() -> str:
    """Return what makes a function that empties every table, those that refer to others first; ids begin with 1 again.

    A sequence is set back and not restarted: that would write it a new file.
    """
    from campaign_engine.models import Base

    tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
    deletes = "; ".join(f'DELETE FROM "{name}"' for name in tables)  # noqa: S608 - our own names
    return f"""
        CREATE FUNCTION be_emptied() RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
          {deletes};
          PERFORM setval(format('%I', sequencename)::regclass, 1, false)
          FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL;
        END $$
    """


def _execute(url: str, statement: str, *names: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
