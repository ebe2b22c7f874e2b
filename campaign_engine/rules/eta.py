"""When campaigns will be through: the sending of all of them together, simulated forward as a flow.

Between two events (hours open or close, a limit of 24 hours is full or lets go again, a campaign starts or is through)
every rate is constant, so the simulation jumps from event to event and its cost does not grow with the size of the
campaigns. An account shares itself equally among the campaigns it can serve; what one of them cannot use (its own
delay, its owner's limit) the others get. Campaigns alike in all but their size are one flow with many members.

A flow knows no turns: where a campaign's delay or an owner's limit is about as long as the account's own interval, real
turns do not fit each other and need some tens of percent longer.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from math import inf

from campaign_engine.rules.open_hours import stretches
from campaign_engine.rules.pacing import Pacing
from campaign_engine.rules.sharing import Sharing
from campaign_engine.rules.throttling import RECOVERY, Throttle
from campaign_engine.rules.working_hours import WorkingHours

HORIZON = timedelta(days=400)
"""Nothing is foretold beyond."""

DAY_S = 86_400.0

LARGEST_EFFORT = 30_000
"""Rates worked out before the rest is extrapolated: some tens of milliseconds, spent only where hundreds of campaigns
that all differ share accounts."""

_TINY = 1e-6  # of a second, and of a message


class Bound(StrEnum):
    """What decides how fast a campaign goes, in its turn or for most of its time."""

    PACING = "pacing"
    ACCOUNT_LIMIT = "account_limit"
    USER_LIMIT = "user_limit"
    CAMPAIGN_DELAY = "campaign_delay"
    DAILY_QUOTA = "daily_quota"  # a `Quota`: the warm-up, or the recipients a day


class NoEnd(StrEnum):
    """Why no end can be told."""

    NO_ACCOUNT = "no_account"  # none of its accounts sends
    NEVER_OPENS = "never_opens"  # its hours have no window within a year
    STOPS_AT_CLOSE = "stops_at_close"  # its hours close before, and it stops then
    BEYOND_HORIZON = "beyond_horizon"


@dataclass(frozen=True, slots=True)
class Quota:
    """At most so many messages in any 24 hours, for one account or for several together.

    `steps` are (from, count) in the order of time, the first one in force already; a count of None is no limit.
    `used` are the messages of the last 24 hours as (from, to, count): so many are let go again, evenly, from and to.
    """

    steps: Sequence[tuple[datetime, int | None]]
    used: Sequence[tuple[datetime, datetime, float]] = ()


@dataclass(frozen=True, slots=True)
class Sender:
    """An account that sends. `quotas` are keys of the quotas that bind it."""

    per_s: float
    free_at: datetime | None = None  # when its next message may leave; None: now
    series_count: int = 0
    throttle: Throttle | None = None
    quotas: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """A campaign with messages left: `paces` has the pacing in force on each of its accounts."""

    campaign_id: int
    owner_id: int
    message_count: float
    paces: Mapping[int, Pacing]
    hours: WorkingHours | None = None
    starts_at: datetime | None = None  # None: it has started
    weights: Mapping[int, int] = field(default_factory=dict)  # of accounts; empty: each takes what comes next


@dataclass(frozen=True, slots=True)
class End:
    """When the last message of a campaign leaves, or why nobody knows; and what holds it up for most of its time.

    `bound` is (what, account), the account None where it is the campaign's or its owner's.
    """

    at: datetime | None
    reason: NoEnd | None = None
    bound: tuple[Bound, int | None] | None = None


def ends_of(
    loads: Iterable[Load],
    senders: Mapping[int, Sender],
    *,
    owners: Mapping[int, float],
    quotas: Mapping[str, Quota] | None = None,
    now: datetime,
) -> dict[int, End]:
    """Return the end of each campaign, by its id, if nothing changes from now on.

    Args:
        loads: all campaigns that send from these accounts, or will.
        senders: the accounts that are active; campaigns lose the others.
        owners: messages a second of one owner's campaigns together; an owner left out has no limit.
        quotas: by key, what binds accounts for 24 hours.
        now: the present.
    """
    every = list(loads)
    ends = _Simulation(every, senders, owners=owners, quotas=quotas or {}, now=now).run()
    for load in every:
        end = ends[load.campaign_id]
        if load.hours is not None and load.hours.stops_at_close and end.at is not None and load.message_count > 0:
            opens = load.hours.opens_at(max(now, load.starts_at or now))
            closes = load.hours.open_until(opens) if opens is not None else None
            if closes is not None and end.at > closes:
                ends[load.campaign_id] = End(None, NoEnd.STOPS_AT_CLOSE, end.bound)
    return ends


def period_s(pacing: Pacing, *, per_s: float) -> tuple[float, Bound]:
    """Return the mean time between two messages of an account at this pace and rate, and which of them decides."""
    limit_s = 1 / per_s
    jitter_s = pacing.jitter_s / 2
    paced_s = max(pacing.message_interval_s + jitter_s, limit_s)
    if (series := pacing.longer_interval_after) > 0:
        longest_s = max(pacing.message_interval_s, pacing.greater_interval_s) + jitter_s
        paced_s = (paced_s * (series - 1) + max(longest_s, limit_s)) / series
    return (paced_s, Bound.PACING) if paced_s > limit_s else (limit_s, Bound.ACCOUNT_LIMIT)


# --- The parts of the simulation. Times are seconds from now, rates messages a second.


class _Account:
    def __init__(self, account_id: int, sender: Sender, now: datetime) -> None:
        self.account_id = account_id
        self.sender = sender
        self.free_at = _seconds(sender.free_at, now)
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
        """Take the rate of this moment; return when it changes next."""
        while len(self.rates) > 1 and self.rates[1][0] <= at + _TINY:
            self.rates.pop(0)
        self.per_s = self.rates[0][1]
        change = self.rates[1][0] if len(self.rates) > 1 else inf
        return min(change, self.free_at) if self.free_at > at + _TINY else change

    def is_free(self, at: float) -> bool:
        return self.free_at <= at + _TINY


class _Quota:
    """A log of 24 hours as a flow: what went in comes out a day later."""

    def __init__(self, quota: Quota, now: datetime) -> None:
        self.steps = [(_seconds(since, now), inf if count is None else float(count)) for since, count in quota.steps]
        self.capacity = inf
        self.level = 0.0
        self.inflow = 0.0
        self.released_per_s = 0.0
        # (from, to, rate) of what is let go, in the order of time.
        self.releases: list[tuple[float, float, float]] = []
        for begins, ends, count in sorted(quota.used):
            start, end = _seconds(begins, now), max(_seconds(ends, now), _seconds(begins, now) + 0.001)
            self.releases.append((start, end, count / (end - start)))
            self.level += count

    def look(self, at: float) -> float:
        """Take the capacity and the release of this moment; return when either changes next."""
        while self.steps and self.steps[0][0] <= at + _TINY:
            self.capacity = self.steps.pop(0)[1]
        self.releases = [piece for piece in self.releases if piece[1] > at + _TINY]
        self.released_per_s = 0.0
        change = self.steps[0][0] if self.steps else inf
        for begins, ends, rate in self.releases:
            if begins > at + _TINY:
                change = min(change, begins)
                break
            self.released_per_s += rate
            change = min(change, ends)
        return change

    @property
    def is_full(self) -> bool:
        return self.level >= self.capacity - _TINY

    @property
    def room_per_s(self) -> float:
        """What a full quota lets through: as much as it lets go, nothing while it holds more than it may."""
        return self.released_per_s if self.level <= self.capacity + _TINY else 0.0

    def reaches_its_capacity_in(self) -> float:
        """Return in how many seconds it is full, or has room again."""
        growth = self.inflow - self.released_per_s
        missing = self.capacity - self.level
        if growth > 0 and _TINY < missing < inf:
            return missing / growth
        if growth < 0 and missing < -_TINY:
            return missing / growth
        return inf

    def advance(self, at: float, seconds: float) -> None:
        self.level = max(0.0, self.level + (self.inflow - self.released_per_s) * seconds)
        if self.inflow > 0:
            begins, ends = at + DAY_S, at + DAY_S + seconds
            if self.releases and abs(self.releases[-1][1] - begins) < _TINY and self.releases[-1][2] == self.inflow:
                self.releases[-1] = (self.releases[-1][0], ends, self.inflow)
            else:
                self.releases.append((begins, ends, self.inflow))


@dataclass(slots=True)
class _Use:
    """A flow's use of an account; rates are of one member."""

    account: _Account
    pacing: Pacing
    quotas: Sequence[_Quota]
    rate: float = 0.0
    period_s: float = 0.0  # of one message of the account
    bound: Bound = Bound.ACCOUNT_LIMIT
    bound_period_s: float = 0.0  # of what decides the rate


