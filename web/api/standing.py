"""How limits and queues stand: looked at, never touched."""

from typing import Any

from campaign_engine.clock import utc_now
from campaign_engine.core import engine
from campaign_engine.models import Account
from campaign_engine.services.accounts import accounts
from campaign_engine.services.company import limits
from jobs import status
from ratelimit import Limit
from web.api.blueprint import Blueprint, decode_cursor, page
from web.auth import current_user
from web.schemas.base import PageQuery
from web.schemas.company import QueuePageSchema, RateLimitPageSchema
from web.transactions import transaction

rate_limits = Blueprint("rate-limits", __name__, description="Each limit in force and how it stands.")
queues = Blueprint("queues", __name__, description="How much work waits.")


@rate_limits.route("/rate-limits", methods=["GET"])
@rate_limits.arguments(PageQuery, location="query", as_kwargs=True)
@rate_limits.response(200, RateLimitPageSchema)
def list_rate_limits(limit: int, cursor: str | None) -> Any:
    """Show the limit of each account and, on the first page, that of the caller's campaigns.

    An account that is slowed down after its provider said "too fast" has a second one.
    """
    user, config, now = current_user(), engine().config, utc_now()
    with transaction() as session:
        (after_id,) = decode_cursor(cursor, int) or (0,)
        found = accounts.of_company(session, user.company_id, after_id=after_id, limit=limit + 1)
    listed = page(found, limit=limit)
    asked: list[tuple[Account | None, Limit]] = [
        (account, binding.limit)
        for account in listed["items"]
        for binding in limits.of_call(account, user.company, config, now=now)
    ]
    if not after_id:
        asked.insert(0, (None, limits.of_owner(user.id, user.company, config).limit))
    return {**listed, "items": _standings(user.company_id, asked)}


@queues.route("/queues", methods=["GET"])
@queues.response(200, QueuePageSchema)
def list_queues() -> Any:
    """Count the jobs of each queue; nothing is cleaned up by looking."""
    return {"items": status.of_queues(engine().redis), "next_cursor": None}


def _standings(company_id: int, asked: list[tuple[Account | None, Limit]]) -> list[dict[str, object]]:
    if not asked:
        return []
    decision = engine().limiter(company_id).peek([limit for _, limit in asked])
    return [
        {
            "key": limit.key,
            "name": limit.name,
            "account_id": account.id if account else None,
            "limit": str(limit.rate),
            "burst": limit.burst,
            "used": usage.used,
            "remaining": usage.remaining,
            "next_free_at": usage.next_at,
        }
        for (account, limit), usage in zip(asked, decision.usage, strict=True)
    ]
