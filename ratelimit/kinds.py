"""The kinds of limit, each a strategy behind one small protocol.

A kind turns a rate, a burst and a margin into numbers (`Parameters`, which also say what the numbers that come
back mean) and names the Lua that reads and charges its state (`lua/kinds/*.lua`). It holds no state, makes no call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from ratelimit import scripts
from ratelimit.errors import InvalidLimit
from ratelimit.rate import Rate

MAX_MARGIN = 0.005
"""The greatest share of a rate that may be spent on safety: half a percent."""

MAX_DEBT_US = 2**51
"""71 years. A longer debt would not stay exact next to an epoch in the 53 bits of a Lua number."""

MAX_LOG = 10_000
"""A log keeps a stamp for each unit; above this it is neither small nor quick."""


class Parameters(Protocol):
    """A limit in the numbers that its kind works with, and the meaning of the numbers that come back."""

    @property
    def argv(self) -> tuple[bytes, ...]:
        """What the kind's Lua reads, after the kind's letter."""

    @property
    def capacity(self) -> int:
        """Units that can be used at once when nothing is used; the greatest cost that can ever pass."""

    def used(self, level: int) -> int:
        """Units in use, from the level that the kind's Lua reported."""

    def remaining(self, level: int) -> int:
        """Units that can be used now, from the same level."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The parameters of a kind whose level is a number of units."""

    argv: tuple[bytes, ...]
    capacity: int

    def used(self, level: int) -> int:
        """The level itself."""
        return level

    def remaining(self, level: int) -> int:
        """The rest of the capacity; 0 after the limit was lowered below the level."""
        return max(self.capacity - level, 0)


