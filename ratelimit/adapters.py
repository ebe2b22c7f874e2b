"""The strategies of the `limits` library as kinds of limit.

fixed-window, moving-window and sliding-window-counter are here to be chosen and compared, and they are honest
about what they are. They are not all or none: `limits` decides about one limit in a call and cannot take a hit
back. So every limit is looked at first. Then all are charged with what they have room for, one after the other, the
narrowest first. If another caller takes that room in between, a refusal leaves the charges before it: too much is
counted, never too little. The quoted instant is the end of a window, not when a unit fits. moving-window uses the
clock of the caller. A margin means nothing to them.

Needs the package `limits`, which is imported when the first such limit is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from ratelimit.decision import Decision
from ratelimit.errors import CapabilityMissing, InvalidLimit, LimiterUnavailable
from ratelimit.kinds import Counted, register
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

    def parameters(self, rate: Rate, burst: int, margin: float) -> Counted:
        """Take a burst of 1 and whole seconds; the margin is ignored."""
        del margin
        if burst != 1:
            raise InvalidLimit(f"{self.name} takes no burst (got {burst}): all of COUNT may go at once")
        if rate.period_us % SECOND_US:
            raise InvalidLimit(f"{self.name} takes whole seconds only, not {rate}")
        return Counted(argv=(), capacity=rate.count)


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
        """Charge `count` units of `cost`, or as many as there is room for after all; return how many."""
        units, strategy = count, self._strategies[limit.kind]
        for _ in range(2):
            if units and strategy.hit(_item(limit), limit.key, cost=units * cost):
                return units
            units = min(units, self.room(limit, cost))
        return 0

    def room(self, limit: Limit, cost: int) -> int:
        """Units of `cost` that fit now."""
        used, _ = self.level(limit)
        return max(limit.capacity - used, 0) // cost

    def level(self, limit: Limit) -> tuple[int, int]:
        """Units in use, and when the window ends (microseconds since the epoch, as `limits` has it)."""
        stats = self._strategies[limit.kind].get_window_stats(_item(limit), limit.key)
        return limit.capacity - stats.remaining, math.ceil(stats.reset_time * SECOND_US)


def _item(limit: Limit) -> Any:
    from limits import RateLimitItemPerSecond

    # The name of the strategy is in the key, because `limits` keeps differing types under the same one.
    return RateLimitItemPerSecond(limit.rate.count, limit.rate.period_us // SECOND_US, namespace=limit.kind)


def take_in_turn(
    backend: LimitsBackend, acquire: Callable[[Sequence[Limit]], Decision], seen: Decision, cost: int
) -> Decision:
    """Charge the room that `peek_in_turn` has `seen`: first the limits decided in Lua (at once), then the others.

    Raises:
        LimiterUnavailable: Redis gave no decision; what had been charged by then stays charged.
    """
    in_lua = [limit for limit in seen.limits if not is_foreign(limit)]
    ours = acquire(in_lua) if in_lua else seen
    granted = ours.granted
    try:
        for limit in sorted(filter(is_foreign, seen.limits), key=_width):
            if granted:
                granted = backend.take(limit, granted, cost)
        return _merge(backend, ours, seen.limits, granted, cost)
    except RedisError as error:
        raise LimiterUnavailable(f"no decision from Redis: {error}") from error


def peek_in_turn(
    backend: LimitsBackend, peek: Callable[[Sequence[Limit]], Decision], limits: Sequence[Limit], cost: int
) -> Decision:
    """How many units every limit has room for, and how each stands.

    Raises:
        LimiterUnavailable: Redis gave no answer.
    """
    ours = peek([limit for limit in limits if not is_foreign(limit)])
    try:
        granted = ours.granted
        for limit in filter(is_foreign, limits):
            granted = min(granted, backend.room(limit, cost))
        return _merge(backend, ours, limits, granted, cost)
    except RedisError as error:
        raise LimiterUnavailable(f"no decision from Redis: {error}") from error


def _width(limit: Limit) -> float:
    return limit.rate.count / limit.rate.period_us


def _merge(backend: LimitsBackend, ours: Decision, limits: Sequence[Limit], granted: int, cost: int) -> Decision:
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
    return Decision(tuple(limits), reply)
