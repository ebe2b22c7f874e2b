"""The rules of the kinds in plain Python, written from what they promise and not from how the Lua keeps it.

Nothing here has a state to get wrong: everything is worked out anew from the list of all units ever granted.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import redis

from ratelimit import Decision, Limit, Limiter
from ratelimit.decision import to_us

START_US = 1_795_000_000_000_000
"""A time of the present, so that the numbers are as large as in life."""

Ledger = Sequence[int]
"""The instants (us) at which units were granted, oldest first."""


def most_in_a_window(instants: Ledger, length_us: int) -> int:
    """The greatest number of instants in any half-open window of that length."""
    ordered = sorted(instants)
    return max((bisect_left(ordered, first + length_us) - i for i, first in enumerate(ordered)), default=0)


def room_and_opening(limit: Limit, ledger: Ledger, now_us: int) -> tuple[int, int]:
    """How many units `limit` allows now, and the earliest instant at which it allows one."""
    if limit.kind == "window":
        return _room_of_window(limit, ledger, now_us), _opening_of_window(limit, ledger, now_us)
    return _room_of_spacing(limit, ledger, now_us), _opening_of_spacing(limit, ledger, now_us)


def _room_of_window(limit: Limit, ledger: Ledger, now_us: int) -> int:
    return limit.rate.count - sum(1 for instant in ledger if instant > now_us - _length(limit))


def _opening_of_window(limit: Limit, ledger: Ledger, now_us: int) -> int:
    if len(ledger) < limit.rate.count:
        return now_us
    return max(now_us, ledger[-limit.rate.count] + _length(limit))


def _length(limit: Limit) -> int:
    return limit.rate.period_us + -int(-limit.rate.period_us * limit.margin // 1)


def _interval_and_capacity(limit: Limit) -> tuple[int, int]:
    """T and C of the docstrings of TokenBucket and Bucket."""
    margin_us = int(limit.rate.period_us * limit.margin)
    if limit.kind == "bucket":
        interval = -(-(limit.rate.period_us + margin_us) // limit.rate.count)
        return interval, interval * (limit.burst if limit.burst > 1 else limit.rate.count)
    interval = -(-(limit.rate.period_us + margin_us) // (limit.rate.count - limit.burst + 1))
    return interval, interval * limit.burst + margin_us // 2


def _room_of_spacing(limit: Limit, ledger: Ledger, now_us: int) -> int:
    """From every unit on, the units that follow, times T, fit into the time that has passed plus C."""
    interval, capacity = _interval_and_capacity(limit)
    room = capacity // interval
    for i, instant in enumerate(ledger):
        room = min(room, (now_us - instant + capacity) // interval - (len(ledger) - i))
    return room


def _opening_of_spacing(limit: Limit, ledger: Ledger, now_us: int) -> int:
    interval, capacity = _interval_and_capacity(limit)
    opening = now_us
    for i, instant in enumerate(ledger):
        opening = max(opening, instant - capacity + interval * (len(ledger) - i + 1))
    return opening


def next_us(decision: Decision) -> int:
    """When a caller that wants more should ask again."""
    return to_us(decision.next_at or decision.now)


def contents(server: redis.Redis, limiter: Limiter) -> Mapping[bytes, object]:
    """All that Redis holds for a limiter, byte for byte."""
    return {key: server.dump(key) for key in sorted(server.scan_iter(match=f"{limiter.prefix}:*", count=1000))}
