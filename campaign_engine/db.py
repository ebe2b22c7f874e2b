"""The database session and its one way of committing.

Services take a session and never commit. The adapter (a view, a job, a command) opens exactly one `transaction()`
around a use case. What must happen only when the rows are really there (enqueueing a job, above all) is registered
with `after_commit`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Session

# Our models have a declarative base of their own and know nothing of Flask; from the extension we take the session
# that belongs to the application context, and the engine.
db = SQLAlchemy(session_options={"expire_on_commit": False})

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


def database_url_for_sqlalchemy(url: str) -> str:
    """Return `url` with the driver named: a plain `postgresql://` would pick psycopg2."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgresql", "postgres") else url
