"""The strategies of the `limits` library as kinds of limit.

fixed-window, moving-window and sliding-window-counter are here to be chosen and compared, and they are honest
about what they are: their `capabilities` are empty. They are asked one after the other, so a refusal by one
leaves the charges of those before it (`limits` cannot take a hit back). The quoted instant is the end of a
window, not when a unit fits. moving-window goes by the clock of the caller. A margin means nothing to them.
The first fact is softened by looking before hitting and by asking the narrowest limit first; another caller
can come in between.

Needs the package `limits`, which is imported when the first such limit is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from ratelimit.decision import Decision, Receipt
from ratelimit.errors import CapabilityMissing, InvalidLimit, LimiterUnavailable
from ratelimit.kinds import Capability, Plan, register
from ratelimit.limit import Limit
from ratelimit.rate import SECOND_US, Rate

if TYPE_CHECKING:
    from limits.strategies import RateLimiter


@dataclass(frozen=True, slots=True)
class LimitsStrategy:
    """A strategy of the `limits` library, under its name there."""

    name: str
    letter: str
    lua: str = ""
    capabilities: frozenset[Capability] = frozenset()

    def plan(self, rate: Rate, burst: int, margin: float) -> Plan:
        del margin
        if burst != 1:
            raise InvalidLimit(f"{self.name} takes no burst (got {burst}): all of COUNT may go at once")
        if rate.period_us % SECOND_US:
            raise InvalidLimit(f"{self.name} takes whole seconds only, not {rate}")
        return Plan(argv=(), capacity=rate.count)

    def used(self, plan: Plan, level: int) -> int:
        del plan
        return level

    def remaining(self, plan: Plan, level: int) -> int:
        return max(plan.capacity - level, 0)


for _strategy in (
    LimitsStrategy("fixed-window", "F"),
    LimitsStrategy("moving-window", "M"),
    LimitsStrategy("sliding-window-counter", "S"),
):
    register(_strategy)


def is_foreign(limit: Limit) -> bool:
    """Whether the limit is decided by the `limits` library and not in Lua."""
    return not limit.lua


class LimitsBackend:
    """The `limits` library on the connections of a client."""

    def __init__(self, client: Any, prefix: str) -> None:
        from limits import strategies
        from limits.storage import RedisStorage

        pool = getattr(client, "connection_pool", None)
        if pool is None:
            raise CapabilityMissing("the kinds of the `limits` library need a redis.Redis, not a cluster")
        storage = RedisStorage("redis://", connection_pool=pool, key_prefix=prefix)
        self._strategies: dict[str, RateLimiter] = {
            "fixed-window": strategies.FixedWindowRateLimiter(storage),
            "moving-window": strategies.MovingWindowRateLimiter(storage),
            "sliding-window-counter": strategies.SlidingWindowCounterRateLimiter(storage),
        }

    def take(self, limit: Limit, count: int, cost: int) -> int:
        """Charge up to `count` units of `cost`; return how many. Looks first, so two round trips."""
        used, _ = self.level(limit)
        units = min(count, max(limit.capacity - used, 0) // cost)
        strategy = self._strategies[limit.kind]
        if units and strategy.hit(_item(limit), limit.key, cost=units * cost):
            return units
        return 0

    def level(self, limit: Limit) -> tuple[int, int]:
        """Units in use, and when the window ends (microseconds since the epoch, as `limits` has it)."""
        stats = self._strategies[limit.kind].get_window_stats(_item(limit), limit.key)
        return limit.capacity - stats.remaining, math.ceil(stats.reset_time * SECOND_US)


def _item(limit: Limit) -> Any:
    from limits import RateLimitItemPerSecond

    # The name of the strategy is in the key, because `limits` keeps differing types under the same one.
    return RateLimitItemPerSecond(limit.rate.count, limit.rate.period_us // SECOND_US, namespace=limit.kind)


def acquire_in_turn(
    backend: LimitsBackend,
    acquire: Callable[[Sequence[Limit]], Decision],
    refund: Callable[[Receipt, int], int],
    limits: Sequence[Limit],
    cost: int,
) -> Decision:
    """Ask the limits decided in Lua (at once), then the others, the narrowest first. Not all or none.

    The receipt covers the limits decided in Lua only.

    Raises:
        LimiterUnavailable: Redis gave no decision; what had been charged by then stays charged.
    """
    ours = acquire([limit for limit in limits if not is_foreign(limit)])
    receipt, granted = ours.receipt if ours.limits else None, ours.granted
    try:
        for limit in sorted(filter(is_foreign, limits), key=_width):
            if granted:
                granted = backend.take(limit, granted, cost)
        if receipt is not None and granted < ours.granted:
            refund(receipt, ours.granted - granted)
            receipt = None
        return _merge(backend, ours, limits, granted, cost, receipt)
    except RedisError as error:
        raise LimiterUnavailable(f"no decision from Redis: {error}") from error


def peek_in_turn(
    backend: LimitsBackend, peek: Callable[[Sequence[Limit]], Decision], limits: Sequence[Limit], cost: int
) -> Decision:
    """What `acquire_in_turn` would probably grant.

    Raises:
        LimiterUnavailable: Redis gave no answer.
    """
    ours = peek([limit for limit in limits if not is_foreign(limit)])
    try:
        granted = ours.granted
        for limit in filter(is_foreign, limits):
            granted = min(granted, max(limit.capacity - backend.level(limit)[0], 0) // cost)
        return _merge(backend, ours, limits, granted, cost, None)
    except RedisError as error:
        raise LimiterUnavailable(f"no decision from Redis: {error}") from error


def _width(limit: Limit) -> float:
    return limit.rate.count / limit.rate.period_us


def _merge(
    backend: LimitsBackend,
    ours: Decision,
    limits: Sequence[Limit],
    granted: int,
    cost: int,
    receipt: Receipt | None,
) -> Decision:
    now_us = ours.reply[1]
    native = iter(ours.reply[2:])
    reply = [granted, now_us]
    for limit in limits:
        if is_foreign(limit):
            used, ends_us = backend.level(limit)
            full = limit.capacity - used < cost
            reply += (used, max(ends_us, now_us + 1) if full else 0)
        else:
            reply += (next(native), next(native))
    if not granted and not any(reply[3::2]):
        reply[3] = now_us + 1  # someone else came in between; it fits again
    return Decision(tuple(limits), reply, receipt)
