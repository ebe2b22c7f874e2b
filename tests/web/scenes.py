"""Progress as the service tells it, for what pages make of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from campaign_engine.services.outlook.progress import AccountInProgress, Funnel, Progress, Waiting

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)  # 12:00 in São Paulo


def progress(**values: Any) -> Progress:
    """Return the progress of a running campaign with one account, except for what is given."""
    counts = dict.fromkeys(
        ("pending", "sending", "sent", "delivered", "read", "failed", "unknown", "skipped"), 0
    ) | values.pop("counts", {})
    funnel = values.pop("funnel", {"sent": 0, "delivered": 0, "read": 0})
    accounts = values.pop("accounts", [account(7, "Main")])
    running = {
        "campaign_id": 1,
        "name": "Spring",
        "status": "running",
        "status_reason": None,
        "total": sum(counts.values()),
        "success_rate": None,
        "rate_per_minute": 0.0,
        "eta": None,
        "eta_seconds": None,
        "waiting": [],
        "scheduled_at": None,
        "started_at": None,
        "finished_at": None,
        "version": 1,
    }
    return Progress(counts=counts, funnel=Funnel(**funnel), accounts=accounts, **{**running, **values})


def account(account_id: int, name: str, status: str = "active", reason: str | None = None) -> AccountInProgress:
    """Return an account of the campaign."""
    return AccountInProgress(account_id, name, status, reason)


def wait(account_id: int | None, reason: str, seconds: float | None) -> Waiting:
    """Return what an account, or the campaign itself, waits for, for so many seconds from `NOW`."""
    until = None if seconds is None else NOW + timedelta(seconds=seconds)
    return Waiting(reason, until, reason, account_id)
