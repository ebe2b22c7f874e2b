"""The one place that asks the machine for the time.

Everything below the adapters takes `now` as an argument, so that tests move time instead of waiting for it.
"""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the present instant, aware, in UTC."""
    return datetime.now(UTC)


def require_aware(moment: datetime) -> datetime:
    """Return `moment` in UTC.

    Raises:
        ValueError: it carries no time zone; a naive time is a guess about where it was written.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment.astimezone(UTC)
