"""Imports of contacts, in the background: a stored file becomes rows, a transaction at a time."""

from collections.abc import Callable

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from campaign_engine.clock import utc_now
from campaign_engine.db import db
from campaign_engine.logs import bound, get_logger
from campaign_engine.services.people import imports
from jobs.runtime import runtime, transaction

log = get_logger(__name__)


def run_import(import_id: int) -> None:
    """RQ job: write the contacts of a stored file, a transaction at a time; goes on where a dead run stopped."""
    current = runtime()
    with current.app.app_context(), bound(import_id=import_id):
        write_all(import_id, stopping=current.stopping.is_set)


def write_all(
    import_id: int,
    *,
    stopping: Callable[[], bool] = lambda: False,
    told: Callable[[int], object] | None = None,
) -> None:
    """Write the whole import, in the current application context; `told` hears how many rows are done.

    Side effects: commits after each chunk; an import whose rows the database refuses fails with the reason.

    Raises:
        OperationalError: PostgreSQL is away; call again later, it goes on where it stopped.
    """
    session = db.session()
    try:
        importer = imports.Importer(session, import_id)
        while importer.write_some(session, now=utc_now()):
            session.commit()
            if told is not None:
                told(importer.row_count)
            if stopping():
                return
        session.commit()
    except OperationalError:
        session.rollback()
        raise
    except SQLAlchemyError as error:
        session.rollback()
        log.exception("import.failed")
        with transaction() as failing:
            reason = f"The database refused a row after line {importer.line_done} ({type(error).__name__})."
            imports.fail(failing, import_id, reason=reason, now=utc_now())
