"""The domain on a real database, inside an application context."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.db import database_url_for_sqlalchemy, db
from tests import factories
from tests.conftest import keep_backends
from tests.simulator.running import Simulator


@pytest.fixture
def app(database_url: str, core_of: Callable[[Config], Flask]) -> Iterator[Flask]:
    """The application without routes; inside its context."""
    core = core_of(factories.config(database_url=database_url, redis_url="redis://127.0.0.1:1/0"))
    with core.app_context():
        yield core
        db.session.remove()


@pytest.fixture
def session(app: Flask) -> Session:
    """The session of the application context."""
    return db.session()


@pytest.fixture(scope="session")
def engine_of(kept_backends: set[int]) -> Iterator[Callable[[str], Engine]]:
    """A function that returns an engine for an address; a second time the same."""
    made: dict[str, Engine] = {}

    def engine_of(url: str) -> Engine:
        if url not in made:
            made[url] = create_engine(database_url_for_sqlalchemy(url))
            keep_backends(made[url], kept_backends)
        return made[url]

    yield engine_of
    for engine in made.values():
        engine.dispose()


@pytest.fixture
def other_session(database_url: str, engine_of: Callable[[str], Engine]) -> Iterator[Callable[[], Session]]:
    """A function that opens sessions of their own: another worker's, another request's."""
    engine = engine_of(database_url)
    opened: list[Session] = []

    def open_session() -> Session:
        opened.append(Session(engine, expire_on_commit=False))
        return opened[-1]

    yield open_session
    for each in opened:
        each.close()


@pytest.fixture(scope="session")
def running_simulator() -> Iterator[Simulator]:
    running = Simulator()
    yield running
    assert running.stop() == 0


@pytest.fixture
def simulator(running_simulator: Simulator) -> Simulator:
    """A simulator that remembers nothing of the test before, with a number and an instance that have no webhook."""
    running_simulator.control("POST", "reset", {"numbers": True, "behaviour": True})
    running_simulator.register()
    running_simulator.register_instance()
    return running_simulator
