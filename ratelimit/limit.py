"""A limit as a value: whose, how much, of which kind."""

from __future__ import annotations

from dataclasses import dataclass, field

from ratelimit.errors import InvalidLimit
from ratelimit.kinds import MAX_MARGIN, Parameters, kind_named
from ratelimit.rate import Rate


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit. Make it once and keep it: the numbers that Redis gets are worked out here.

    Attributes:
        name: the reason that people are shown (`Decision.blocked_by`), such as "account".
        key: whose limit it is, such as "account:7". Limits of the same kind with the same key share their
            state, also when their rates differ: that is how a rate is changed while running.
        rate: how many in how long.
        burst: how many may go at once. See the kinds.
        kind: the strategy by name: token-bucket (the default), bucket, window, distinct, or one of the
            `limits` library's (fixed-window, moving-window, sliding-window-counter).
        margin: the share of the rate, 0 to 0.005, given up for safety and for late callers. See the kinds.

    Raises:
        InvalidLimit: a value is wrong; the message says what is accepted.
    """

    name: str
    key: str
    rate: Rate
    burst: int = 1
    kind: str = "token-bucket"
    margin: float = 0.0
    parameters: Parameters = field(init=False, repr=False, compare=False)
    argv: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    tail: str = field(init=False, repr=False, compare=False)
    lua: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.key or not self.name:
            raise InvalidLimit("a limit needs a name and a key, both not empty")
        if not 0 <= self.margin <= MAX_MARGIN:
            raise InvalidLimit(f"a margin of {self.margin} is not accepted: it must be 0 to {MAX_MARGIN}")
        kind = kind_named(self.kind)
        parameters = kind.parameters(self.rate, self.burst, self.margin)
        object.__setattr__(self, "parameters", parameters)
        object.__setattr__(self, "argv", (kind.letter.encode(), *parameters.argv))
        object.__setattr__(self, "tail", f":{kind.letter}:{self.key}")
        object.__setattr__(self, "lua", kind.lua)

    @property
    def capacity(self) -> int:
        """Units that can be used at once when nothing is used."""
        return self.parameters.capacity
