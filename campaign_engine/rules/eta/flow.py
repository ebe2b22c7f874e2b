"""The parts of the simulation of `rules.eta`: accounts that send, quotas that bind them, campaigns that flow.

Times are seconds from now, rates are messages a second. `look` brings a part up to a moment and returns when the part
changes next.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf

from campaign_engine.rules.cool_down import RECOVERY, Throttle
from campaign_engine.rules.eta.terms import Load, Quota, SenderTerms
from campaign_engine.rules.hours.open_hours import stretches
from campaign_engine.rules.hours.recipient_zone import stretches_in
from campaign_engine.rules.pacing import Pacing
from campaign_engine.rules.waiting import WaitReason

HORIZON = timedelta(days=400)
"""No end is foretold beyond this."""

DAY_S = 86_400.0

TINY = 1e-6  # of a second, and of a message


def seconds_until(moment: datetime | None, now: datetime) -> float:
    """Return how many seconds from now `moment` is; 0 for None."""
    return 0.0 if moment is None else (moment - now).total_seconds()


class SendingAccount:
    """An account that sends, at its rate of the moment."""

    def __init__(self, account_id: int, sender: SenderTerms, now: datetime) -> None:
        self.account_id = account_id
        self.sender = sender
        self.free_at = seconds_until(sender.free_at, now)
        throttle = sender.throttle or Throttle(step=0, since=None)
        step = throttle.step_at(now)
        since, taken = throttle.since or now, throttle.step - step
        # (from, rate): the rate comes back step by step.
        self.rates = [(0.0, sender.per_s / (1 << step))]
        for back in range(1, step + 1):
            recovers_at = (since - now + RECOVERY * (taken + back)).total_seconds()
            self.rates.append((recovers_at, sender.per_s / (1 << (step - back))))
        self.per_s = self.rates[0][1]
        self.sent = 0.0
        self.rested = False  # has been idle since its first message

    def look(self, at: float) -> float:
        """Set the rate of the moment `at`; return when it changes next."""
        while len(self.rates) > 1 and self.rates[1][0] <= at + TINY:
            self.rates.pop(0)
        self.per_s = self.rates[0][1]
        change = self.rates[1][0] if len(self.rates) > 1 else inf
        return min(change, self.free_at) if self.free_at > at + TINY else change

    def is_free(self, at: float) -> bool:
        """Say whether its next message may leave."""
        return self.free_at <= at + TINY


class QuotaLevel:
    """A quota as a flow: what was used comes back a day later."""

    def __init__(self, quota: Quota, now: datetime) -> None:
        self.reason = quota.reason
        self.steps = [
            (seconds_until(since, now), inf if count is None else float(count)) for since, count in quota.steps
        ]
        self.capacity = inf
        self.level = 0.0
        self.inflow = 0.0
        self.released_per_s = 0.0
        # (from, to, rate) of what comes back, in the order of time.
        self.releases: list[tuple[float, float, float]] = []
        for begins, ends, count in sorted(quota.used):
            start, end = seconds_until(begins, now), max(seconds_until(ends, now), seconds_until(begins, now) + 0.001)
            self.releases.append((start, end, count / (end - start)))
            self.level += count

    def look(self, at: float) -> float:
        """Set the capacity and the release of the moment `at`; return when either changes next."""
        while self.steps and self.steps[0][0] <= at + TINY:
            self.capacity = self.steps.pop(0)[1]
        self.releases = [piece for piece in self.releases if piece[1] > at + TINY]
        self.released_per_s = 0.0
        change = self.steps[0][0] if self.steps else inf
        for begins, ends, rate in self.releases:
            if begins > at + TINY:
                change = min(change, begins)
                break
            self.released_per_s += rate
            change = min(change, ends)
        return change

    @property
    def is_full(self) -> bool:
        """Whether as much is used as it allows, so that only what comes back may be used."""
        return self.level >= self.capacity - TINY

    @property
    def room_per_s(self) -> float:
        """What a full quota lets through: as much as comes back, or nothing while more is used than allowed."""
        return self.released_per_s if self.level <= self.capacity + TINY else 0.0

    def reaches_its_capacity_in(self) -> float:
        """Return in how many seconds it is full, or has room again."""
        growth = self.inflow - self.released_per_s
        missing = self.capacity - self.level
        if growth > 0 and TINY < missing < inf:
            return missing / growth
        if growth < 0 and missing < -TINY:
            return missing / growth
        return inf

    def advance(self, at: float, seconds: float) -> None:
        """Let time pass, from `at` on."""
        self.level = max(0.0, self.level + (self.inflow - self.released_per_s) * seconds)
        if self.inflow > 0:
            begins, ends = at + DAY_S, at + DAY_S + seconds
            if self.releases and abs(self.releases[-1][1] - begins) < TINY and self.releases[-1][2] == self.inflow:
                self.releases[-1] = (self.releases[-1][0], ends, self.inflow)
            else:
                self.releases.append((begins, ends, self.inflow))


@dataclass(slots=True)
class Use:
    """A flow's use of an account; rates are of one member."""

    account: SendingAccount
    pacing: Pacing
    quotas: Sequence[QuotaLevel]
    rate: float = 0.0
    gap_s: float = 0.0  # the account's time for one message, without its long pauses
    bound: WaitReason = WaitReason.ACCOUNT_LIMIT
    bound_period_s: float = 0.0  # of what decides the rate
    longer_s: float = 0.0  # how much longer a long pause of the account is than its mean time between two messages