@dataclass(frozen=True, slots=True)
class Spaced:
    """The parameters of a kind whose level is a debt in microseconds.

    Attributes:
        interval_us: the time that gives back one unit.
        capacity_us: the greatest debt.
        tolerance_us: the part of `capacity_us` kept for callers who come late.
    """

    argv: tuple[bytes, ...]
    interval_us: int
    capacity_us: int
    tolerance_us: int

    @property
    def capacity(self) -> int:
        """The whole intervals that fit into the greatest debt."""
        return self.capacity_us // self.interval_us

    def used(self, level: int) -> int:
        """The debt in intervals, rounded up; the tolerance is not counted."""
        return -(-max(level - self.tolerance_us, 0) // self.interval_us)

    def remaining(self, level: int) -> int:
        """The whole intervals that the debt may still grow by."""
        return max(self.capacity_us - level, 0) // self.interval_us


class Kind(Protocol):
    """What the limiter asks of a kind."""

    @property
    def name(self) -> str:
        """The word in `Limit.kind`."""

    @property
    def letter(self) -> str:
        """Marks the state in the key. Kinds with the same letter read the same state with the same Lua."""

    @property
    def lua(self) -> str:
        """The name of its Lua, a file under `lua/kinds/`; empty for a kind that is not decided in Lua."""

    def parameters(self, rate: Rate, burst: int, margin: float) -> Parameters:
        """Check a limit and turn it into numbers.

        Raises:
            InvalidLimit: the kind cannot keep such a limit.
        """


def _spacing(*, interval_us: int, burst: int, tolerance_us: int, span_us: int, promise: bytes) -> Spaced:
    capacity_us = burst * interval_us + tolerance_us
    if capacity_us + span_us > MAX_DEBT_US:
        raise InvalidLimit(f"a burst of {burst} at one in {interval_us} µs is too long to be kept exactly")
    ttl_ms = (capacity_us + span_us) // 1000 + 2
    return Spaced(
        argv=(b"%d" % interval_us, b"%d" % capacity_us, b"%d" % ttl_ms, promise),
        interval_us=interval_us,
        capacity_us=capacity_us,
        tolerance_us=tolerance_us,
    )


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """GCRA with a hard promise: never more than COUNT in any window of PERIOD (half open), spent evenly.

    The state is a debt in microseconds: each unit adds the interval T, time takes it away, and it may not
    exceed the capacity C, so a window of length W holds at most (W + C) / T units. With

        m = margin * PERIOD,  T = ceil((PERIOD + m) / (COUNT - burst + 1)),  C = burst * T + m / 2

    a window of PERIOD, stretched by up to m / 2 because units arrive late by differing times, holds at most
    burst + floor((PERIOD + m / 2 - 1 µs + m / 2) / T) <= COUNT units. The other m / 2 is what C has above
    `burst` units: a caller that wakes up to that late finds the time it lost still there. It also lets
    floor(m / 2 / T) units more than `burst` go at once after a rest, within the same promise.
    """

    name: str = "token-bucket"
    letter: str = "t"
    lua: str = "spacing"

    def parameters(self, rate: Rate, burst: int, margin: float) -> Spaced:
        """Work out T and C; the burst is 1 to COUNT."""
        if not 1 <= burst <= rate.count:
            raise InvalidLimit(
                f"a burst of {burst} does not fit a token bucket of {rate}: accepted is 1 to {rate.count}"
            )
        margin_us = int(rate.period_us * margin)
        tolerance_us = margin_us // 2
        span_us = rate.period_us + margin_us - tolerance_us
        return _spacing(
            interval_us=-(-(rate.period_us + margin_us) // (rate.count - burst + 1)),
            burst=burst,
            tolerance_us=tolerance_us,
            span_us=span_us,
            promise=b"%d %d" % (span_us, rate.count),
        )


@dataclass(frozen=True, slots=True)
class Bucket:
    """The classic bucket: `burst` at once (COUNT when burst is 1), refilled at COUNT per PERIOD.

    Nearly `burst` + COUNT units can pass within one PERIOD, so it is for being fair, not for a promise.
    1/6 s with a burst of 45 is the limit that Meta describes for one pair of business and recipient.
    The margin only slows the refill.
    """

    name: str = "bucket"
    letter: str = "t"
    lua: str = "spacing"

    def parameters(self, rate: Rate, burst: int, margin: float) -> Spaced:
        """Take any burst from 1; the margin makes the interval longer."""
        if burst < 1:
            raise InvalidLimit(f"a burst of {burst} is not accepted: a bucket holds at least 1")
        return _spacing(
            interval_us=-(-(rate.period_us + int(rate.period_us * margin)) // rate.count),
            burst=burst if burst > 1 else rate.count,
            tolerance_us=0,
            span_us=rate.period_us,
            promise=b"",
        )


def _counted(rate: Rate, burst: int, margin: float, *, kind: str) -> Counted:
    if burst != 1:
        raise InvalidLimit(f"{kind} takes no burst (got {burst}): all of {rate.count} may go at once")
    period_us = rate.period_us + math.ceil(rate.period_us * margin)
    return Counted(
        argv=(b"%d" % rate.count, b"%d" % period_us, b"%d" % (period_us // 1000 + 2)),
        capacity=rate.count,
    )


@dataclass(frozen=True, slots=True)
class SlidingLog:
    """An exact log: never more than COUNT in any window of PERIOD, and all COUNT may go at once.

    Costs memory for COUNT stamps. The margin makes the window longer, which covers arrival jitter of
    margin * PERIOD.
    """

    name: str = "window"
    letter: str = "w"
    lua: str = "window"

    def parameters(self, rate: Rate, burst: int, margin: float) -> Counted:
        """Refuse a log longer than `MAX_LOG`."""
        if rate.count > MAX_LOG:
            raise InvalidLimit(f"a window of {rate.count} is too long a log: accepted is at most {MAX_LOG}")
        return _counted(rate, burst, margin, kind=self.name)


@dataclass(frozen=True, slots=True)
class Distinct:
    """Different members in a moving period: a member already counted costs nothing and counts from now on again.

    Meta's portfolio tier is of this kind: unique recipients in a rolling 24 hours. Every call names a member
    for each unit. Costs memory for COUNT members.
    """

    name: str = "distinct"
    letter: str = "d"
    lua: str = "distinct"

    def parameters(self, rate: Rate, burst: int, margin: float) -> Counted:
        """Take any count; the margin makes the period longer."""
        return _counted(rate, burst, margin, kind=self.name)


_KINDS: dict[str, Kind] = {}


def register(kind: Kind, lua: str | None = None) -> None:
    """Make a kind known under its name, with the text of its Lua if that is not among the files of this package.

    Raises:
        InvalidLimit: another kind has the name, or has the letter with other Lua.
    """
    for known in _KINDS.values():
        if known.name == kind.name or (known.letter == kind.letter and known.lua != kind.lua):
            raise InvalidLimit(f"{kind.name!r} clashes with {known.name!r}: same name, or same letter")
    if lua is not None:
        scripts.provide(f"kinds/{kind.lua}", lua)
    _KINDS[kind.name] = kind


def kind_named(name: str) -> Kind:
    """The kind of that name.

    Raises:
        InvalidLimit: there is none; the message lists the known kinds.
    """
    kind = _KINDS.get(name)
    if kind is None:
        raise InvalidLimit(f"{name!r} is no kind of limit: accepted are {', '.join(sorted(_KINDS))}")
    return kind


for _kind in (TokenBucket(), Bucket(), SlidingLog(), Distinct()):
    register(_kind)
