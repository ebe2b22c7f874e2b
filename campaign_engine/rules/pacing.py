"""The pace of an account and of a campaign on it: intervals are least times, and jitter only adds.

The defaults (20 s, 60 s after each 20, 1 s between messages of one campaign) come from the systems our users had
before. There an interval was a random time from zero; here it is the least time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Pacing:
    """How long to wait between messages. Zero switches an interval off."""

    message_interval_s: float
    longer_interval_after: int  # messages
    greater_interval_s: float
    message_delay_s: float  # of one campaign on one account
    jitter_s: float = 0.0

    @property
    def account_is_paced(self) -> bool:
        """Whether the account itself waits between messages."""
        has_long_pauses = self.longer_interval_after > 0 and self.greater_interval_s > 0
        return self.message_interval_s > 0 or has_long_pauses or self.jitter_s > 0

    @property
    def one_at_a_time(self) -> bool:
        """Whether a wait follows every message, so that only one may be claimed at once."""
        return self.message_interval_s > 0 or self.message_delay_s > 0 or self.jitter_s > 0


LONGEST_S = 86_400

ACCEPTED = {
    "message_interval_s": (0, LONGEST_S),
    "longer_interval_after": (0, 100_000),  # a count of messages
    "greater_interval_s": (0, LONGEST_S),
    "message_delay_s": (0, LONGEST_S),
    "jitter_s": (0, LONGEST_S),
}
"""The least and the most of each part of a pace, for configuration, schemas and the command line."""

PACING_FIELDS = tuple(ACCEPTED)


def resolve(*layers: Mapping[str, float | None]) -> Pacing:
    """Make the pacing in force out of layers, the strongest first; a null or absent value is taken from the next."""

    def first(name: str) -> float:
        return next((given for layer in layers if (given := layer.get(name)) is not None), 0)

    return Pacing(
        message_interval_s=first("message_interval_s"),
        longer_interval_after=int(first("longer_interval_after")),
        greater_interval_s=first("greater_interval_s"),
        message_delay_s=first("message_delay_s"),
        jitter_s=first("jitter_s"),
    )


def next_after(pacing: Pacing, *, series_count: int, sent_at: datetime, chance: float) -> tuple[datetime, int]:
    """Return when the account may send again, and the new count of messages since its last long pause.

    `series_count` is the count before this message, which left at `sent_at`; `chance` is a random number in [0, 1).
    """
    series_count += 1
    wait_s = pacing.message_interval_s
    if pacing.longer_interval_after > 0 and series_count >= pacing.longer_interval_after:
        wait_s = max(wait_s, pacing.greater_interval_s)
        series_count = 0
    return sent_at + timedelta(seconds=wait_s + pacing.jitter_s * chance), series_count
