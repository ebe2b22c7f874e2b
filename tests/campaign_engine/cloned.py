"""One database for all tests of a module: each test has a company of its own, and what it does not commit is undone."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from campaign_engine.models import Base
from cli.embedded.postgres import EmbeddedPostgres


@contextmanager
def cloned(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """Yield the address of a migrated database that is dropped afterwards."""
    name = f"module_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY WAL_LOG").format(*map(sql.Identifier, (name, template)))
        )
    yield postgres.url_of(name)
    with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def database_url(_postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The address of the module's own database; a module has it by `database_url = cloned.database_url`."""
    with cloned(_postgres, migrated_template) as url:
        yield url


def row_counts(session: Session) -> dict[str, int]:
    """Return how many rows every table has: what stays behind."""
    tables = Base.metadata.tables
    counts = [select(func.count()).select_from(table).scalar_subquery() for table in tables.values()]
    return dict(zip(tables, session.execute(select(*counts)).one(), strict=True))