class Hours:
    """When some messages of a campaign may be sent, and how many of them are left."""

    def __init__(self, windows: Iterator[tuple[float, float]], now: datetime, *, message_count: float = inf) -> None:
        self.left = message_count
        self.is_open = False
        self._windows = windows
        self._zero = now.timestamp()
        self._window = next(windows, None)
        self.never_open = self._window is None

    def look(self, at: float) -> float:
        """Set whether they are open at the moment `at` and have something to send; return when that changes next."""
        while self._window is not None and self._window[1] - self._zero <= at + TINY:
            self._window = next(self._windows, None)
        if self._window is None or self.left <= TINY:
            self.is_open = False
            return inf
        opens, closes = self._window[0] - self._zero, self._window[1] - self._zero
        self.is_open = opens <= at + TINY
        return closes if self.is_open else opens


class Flow:
    """Campaigns (or parts of campaigns) alike in all but their size; `members` are (messages, campaign) as a heap.

    A campaign with hours of each recipient is a flow of its own. It sends as long as the hours of somebody left are
    open, and shares its rate among all of those in proportion.
    """

    def __init__(self, load: Load, uses: list[Use], now: datetime, *, message_count: float) -> None:
        self.owner_id = load.owner_id
        self.uses = uses
        self.members: list[tuple[float, int]] = []
        self.sent = 0.0  # by each member
        self.starts_at = seconds_until(load.starts_at, now)
        self.began_at = inf
        self.opened_at = 0.0
        self.per_s = 0.0  # of one member
        self.is_open = False
        self.held_s: dict[tuple[WaitReason, int | None], float] = {}
        start, until = now + timedelta(seconds=self.starts_at), now + HORIZON
        self._hours: list[Hours] = []  # none: always open
        if load.hours is not None and load.zones:
            each = message_count / sum(load.zones.values())
            self._hours += [
                Hours(stretches_in(load.hours, zones, start=start, until=until), now, message_count=each * share)
                for zones, share in load.zones.items()
            ]
        elif load.hours is not None:
            self._hours.append(Hours(stretches(load.hours, start=start, until=until), now))
        self.never_opens = any(hours.never_open for hours in self._hours)

    def look(self, at: float) -> float:
        """Set whether it may send at the moment `at`; return when that changes next."""
        if self.starts_at > at + TINY:
            self.is_open = False
            return self.starts_at
        change = min((hours.look(at) for hours in self._hours), default=inf)
        self.is_open = not self._hours or any(hours.is_open for hours in self._hours)
        return change

    def runs_out_in(self) -> float:
        """Return in how many seconds its first member is through, or it has sent to everybody whose hours are open."""
        if self.per_s <= 0:
            return inf
        left = self.members[0][0] - self.sent
        if self._hours:
            left = min(left, sum(hours.left for hours in self._hours if hours.is_open))
        return max(0.0, left) / self.per_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        sent = self.per_s * seconds
        self.sent += sent
        now_open = [hours for hours in self._hours if hours.is_open]
        share = max(0.0, 1 - sent / left) if (left := sum(hours.left for hours in now_open)) else 1.0
        for hours in now_open:
            hours.left *= share
