"""Rate limits in Redis that keep their promise: any number of limits, one round trip, all or none.

    >>> limiter = Limiter(redis.Redis())
    >>> account = Limit(name="account", key="account:7", rate=Rate.parse("20/minute"))
    >>> decision = limiter.acquire([account])
    >>> decision.granted, decision.retry_at, decision.blocked_by
    (1, None, None)

See README.md beside this file for what each kind of limit guarantees and costs.
"""

from ratelimit.decision import Decision, Usage
from ratelimit.errors import (
    CapabilityMissing,
    CostAboveCapacity,
    InvalidLimit,
    LimiterUnavailable,
    RateLimitError,
    ScriptFailed,
)
from ratelimit.limit import Limit
from ratelimit.limiter import Limiter
from ratelimit.rate import Rate

__all__ = [
    "CapabilityMissing",
    "CostAboveCapacity",
    "Decision",
    "InvalidLimit",
    "Limit",
    "Limiter",
    "LimiterUnavailable",
    "Rate",
    "RateLimitError",
    "ScriptFailed",
    "Usage",
]
