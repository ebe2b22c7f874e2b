"""Progress as the service tells it, for what pages make of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)  # 12:00 in São Paulo


def progress(**values: Any) -> dict[str, Any]:
    """Return the progress of a running campaign with one account, except for what is given."""
    counts = dict.fromkeys(
        ("pending", "sending", "sent", "delivered", "read", "failed", "unknown", "skipped"), 0
    ) | values.pop("counts", {})
    return {
        "campaign_id": 1,
        "name": "Spring",
        "status": "running",
        "status_reason": None,
        "total": sum(counts.values()),
        "counts": counts,
        "funnel": {"sent": 0, "delivered": 0, "read": 0},
        "success_rate": None,
        "rate_per_minute": 0.0,
        "eta": None,
        "eta_seconds": None,
        "waiting": [],
        "accounts": [{"id": 7, "name": "Main", "status": "active", "status_reason": None}],
        "scheduled_at": None,
        "started_at": None,
        "finished_at": None,
        "version": 1,
        **values,
    }


def wait(account_id: int | None, reason: str, seconds: float | None) -> dict[str, Any]:
    """Return what an account, or the campaign itself, waits for, for so many seconds from `NOW`."""
    until = None if seconds is None else NOW + timedelta(seconds=seconds)
    return {"reason": reason, "until": until, "text": reason, "account_id": account_id}
