"""The database session and its one way of committing.

Services take a session and never commit. The adapter (a view, a job, a command) opens exactly one `transaction()`
around a use case. What must happen only when the rows are really there (enqueueing a job, above all) is registered
with `after_commit`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import CursorResult, Engine, Result, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session

# Our models have a declarative base of their own and know nothing of Flask. The extension gives us the engine, and the
# session of the application context.
db = SQLAlchemy(session_options={"expire_on_commit": False})

IDLE_S = 1.0

_ACTIONS = "after_commit_actions"


@contextmanager
def transaction() -> Iterator[Session]:
    """Open the transaction of a use case: commit at the end, roll back on any error.

    Side effects: after a successful commit the actions of `after_commit` run in order. An action that fails does
    not undo the commit; its error is raised, and the periodic verification repairs what it would have done.
    """
    session = db.session()
    try:
        yield session
        committed = session.get_transaction()
        session.commit()
    except BaseException:
        session.rollback()
        session.info.pop(_ACTIONS, None)
        raise
    for registered_in, action in session.info.pop(_ACTIONS, []):
        if registered_in is committed:
            action()


def after_commit(session: Session, action: Callable[[], object]) -> None:
    """Run `action` once, after the commit of the present transaction; drop it on rollback."""
    present = session.get_transaction() or session.begin()
    session.info.setdefault(_ACTIONS, []).append((present, action))


def affected(result: Result[Any]) -> int:
    """Return how many rows a statement changed; by its type SQLAlchemy's result of a text has no such count."""
    return cast(CursorResult[Any], result).rowcount


def ping_after_idling(engine: Engine) -> None:
    """Try a pooled connection before use if it has lain idle for `IDLE_S`, and replace a dead one.

    A sender opens dozens of transactions a second. To try its connection before each would be a quarter of its round
    trips, and a connection that worked a moment ago still works.
    """

    @event.listens_for(engine, "checkin")
    def note(connection: Any, record: Any) -> None:  # noqa: ARG001
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, proxy: Any) -> None:  # noqa: ARG001
        idle_since = record.info.get("idle_since")
        if idle_since is None or time.monotonic() < idle_since + IDLE_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error  # The pool takes a new one.


def database_url_for_sqlalchemy(url: str) -> str:
    """Return `url` with the driver named: a plain `postgresql://` would pick psycopg2."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgresql", "postgres") else url
