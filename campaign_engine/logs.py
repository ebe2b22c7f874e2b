"""Structured logs: a constant event name with fields, as text for people or JSON for machines.

Fields are ids and numbers, never message bodies, tokens or full phone numbers. Context that belongs to a whole job
or request is bound once with `bound(...)`.
"""

import logging
import sys
from contextlib import AbstractContextManager
from typing import Any

import structlog

Logger = structlog.stdlib.BoundLogger


def get_logger(name: str) -> Logger:
    """Return the logger of a module; `logger.info("campaign.started", campaign_id=7)`."""
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger


def bound(**fields: Any) -> AbstractContextManager[Any]:
    """Bind `fields` to every line logged inside the context, in this thread or task."""
    return structlog.contextvars.bound_contextvars(**fields)


def configure(*, log_format: str, level: str) -> None:
    """Send every log of this process to standard output, ours and the libraries' alike.

    Side effects: replaces the handlers of the root logger and the configuration of structlog.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    if log_format == "json":
        # No values of local variables: they are tokens, messages and numbers.
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        rendering: list[Any] = [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        rendering = [structlog.dev.ConsoleRenderer(colors=False, pad_event_to=28, exception_formatter=plain)]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # These write every second about things no operator asks for.
    for chatty in ("rq", "rq_scheduler", "urllib3", "alembic", "gunicorn.access", "werkzeug"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
