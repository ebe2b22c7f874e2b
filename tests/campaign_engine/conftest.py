"""The domain on a real database, inside an application context."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from campaign_engine.core import create_core
from campaign_engine.db import database_url_for_sqlalchemy, db
from tests import factories


@pytest.fixture
def app(database_url: str) -> Iterator[Flask]:
    """The application without routes; inside its context."""
    core = create_core(factories.config(database_url=database_url, redis_url="redis://127.0.0.1:1/0"))
    with core.app_context():
        yield core
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def session(app: Flask) -> Session:
    """The session of the application context."""
    return db.session()


@pytest.fixture
def other_session(database_url: str) -> Iterator[Callable[[], Session]]:
    """A function that opens sessions of their own: another worker's, another request's."""
    engine = create_engine(database_url_for_sqlalchemy(database_url))
    opened: list[Session] = []

    def open_session() -> Session:
        opened.append(Session(engine, expire_on_commit=False))
        return opened[-1]

    yield open_session
    for each in opened:
        each.close()
    engine.dispose()
