"""What a forecast is made from (campaigns, accounts, quotas), and what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from campaign_engine.rules.cool_down import Throttle
from campaign_engine.rules.hours.recipient_zone import Zones
from campaign_engine.rules.hours.working_hours import WorkingHours
from campaign_engine.rules.pacing import Pacing
from campaign_engine.rules.waiting import WaitReason


class NoEnd(StrEnum):
    """Why no end can be told."""

    NO_ACCOUNT = "no_account"  # none of its accounts sends
    NEVER_OPENS = "never_opens"  # its hours have no window within a year
    STOPS_AT_CLOSE = "stops_at_close"  # its hours close before, and it stops then
    BEYOND_HORIZON = "beyond_horizon"


@dataclass(frozen=True, slots=True)
class Quota:
    """At most so many messages in any 24 hours, for one account or for several together.

    `reason` is why those wait that it stops. `steps` are (from, count) in the order of time, the first one in force
    already; a count of None is no limit.
    `used` are the messages of the last 24 hours as (from, to, count): `count` of them stop counting, evenly spread,
    between `from` and `to`.
    """

    reason: WaitReason
    steps: Sequence[tuple[datetime, int | None]]
    used: Sequence[tuple[datetime, datetime, float]] = ()


@dataclass(frozen=True, slots=True)
class SenderTerms:
    """An account that sends. `quotas` are keys of the quotas that bind it."""

    per_s: float
    free_at: datetime | None = None  # when its next message may leave; None: now
    series_count: int = 0
    throttle: Throttle | None = None
    quotas: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """A campaign with messages left: `paces` has the pacing in force on each of its accounts.

    `zones` is set where the hours are those of each recipient: how many messages go to which zones, in any measure.
    Where it is empty the clock of `hours` counts.
    """

    campaign_id: int
    owner_id: int
    message_count: float
    paces: Mapping[int, Pacing]
    hours: WorkingHours | None = None
    starts_at: datetime | None = None  # None: it has started
    weights: Mapping[int, int] = field(default_factory=dict)  # of accounts; empty: each takes what comes next
    zones: Mapping[Zones, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class End:
    """When the last message of a campaign leaves, or why nobody knows; and what slows it down for most of its time.

    `bound` is (what, account); the account is None for a limit of the campaign or of its owner.
    """

    at: datetime | None
    reason: NoEnd | None = None
    bound: tuple[WaitReason, int | None] | None = None
