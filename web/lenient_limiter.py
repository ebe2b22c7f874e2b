"""A limiter whose silence means yes: its limits protect the service from haste, and no promise to a provider."""

import time
from collections.abc import Sequence

from campaign_engine.logs import get_logger
from ratelimit import Decision, Limit, Limiter, LimiterUnavailable

log = get_logger(__name__)

REST_S = 2.0
"""How long Redis is not asked after it gave no answer, so that its absence does not slow every request down."""


class LenientLimiter:
    """Asks a limiter, and goes on without it while Redis is away; shared by the threads of a process."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._resting_until = 0.0  # monotonic

    def acquire(self, wanted: Sequence[Limit]) -> Decision | None:
        """Return the decision about one unit of all of `wanted`, or None if the limiter cannot decide.

        Side effects: one log line for each failed attempt.
        """
        if time.monotonic() < self._resting_until:
            return None
        try:
            return self._limiter.acquire(wanted)
        except LimiterUnavailable as error:
            self._resting_until = time.monotonic() + REST_S
            log.warning("throttling.degraded", reason=str(error), limits=[limit.name for limit in wanted])
            return None
