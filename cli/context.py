"""What commands have in common: the application around them, their output, and how they report a failure.

Exit codes: 0 done, 1 refused or failed with one clear line, 2 usage (click's own).
"""

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NoReturn, ParamSpec, TypeVar

import click
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from campaign_engine import config as configuration
from campaign_engine import db, logs
from campaign_engine.config import Config, ConfigError
from campaign_engine.core import create_core, engine
from campaign_engine.db import Actor, Follows
from campaign_engine.errors import EngineError, InvalidInput
from cli.embedded.errors import EmbeddedError
from jobs import enqueueing

P = ParamSpec("P")
R = TypeVar("R")

ID = click.IntRange(min=1, max=2**63 - 1)
"""The range of an id: PostgreSQL keeps 63 bits."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def load_config() -> Config:
    """Read the configuration, and send the logs and errors of this process where they belong."""
    config = configuration.load()
    logs.configure(log_format=config.log_format, level=config.log_level)
    if config.sentry_dsn is not None:
        from campaign_engine import error_reports  # takes a fifth of a second, which most installations can save

        error_reports.configure(config.sentry_dsn)
    return config


def with_engine(command: Callable[P, R]) -> Callable[P, R]:
    """Run a command inside an application context, with its logs kept quiet: a person reads the output."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        config = configuration.load()
        logs.configure(log_format=config.log_format, level="ERROR")
        with create_core(config).app_context():
            return command(*args, **kwargs)

    return wrapped


def transaction() -> AbstractContextManager[Session]:
    """Open the transaction of what a command does; the audit log names the command line."""
    return db.transaction(actor=Actor("command line"), give=_give)


def _give(follows: Follows) -> None:
    """Put on the queues what follows; if Redis is away, say so and go on.

    The deed is committed, and the periodic verification does the rest. A failure would invite the person to repeat it.
    """
    try:
        enqueueing.give(engine().redis, follows)
    except (RedisError, OSError) as error:
        away = type(error).__name__
        click.echo(f"Redis does not answer ({away}); what follows is done when it is back.", err=True)


def say_failures(command: Callable[P, R]) -> Callable[P, R]:
    """Turn every failure into one clear line on standard error and exit code 1."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except InvalidInput as error:
            fail("; ".join(f"{name}: {' '.join(sentences)}" for name, sentences in error.errors.items()))
        except (EngineError, ConfigError, EmbeddedError) as error:
            fail(str(error))
        except ProgrammingError as error:
            if "does not exist" in str(error.orig):
                fail("The database has no (or an old) schema: run `campaign-engine db upgrade`.")
            raise
        except OperationalError as error:
            fail(f"PostgreSQL does not answer: {_first_line(error)} Is `campaign-engine up` running?")
        except RedisError as error:
            fail(f"Redis does not answer ({type(error).__name__}). Is `campaign-engine up` running?")
        except BrokenPipeError:
            sys.exit(1)  # The reader of our output has gone.

    return wrapped


def fail(sentence: str) -> NoReturn:
    """Say why, and end with exit code 1."""
    click.echo(f"campaign-engine: {sentence}", err=True)
    sys.exit(1)


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0].rstrip(".") + "." if error.orig else ""


def print_json(value: Any) -> None:
    """Print a value as JSON, times in RFC 3339."""
    click.echo(json.dumps(value, default=_jsonable, ensure_ascii=False, indent=2))


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their column names, aligned."""
    table = [[name.upper() for name in columns]]
    table += [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_fields(fields: Mapping[str, object]) -> None:
    """Print names and values, a line each, without the empty ones."""
    shown = {name: value for name, value in fields.items() if value not in (None, "", [])}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name.ljust(width)}  {value}")
