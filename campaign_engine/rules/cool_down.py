"""How an account behaves after its provider said “too fast”: rest, halve the rate, recover step by step.

Decrease by halving, recover in steps, as congestion control does it. The state is two numbers in the account's row, so
every worker on every host sees the same.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ratelimit import Rate

MAX_STEP = 6  # a sixty-fourth of the rate
RECOVERY = timedelta(minutes=5)
"""After a quiet time this long the rate doubles again, one step back."""

FIRST_REST_S = 10.0
LONGEST_REST_S = 600.0


@dataclass(frozen=True, slots=True)
class Throttle:
    """How often the rate was halved at the last complaint."""

    step: int
    since: datetime | None

    def step_at(self, now: datetime) -> int:
        """Return how often the rate is halved now: one less for each quiet `RECOVERY`."""
        if self.since is None:
            return 0
        return max(0, self.step - int((now - self.since) / RECOVERY))

    def recovers_at(self, now: datetime) -> datetime | None:
        """Return when the rate comes back by a step, or None when it is not slowed."""
        if self.since is None or self.step_at(now) == 0:
            return None
        return self.since + RECOVERY * (self.step - self.step_at(now) + 1)

    def after_complaint(self, now: datetime) -> "Throttle":
        """Return the throttle after one more complaint of the provider."""
        return Throttle(step=min(self.step_at(now) + 1, MAX_STEP), since=now)

    def rest_s(self, retry_after_s: float | None) -> float:
        """Return how long to rest after the complaint: as the provider asked, else longer with each complaint."""
        if retry_after_s is not None:
            return retry_after_s
        return min(FIRST_REST_S * (1 << (self.step - 1)), LONGEST_REST_S)


def slowed(rate: Rate, step: int) -> Rate:
    """Return `rate` halved `step` times."""
    return Rate(count=rate.count, period_us=rate.period_us << step)
