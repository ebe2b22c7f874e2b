"""The limits of the face itself: calls of the API per user, attempts to sign in per address and per e-mail address.

Both fail open: they protect the service from haste, and a Redis that is away must not lock everybody out.
"""

import hashlib
import math
from datetime import datetime

from flask import Flask, Response, current_app, g

from campaign_engine.core import engine
from campaign_engine.errors import TooManyRequests
from campaign_engine.logs import get_logger
from campaign_engine.services.company import limits
from ratelimit import Decision, Limit, Limiter, Rate
from web.lenient_limiter import LenientLimiter

log = get_logger(__name__)

LOGINS_PER_ADDRESS = Rate.parse("30/minute")  # an office may share one address
LOGINS_PER_EMAIL = Rate.parse("10/minute")


_KEY = "campaign_engine.api_limiter"


def register(app: Flask) -> None:
    """Give `app` the limiter that decides about calls of the API and attempts to sign in; opens no connection."""
    with app.app_context():
        app.extensions[_KEY] = LenientLimiter(Limiter(engine().limiter_redis, prefix="rl:{api}"))


def _limiter() -> LenientLimiter:
    found: LenientLimiter = current_app.extensions[_KEY]
    return found


def charge_api(user_id: int) -> None:
    """Charge one call of the API to the user.

    Side effects: keeps the decision for the headers of the answer.

    Raises:
        TooManyRequests: the user's calls are spent; says when the next one is free.
    """
    limit = limits.of_api(user_id, engine().config)
    decision = _limiter().acquire([limit])
    g.api_decision = decision
    if decision is not None and decision.retry_at is not None:
        raise TooManyRequests(
            f"More than {limit.rate} calls. Wait until the limit is free again.", retry_at=decision.retry_at
        )


def charge_login(*, address: str, email: str) -> None:
    """Charge one attempt to sign in to the address it comes from and to the account it is for.

    Raises:
        TooManyRequests: one of the two has had too many.
    """
    # A digest, because keys show up in logs and dashboards.
    person = hashlib.sha256(email.strip().lower().encode("utf-8", "surrogatepass")).hexdigest()[:16]
    decision = _limiter().acquire(
        [
            _bucket("sign-ins of the address", f"login:address:{address}", LOGINS_PER_ADDRESS),
            _bucket("sign-ins of the person", f"login:person:{person}", LOGINS_PER_EMAIL),
        ]
    )
    if decision is not None and decision.retry_at is not None:
        log.warning("login.throttled", address=address, limit=decision.blocked_by)
        raise TooManyRequests("Too many attempts to sign in. Wait a moment and try again.", retry_at=decision.retry_at)


def add_headers(response: Response) -> Response:
    """Say in the answer how the user's limit stands (draft-ietf-httpapi-ratelimit-headers-10)."""
    if "api_decision" not in g:
        return response
    decision: Decision | None = g.api_decision
    if decision is None:
        response.headers["RateLimit-Degraded"] = "1"
        return response
    usage = decision.usage[0]
    window_s = math.ceil(usage.limit.rate.period_us / 1e6)
    response.headers["RateLimit-Policy"] = f'"api";q={usage.limit.rate.count};w={window_s}'
    response.headers["RateLimit"] = f'"api";r={usage.remaining};t={_seconds_until_one_more(usage.limit, decision)}'
    return response


def seconds_until(moment: datetime, *, now: datetime) -> int:
    """Return whole seconds from `now` until `moment` has passed, at least 1: what `Retry-After` takes."""
    return max(1, math.ceil((moment - now).total_seconds()))


def _seconds_until_one_more(limit: Limit, decision: Decision) -> int:
    """Return the `t` of the header: the seconds until one more call is free than now."""
    if decision.next_at is not None:
        return seconds_until(decision.next_at, now=decision.now)
    return max(1, math.ceil(limit.rate.period_us / limit.rate.count / 1e6))


def _bucket(name: str, key: str, rate: Rate) -> Limit:
    return Limit(name=name, key=key, rate=rate, burst=rate.count, kind="bucket")
