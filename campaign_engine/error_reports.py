"""Errors sent to Sentry, where SENTRY_DSN names one: what is logged as an error, with its stack.

A report holds what the log holds: the event's name, ids and numbers. It holds no values of local variables, no bodies
and no addresses, because these are tokens, messages and numbers of people.
"""

import logging
import sys
from collections.abc import Mapping

import sentry_sdk
from sentry_sdk.integrations.atexit import AtexitIntegration


def configure(dsn: str) -> None:
    """Report every error that this process logs from now on. Call it once, after the logs were configured.

    Side effects: adds a handler to the root logger. A thread of the library sends the reports, also after a fork. When
    Sentry is away they are dropped, and nothing waits.
    """
    sentry_sdk.init(
        dsn,
        default_integrations=False,  # they record calls, queries and addresses
        integrations=[AtexitIntegration(callback=lambda *_: None)],  # sends what waits before the process ends
        auto_enabling_integrations=False,
        include_local_variables=False,
        send_default_pii=False,
        max_breadcrumbs=0,
    )
    logging.getLogger().addHandler(_Reporter(level=logging.ERROR))


class _Reporter(logging.Handler):
    """Turns a line of the log into a report."""

    def emit(self, record: logging.LogRecord) -> None:
        """Report an error: our own lines are an event's name with fields, those of libraries a text."""
        fields = record.msg if isinstance(record.msg, Mapping) else {"event": record.getMessage()}
        with sentry_sdk.new_scope() as scope:
            scope.set_tag("logger", record.name)
            scope.set_context("fields", {name: str(value) for name, value in fields.items() if name != "exc_info"})
            raised = _raised(record, fields)
            if raised is not None:
                scope.set_tag("event", str(fields["event"]))
                sentry_sdk.capture_exception(raised)
            else:
                sentry_sdk.capture_message(str(fields["event"]), level="error")


def _raised(record: logging.LogRecord, fields: Mapping[str, object]) -> BaseException | None:
    """Return the exception that the line is about: the one it carries, or the one being handled; None without."""
    told = fields.get("exc_info")
    if isinstance(told, BaseException):
        return told
    return sys.exc_info()[1] if told else record.exc_info[1] if record.exc_info else None
