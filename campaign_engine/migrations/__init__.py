"""The schema, in steps. `upgrade(url)` brings a database to the newest."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from campaign_engine.db import database_url_for_sqlalchemy

# Any constant: by this lock two processes that migrate at once take turns.
_LOCK = 7_251_041_982


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the database to `revision`; harmless when it is there already.

    Side effects: DDL, in one transaction, under an advisory lock so that several hosts may start together.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached or refuses.
    """
    engine = create_engine(database_url_for_sqlalchemy(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        connection.commit()
        try:
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent))
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.commit()
    engine.dispose()
