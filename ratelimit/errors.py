"""What can go wrong, as types.

    RateLimitError
    ├── InvalidLimit          the limit or the call makes no sense; says what is accepted (a ValueError too)
    │   └── CostAboveCapacity one unit costs more than the limit can ever hold; waiting does not help
    ├── CapabilityMissing     this kind of limit cannot do what was asked (a penalty), or not with this client
    ├── LimiterUnavailable    no decision could be had from Redis; nothing may be assumed about the charge
    └── ScriptFailed          Redis ran a script and it failed: a defect, not an outage

A refusal is not an error: it is a `Decision` with `granted == 0`.
"""


class RateLimitError(Exception):
    """The root of everything this library raises on purpose."""


class InvalidLimit(RateLimitError, ValueError):
    """A limit or a call that makes no sense. The message names the value and what is accepted."""


class CostAboveCapacity(InvalidLimit):
    """One unit costs more than the limit holds when nothing is used, so waiting does not make it possible."""

    def __init__(self, *, name: str, cost: int, capacity: int) -> None:
        super().__init__(f"a cost of {cost} can never pass the limit {name!r}, which holds at most {capacity}")
        self.name = name
        self.cost = cost
        self.capacity = capacity


class CapabilityMissing(RateLimitError):
    """The kind of limit cannot do what was asked, or not with this client of Redis."""


class LimiterUnavailable(RateLimitError):
    """Redis did not give a decision: unreachable, too slow, loading, read-only, out of memory.

    The caller decides what this means; sending nothing is the safe reading. If the connection broke while
    waiting for the reply, the charge may or may not have been made.
    """


class ScriptFailed(RateLimitError):
    """Redis ran the script and the script failed. Trying again will not help."""