class _Flow:
    """Campaigns (or parts of campaigns) alike in all but their size; `members` are (messages, campaign) as a heap."""

    def __init__(self, load: Load, uses: list[_Use], now: datetime) -> None:
        self.owner_id = load.owner_id
        self.uses = uses
        self.members: list[tuple[float, int]] = []
        self.sent = 0.0  # by each member
        self.starts_at = _seconds(load.starts_at, now)
        self.began_at = inf
        self.opened_at = 0.0
        self.per_s = 0.0  # of one member
        self.is_open = False
        self.held_s: dict[tuple[Bound, int | None], float] = {}
        self._windows = (
            stretches(load.hours, start=now + timedelta(seconds=self.starts_at), until=now + HORIZON)
            if load.hours
            else None
        )
        self._zero = now.timestamp()
        self._window = next(self._windows, None) if self._windows else None
        self.never_opens = load.hours is not None and self._window is None

    def look(self, at: float) -> float:
        """Take whether it may send at this moment; return when that changes next."""
        if self.starts_at > at + _TINY:
            self.is_open = False
            return self.starts_at
        if self._windows is None:
            self.is_open = True
            return inf
        while self._window is not None and self._window[1] - self._zero <= at + _TINY:
            self._window = next(self._windows, None)
        if self._window is None:
            self.is_open = False
            return inf
        opens, closes = self._window[0] - self._zero, self._window[1] - self._zero
        self.is_open = opens <= at + _TINY
        return closes if self.is_open else opens

    def next_end_in(self) -> float:
        return max(0.0, self.members[0][0] - self.sent) / self.per_s if self.per_s > 0 else inf


