"""What a failure means, in one table: for the row, its account, its campaign, and the messages after it.

A provider puts each of its errors into one class. Only this table says what follows from a class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ErrorClass(StrEnum):
    """What kind of failure it was."""

    THROTTLED = "throttled"  # the account must slow down
    TEMPORARY = "temporary"  # the same message may be tried again later
    RECIPIENT = "recipient"  # final for this recipient
    CAMPAIGN = "campaign"  # the content is wrong: every further recipient would fail too
    ACCOUNT = "account"  # the number, its token or its permissions
    UNKNOWN = "unknown"  # the outcome cannot be known


class Fate(StrEnum):
    """What becomes of the row."""

    WAITS = "waits"  # nothing is wrong with it: it goes out when, or from where, it can
    TRIED_AGAIN = "tried_again"  # after a pause, while it has attempts left
    FAILS = "fails"
    UNKNOWN = "unknown"  # until a webhook, or a person, settles it


class Blame(StrEnum):
    """What is at fault, where it is more than the one message."""

    PACE = "pace"  # the account cools down
    ACCOUNT = "account"  # counts towards its deactivation
    CAMPAIGN = "campaign"  # counts towards the pause of the campaign


@dataclass(frozen=True, slots=True)
class Meaning:
    """What follows from a failure. If `others_would_meet_it`, calls that have not begun are called back."""

    fate: Fate
    attempt_counts: bool
    blames: Blame | None = None
    others_would_meet_it: bool = False


MEANING: Mapping[ErrorClass, Meaning] = {
    ErrorClass.THROTTLED: Meaning(Fate.WAITS, False, Blame.PACE, others_would_meet_it=True),
    ErrorClass.ACCOUNT: Meaning(Fate.WAITS, False, Blame.ACCOUNT, others_would_meet_it=True),
    ErrorClass.CAMPAIGN: Meaning(Fate.FAILS, True, Blame.CAMPAIGN, others_would_meet_it=True),
    ErrorClass.RECIPIENT: Meaning(Fate.FAILS, True),
    ErrorClass.TEMPORARY: Meaning(Fate.TRIED_AGAIN, True),
    ErrorClass.UNKNOWN: Meaning(Fate.UNKNOWN, True),
}

NEVER_LEFT = Meaning(Fate.WAITS, False, others_would_meet_it=True)
"""The provider could not be reached: the lane rests, and the message waits as if it had not been tried."""
