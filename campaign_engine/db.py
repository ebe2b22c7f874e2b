"""The database session and its one way of committing.

Services take a session and never commit. The adapter (a view, a job, a command) opens exactly one `transaction()`
around a use case and says who acts. The service writes that into the audit log. It notes in `following` what must
happen only when the rows are really there (a job on a queue, above all).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import CursorResult, Engine, Result, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session

from campaign_engine import following
from campaign_engine.following import Following

# Our models have a declarative base of their own and know nothing of Flask. The extension gives us the engine, and the
# session of the application context.
db = SQLAlchemy(session_options={"expire_on_commit": False})

IDLE_S = 1.0

Follows = tuple[Following, ...]
"""What follows a commit, in order; never empty."""

_ACTOR = "actor"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a user by e-mail address and id, or somebody who is no user, such as the command line."""

    name: str
    user_id: int | None = None


@contextmanager
def transaction(*, actor: Actor | None = None, give: Callable[[Follows], object] | None = None) -> Iterator[Session]:
    """Open the transaction of a use case: commit at the end, roll back on any error.

    Args:
        actor: in whose name the services act; None: the engine itself.
        give: called after a successful commit with what follows, if anything does; None: the caller sees to it.

    Side effects: an error of `give` does not undo the commit. It is raised, and the periodic verification repairs what
    is missing.
    """
    session = db.session()
    before = session.info.get(_ACTOR)
    session.info[_ACTOR] = actor
    try:
        yield session
        follows = following.take(session)
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.info[_ACTOR] = before
    if follows and give is not None:
        give(follows)


def actor_of(session: Session) -> Actor | None:
    """Return the actor of the present transaction; None: the engine itself."""
    found: Actor | None = session.info.get(_ACTOR)
    return found


def affected(result: Result[Any]) -> int:
    """Return how many rows a statement changed; by its type SQLAlchemy's result of a text has no such count."""
    return cast(CursorResult[Any], result).rowcount


def arrays(names: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, list[object]]:
    """Return rows as one array for each column, by the names given: what a statement with `unnest` is executed with."""
    return {name: [row[at] for row in rows] for at, name in enumerate(names)}


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