class _Simulation:
    def __init__(
        self,
        loads: list[Load],
        senders: Mapping[int, Sender],
        *,
        owners: Mapping[int, float],
        quotas: Mapping[str, Quota],
        now: datetime,
    ) -> None:
        self._now = now
        self._owners = owners
        self._accounts = {each: _Account(each, sender, now) for each, sender in senders.items()}
        self._quotas = {key: _Quota(quota, now) for key, quota in quotas.items()}
        self._ends: dict[int, End] = {}
        self._parts: dict[int, int] = {}
        self._latest: dict[int, End] = {}
        self._flows = self._flows_of(loads)

    def run(self) -> dict[int, End]:
        at, effort = 0.0, 0
        while self._flows and at < HORIZON.total_seconds() and effort < LARGEST_EFFORT:
            change = self._look(at)
            effort += 1 + sum(len(flow.uses) for flow in self._flows)
            self._share(at)
            seconds = min(
                change - at,
                min(flow.next_end_in() for flow in self._flows),
                min((quota.reaches_its_capacity_in() for quota in self._quotas.values()), default=inf),
            )
            if seconds == inf:
                break
            seconds = max(seconds, _TINY)
            self._advance(at, seconds)
            at += seconds
            self._settle(at)
        self._give_up(at, spent=effort >= LARGEST_EFFORT)
        return self._ends

    def _flows_of(self, loads: Iterable[Load]) -> list[_Flow]:
        alike: dict[object, _Flow] = {}
        for load in loads:
            if load.message_count <= 0:
                self._ends[load.campaign_id] = End(self._now)
                continue
            parts = list(self._parts_of(load))
            if not parts:
                self._ends[load.campaign_id] = End(None, NoEnd.NO_ACCOUNT)
            for message_count, account_ids in parts:
                paces = tuple((each, load.paces[each]) for each in account_ids)
                key = (load.owner_id, load.hours, load.starts_at, paces)
                flow = alike.get(key)
                if flow is None:
                    uses = [
                        _Use(
                            self._accounts[each],
                            pace,
                            [self._quotas[name] for name in self._accounts[each].sender.quotas if name in self._quotas],
                        )
                        for each, pace in paces
                    ]
                    flow = alike[key] = _Flow(load, uses, self._now)
                if flow.never_opens:
                    self._ends[load.campaign_id] = End(None, NoEnd.NEVER_OPENS)
                    continue
                self._parts[load.campaign_id] = self._parts.get(load.campaign_id, 0) + 1
                heapq.heappush(flow.members, (message_count, load.campaign_id))
        return [flow for flow in alike.values() if flow.members]

    def _parts_of(self, load: Load) -> Iterator[tuple[float, list[int]]]:
        """Yield (messages, accounts that share them): all together, or as many to each account as its weight says.

        For an account that does not send, all the others of the campaign stand in.
        """
        active = sorted(each for each in load.paces if each in self._accounts)
        whole = sum(load.weights.get(each, 0) for each in load.paces)
        if active and not whole:
            yield load.message_count, active
            return
        shared = load.message_count
        for each in active:
            if weight := load.weights.get(each, 0):
                shared -= load.message_count * weight / whole
                yield load.message_count * weight / whole, [each]
        if active and shared > _TINY:
            yield shared, active

    def _look(self, at: float) -> float:
        return min(
            HORIZON.total_seconds(),
            *(flow.look(at) for flow in self._flows),
            *(account.look(at) for account in self._accounts.values()),
            *(quota.look(at) for quota in self._quotas.values()),
        )

    def _share(self, at: float) -> None:
        """Give every use its rate of this moment, and what decides it."""
        sharing = Sharing()
        sharers: list[_Use] = []
        for flow in self._flows:
            count = len(flow.members)
            owner_per_s = self._owners.get(flow.owner_id, inf)
            for use in flow.uses:
                use.rate = 0.0
                if not flow.is_open or not use.account.is_free(at):
                    continue
                sharers.append(use)
                use.period_s, use.bound = period_s(use.pacing, per_s=use.account.per_s)
                delay_s = use.pacing.message_delay_s
                item = sharing.add(most=1 / delay_s if delay_s > 0 else inf)
                sharing.bind(item, use.account, capacity=1.0, weight=count * use.period_s)
                if owner_per_s < inf:
                    sharing.bind(item, flow.owner_id, capacity=owner_per_s, weight=count)
                for quota in use.quotas:
                    if quota.is_full:
                        sharing.bind(item, quota, capacity=quota.room_per_s, weight=count)
        for use, (rate, stopped_by) in zip(sharers, sharing.fill(), strict=True):
            use.rate, use.bound_period_s = rate, use.period_s
            if stopped_by is None:
                use.bound, use.bound_period_s = Bound.CAMPAIGN_DELAY, use.pacing.message_delay_s
            elif isinstance(stopped_by, _Quota):
                use.bound = Bound.DAILY_QUOTA
            elif isinstance(stopped_by, int):
                use.bound, use.bound_period_s = Bound.USER_LIMIT, 1 / self._owners[stopped_by]
        for quota in self._quotas.values():
            quota.inflow = 0.0
        for flow in self._flows:
            before, flow.per_s = flow.per_s, sum(use.rate for use in flow.uses)
            if before <= 0 < flow.per_s:
                flow.opened_at = at
                flow.began_at = min(flow.began_at, at)
            for use in flow.uses:
                for quota in use.quotas:
                    quota.inflow += use.rate * len(flow.members)

    def _advance(self, at: float, seconds: float) -> None:
        at_work = set()
        for flow in self._flows:
            flow.sent += flow.per_s * seconds
            for use in flow.uses:
                if flow.is_open and use.account.is_free(at):
                    whose = None if use.bound in (Bound.USER_LIMIT, Bound.CAMPAIGN_DELAY) else use.account.account_id
                    held = (use.bound, whose)
                    flow.held_s[held] = flow.held_s.get(held, 0.0) + seconds / len(flow.uses)
                if use.rate > 0:
                    use.account.sent += use.rate * len(flow.members) * seconds
                    at_work.add(use.account.account_id)
        for account in self._accounts.values():
            account.rested |= account.sent > 0 and account.account_id not in at_work
        for quota in self._quotas.values():
            quota.advance(at, seconds)

    def _settle(self, at: float) -> None:
        """Take out the members whose last message has left."""
        for flow in self._flows:
            while flow.members and flow.members[0][0] - flow.sent <= _TINY:
                _, campaign_id = heapq.heappop(flow.members)
                self._finish(campaign_id, flow, self._last_message_at(flow, at))
        self._flows = [flow for flow in self._flows if flow.members]

    def _last_message_at(self, flow: _Flow, at: float) -> float:
        """Return when the last message left, for a flow that ends at `at`.

        A flow ends with the interval after its last message, and its long pauses are spread over the messages; the
        message itself leaves at the beginning of that interval, after as many pauses as there really were.
        """
        rate = sum(use.rate for use in flow.uses)
        early_s = sum(use.rate * use.bound_period_s for use in flow.uses) / rate if rate > 0 else 0.0
        shift_s = sum(use.rate * _pause_shift_s(use) for use in flow.uses) / rate if rate > 0 else 0.0
        return max(flow.opened_at, at - early_s + shift_s)

    def _finish(self, campaign_id: int, flow: _Flow, at: float | None, reason: NoEnd | None = None) -> None:
        """Note the end of a part; the campaign ends with the last of its parts."""
        bound = max(flow.held_s, key=lambda held: flow.held_s[held]) if flow.held_s else None
        end = End(None if at is None else self._now + timedelta(seconds=at), reason, bound)
        known = self._latest.get(campaign_id)
        if known is None or end.at is None or (known.at is not None and end.at > known.at):
            self._latest[campaign_id] = end
        self._parts[campaign_id] -= 1
        if not self._parts[campaign_id]:
            self._ends.setdefault(campaign_id, self._latest[campaign_id])

    def _give_up(self, at: float, *, spent: bool) -> None:
        """Foretell what is not through: from its rate so far where the effort was spent, not at all otherwise."""
        for flow in self._flows:
            for message_count, campaign_id in flow.members:
                per_s = flow.sent / (at - flow.began_at) if at > flow.began_at else 0.0
                ends = at + (message_count - flow.sent) / per_s if per_s > 0 else inf
                if spent and ends < HORIZON.total_seconds():
                    self._finish(campaign_id, flow, ends)
                else:
                    self._finish(campaign_id, flow, None, NoEnd.BEYOND_HORIZON)


def _pause_shift_s(use: _Use) -> float:
    """Return how much later the last message of an account left than its mean pace says, by its long pauses."""
    pacing, account = use.pacing, use.account
    series = pacing.longer_interval_after
    if use.bound is not Bound.PACING or series <= 0 or account.rested:
        return 0.0
    longer_s = max(0.0, pacing.greater_interval_s - max(pacing.message_interval_s, 1 / account.per_s))
    before_it = max(0.0, account.sent - 1)
    pauses = (account.sender.series_count + round(before_it)) // series
    return (pauses - before_it / series) * longer_s


def _seconds(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else (moment - now).total_seconds()
