"""Serve: choose whose messages go next from an account, and claim them; or say what it waits for, and until when.

One `Serving` serves a turn of a lane. It makes no call to a provider: the turn does that, with no transaction open.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.rules import fairness
from campaign_engine.rules.cool_down import Throttle
from campaign_engine.rules.waiting import OF_A_LIMIT, WaitReason
from campaign_engine.services.company.limits import LimiterOf
from campaign_engine.services.messages import claiming, resting, screening
from campaign_engine.services.messages.charging import Charger
from campaign_engine.services.messages.claiming import LockedRow
from campaign_engine.services.messages.planning import Candidate, Plan

LOOK_AHEAD = 200
"""How many rows of a campaign with hours of each recipient are read to find some whose hours are open."""

CROWDED_PAUSE = timedelta(seconds=0.1)
"""How long an account rests when other accounts hold all the rows it could send."""

LIMITER_PAUSE = timedelta(seconds=2)
"""How long an account rests while the limiter's Redis is away."""


@dataclass(frozen=True, slots=True)
class Deferral:
    """Why an account sends nothing now, and when to look again."""

    reason: WaitReason
    until: datetime
    campaign_ids: Sequence[int] = ()

    @property
    def is_of_a_limit(self) -> bool:
        """Whether it ends at its time, whatever the answers to the calls in flight are."""
        return self.reason in OF_A_LIMIT

    @classmethod
    def turn_over(cls, plan: Plan, now: datetime) -> "Deferral":
        """Go on as soon as a worker is free."""
        return cls(WaitReason.TURN_OVER, now, _ids(plan))

    @classmethod
    def limiter_away(cls, now: datetime) -> "Deferral":
        """Fail closed: without its limits nothing is sent."""
        return cls(WaitReason.LIMITER_AWAY, now + LIMITER_PAUSE)


@dataclass(frozen=True, slots=True)
class Claim:
    """The rows that may be sent now, in order. Of the `wanted_count` rows looked for, `found_count` were there."""

    rows: Sequence[LockedRow]
    found_count: int
    wanted_count: int


class Serving:
    """Serves the campaigns of an account, for the turn `token`; it remembers what blocks whom."""

    def __init__(self, *, token: uuid.UUID, config: Config, limiter_of: LimiterOf) -> None:
        self._token = token
        self._config = config
        self._charger = Charger(config=config, limiter_of=limiter_of)

    def choose(self, plan: Plan, now: datetime, *, provider_is_away: bool) -> list[Candidate] | Deferral:
        """Return the campaigns to serve now, all of one owner; or why nothing can be sent, and until when.

        Whatever the wait is for, it ends when a campaign must stop at closing time.
        """
        choice = self._ready(plan, now, provider_is_away=provider_is_away)
        if isinstance(choice, Deferral):
            closings = [at for candidate in plan.candidates if (at := candidate.stops_at(now)) is not None]
            return replace(choice, until=min([choice.until, *closings]))
        return choice

    def claim_next(
        self, session: Session, plan: Plan, ready: Sequence[Candidate], *, now: datetime, room: int
    ) -> Claim:
        """Lock the rows that are next, charge every limit for them, and claim as many as all limits allow.

        The rows stay locked while the limiter is asked (a fraction of a millisecond), so that exactly what is charged
        is claimed.

        Commit before the calls begin; roll back when this raises. `plan` is the latest, `ready` are the campaigns to
        serve, from `choose`; `room` is the most rows to claim.

        Raises:
            LimiterUnavailable: the limiter's Redis is away; nothing may go.
        """
        by_id = {candidate.campaign_id: candidate for candidate in ready}
        paced = any(candidate.pacing.account_is_paced for candidate in ready)
        # On probation one message goes first: its answer is waited for before the next claim.
        sequence = self._sequence(ready, room=1 if paced or plan.account.on_probation else room)
        found = claiming.next_rows(session, plan=plan, counts=_counts(sequence, by_id), now=now)
        found_count = sum(map(len, found.values()))
        if not found:
            return Claim([], found_count, len(sequence))
        sendable = screening.sendable(session, found, candidates=by_id, now=now)
        rows = [sendable[campaign_id].pop(0) for campaign_id in sequence if sendable.get(campaign_id)]
        rows = screening.below_cap(session, rows, candidates=by_id, now=now)
        granted = self._charger.charge(session, plan, ready[0].owner_id, rows, now=now)
        if paced and granted:
            pace = by_id[granted[0].campaign_id].pacing
            if not resting.take_pace(session, account=plan.account, pace=pace, now=now):
                # Another turn was faster. Its permits are lost to us; the promise is kept all the same.
                return Claim([], found_count, len(sequence))
        claiming.claim(session, account=plan.account, token=self._token, rows=granted, now=now)
        paces = {row.campaign_id: by_id[row.campaign_id].pacing for row in granted}
        resting.delay_campaigns(session, account_id=plan.account.id, paces=paces, now=now)
        return Claim(granted, found_count, len(sequence))

    def note_crowded(self, now: datetime) -> None:
        """Rest a moment: other accounts of the same campaigns have locked the rows left, and will have sent them."""
        self._charger.block_account(now + CROWDED_PAUSE, WaitReason.OTHER_ACCOUNTS)

    def waits_for_a_limit(self, now: datetime) -> bool:
        """Whether a limit stopped this turn a moment ago, and so will stop it again."""
        return self._charger.by_a_limit(now)

    def _ready(self, plan: Plan, now: datetime, *, provider_is_away: bool) -> list[Candidate] | Deferral:
        if plan.account.paced_until is not None and plan.account.paced_until > now:
            reason = WaitReason.PROVIDER_UNREACHABLE if provider_is_away else _why_paced(plan, now)
            return Deferral(reason, plan.account.paced_until, _ids(plan))
        if (block := self._charger.account) is not None and block.until > now:
            return Deferral(block.reason, block.until, _ids(plan))
        ready: list[Candidate] = []
        waits: list[tuple[datetime, WaitReason]] = []
        for candidate in plan.candidates:
            ready_at, waits_for = candidate.ready(now)
            block = self._charger.owners.get(candidate.owner_id)
            if waits_for is not None:
                waits.append((ready_at, waits_for))
            elif block is not None and block.until > now:
                waits.append((block.until, block.reason))
            elif not ready or candidate.owner_id == ready[0].owner_id:
                ready.append(candidate)
        if ready:
            return ready
        until, reason = min(waits)
        return Deferral(reason, until, _ids(plan))

    def _sequence(self, ready: Sequence[Candidate], *, room: int) -> list[int]:
        """Return whose message goes next, `room` times at most."""
        waiting = {each.campaign_id: 1 if each.pacing.one_at_a_time else each.pending_count for each in ready}
        return fairness.interleave(waiting, order=list(waiting), quantum=self._config.campaign_batch, room=room)


def _counts(sequence: Sequence[int], candidates: Mapping[int, Candidate]) -> Counter[int]:
    """Return how many rows of each campaign to look at."""
    counts = Counter(sequence)
    for campaign_id in counts:
        if (hours := candidates[campaign_id].hours) is not None and hours.per_recipient:
            counts[campaign_id] = max(counts[campaign_id], LOOK_AHEAD)
    return counts


def _ids(plan: Plan) -> list[int]:
    return [candidate.campaign_id for candidate in plan.candidates]


def _why_paced(plan: Plan, now: datetime) -> WaitReason:
    throttled = Throttle(plan.account.throttle_step, plan.account.throttled_at)
    if throttled.step_at(now) and not any(candidate.pacing.account_is_paced for candidate in plan.candidates):
        return WaitReason.COOL_DOWN
    return WaitReason.PACING
