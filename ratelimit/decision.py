"""What the limiter answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ratelimit.limit import Limit

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_datetime(instant_us: int) -> datetime:
    """Microseconds since the epoch as an aware datetime in UTC, exactly."""
    return _EPOCH + timedelta(microseconds=instant_us)


def to_us(instant: datetime) -> int:
    """An aware datetime as microseconds since the epoch, exactly.

    Raises:
        ValueError: the datetime is naive.
    """
    if instant.tzinfo is None:
        raise ValueError("a naive datetime is not accepted: say which time zone is meant")
    return (instant - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Usage:
    """How one limit stands, for pages and headers.

    Attributes:
        capacity: units that can be used at once when nothing is used.
        used: units in use now; after a limit was lowered it may exceed `capacity`.
        remaining: units that can be used now.
        next_at: the instant from which one more unit fits this limit; None when it fits now.
    """

    limit: Limit
    capacity: int
    used: int
    remaining: int
    next_at: datetime | None


class Decision:
    """The answer to one `Limiter.acquire` or `Limiter.peek`.

    Only `granted` is ready at once; the rest is worked out from the reply of Redis when somebody asks for it.

    Attributes:
        granted: units that may be used; 0 is a refusal.
        limits: the limits of the call.
        reply: the reply of Redis, as `lua/acquire.lua` describes it.
    """

    __slots__ = ("granted", "limits", "reply")

    def __init__(self, limits: tuple[Limit, ...], reply: list[int]) -> None:
        self.granted: int = reply[0]
        self.limits = limits
        self.reply = reply

    @property
    def now(self) -> datetime:
        """The time of the decision by the clock of Redis."""
        return to_datetime(self.reply[1])

    @property
    def retry_at(self) -> datetime | None:
        """After a refusal: when to try again at the earliest, to the microsecond; no reservation. None when granted."""
        return None if self.granted else to_datetime(max(self._openings()))

    @property
    def next_at(self) -> datetime | None:
        """Granted or not: the instant from which one more unit fits every limit; None when it fits now.

        A caller with more to do should sleep until then: if it asks again at once, its own use refuses it.
        """
        opening = max(self._openings(), default=0)
        return to_datetime(opening) if opening else None

    @property
    def blocked_by(self) -> str | None:
        """After a refusal: the name of the limit that refuses longest."""
        if self.granted:
            return None
        openings = self._openings()
        return self.limits[openings.index(max(openings))].name

    @property
    def usage(self) -> tuple[Usage, ...]:
        """How each limit stands after the decision, in the order of the call."""
        return tuple(
            Usage(
                limit=limit,
                capacity=limit.capacity,
                used=limit.parameters.used(level),
                remaining=limit.parameters.remaining(level),
                next_at=to_datetime(opening) if opening else None,
            )
            for limit, level, opening in zip(self.limits, self.reply[2::2], self._openings(), strict=True)
        )

    def _openings(self) -> list[int]:
        return self.reply[3::2]

    def __repr__(self) -> str:
        if self.granted:
            return f"<Decision granted={self.granted} now={self.now.isoformat()}>"
        return f"<Decision granted=0 blocked_by={self.blocked_by!r} retry_at={self.retry_at}>"
