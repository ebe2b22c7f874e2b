"""The schema: what the migrations make is what the models say."""

import threading
import uuid

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from campaign_engine import migrations
from campaign_engine.db import database_url_for_sqlalchemy
from campaign_engine.models import Base


def test_the_migrated_schema_is_that_of_the_models(database_url: str) -> None:
    engine = create_engine(database_url_for_sqlalchemy(database_url))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    migrations.upgrade(database_url)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_hosts_that_migrate_at_once_take_turns(postgres_url: str) -> None:
    name = f"fresh_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = postgres_url.rpartition("/")[0] + f"/{name}"
    failures: list[BaseException] = []

    def migrate() -> None:
        try:
            migrations.upgrade(url)
        except Exception as error:  # noqa: BLE001 - whatever it was, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert failures == []


def test_message_ids_are_version_7_uuids_in_the_order_of_time(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT time_ordered_uuid(), pg_sleep(0.002) FROM generate_series(1, 20)").fetchall()
    ids = [row[0] for row in rows]
    assert {each.version for each in ids} == {7}
    assert {each.variant for each in ids} == {uuid.RFC_4122}
    assert ids == sorted(ids)
