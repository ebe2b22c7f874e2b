"""The plan in hand: a turn follows it, and reads it anew as soon as it may be out of date."""

import time
from dataclasses import replace
from datetime import datetime

from campaign_engine.config import Config
from campaign_engine.rules import fairness
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.messages import planning
from campaign_engine.services.messages.planning import Line, Plan
from campaign_engine.services.messages.serving import Claim
from jobs.runtime import transaction

PLAN_S = 0.1
"""How long an unpaced turn relies on what it has read about the account and its campaigns: a change by a person takes
effect that much later at most.
"""


class PlanInHand:
    """What could be sent a moment ago. It is made with a first plan, so `latest` is never missing.

    `is_reused` says that the last call of `current` did not read `latest` anew.
    """

    def __init__(self, first: Plan, *, read_at: float, config: Config) -> None:
        self._config = config
        self.latest = first
        self.is_reused = False
        self._read_at = read_at
        self._is_stale = _changes_with_each_message(first)

    @classmethod
    def begin(cls, account_id: int, *, config: Config, line: Line) -> "PlanInHand | None":
        """Read the first plan of a turn; return None when there is nothing to send."""
        read_at = time.monotonic()
        first = _read(account_id, config=config, line=line)
        return cls(first, read_at=read_at, config=config) if first is not None else None

    def current(self) -> Plan | None:
        """Return what can be sent now, or None when there is nothing (more)."""
        self.is_reused = not self._is_stale and time.monotonic() < self._read_at + PLAN_S
        if self.is_reused:
            return self.latest
        read_at = time.monotonic()
        plan = _read(self.latest.account.id, config=self._config, line=self.latest.line)
        if plan is not None:
            self.latest, self._read_at, self._is_stale = plan, read_at, _changes_with_each_message(plan)
        return plan

    def mark_stale(self) -> None:
        """Make the next call of `current` read it anew."""
        self._is_stale = True

    def served(self, claim: Claim) -> None:
        """Take note of a claim: the campaigns of its rows come last now."""
        if claim.found_count < claim.wanted_count:
            self._is_stale = True  # Some campaign has less left than it seemed.
        self.latest = replace(self.latest, candidates=fairness.after_serving(self.latest.candidates, claim.rows))

    def stop_what_closes(self, now: datetime) -> bool:
        """Pause the campaigns that stop at closing time and whose hours are over; say whether there were any."""
        closing = [each.campaign_id for each in self.latest.candidates if each.stops_now(now)]
        for campaign_id in closing:
            with transaction() as session:
                lifecycle.pause_at_close(session, campaign_id)
        self._is_stale |= bool(closing)
        return bool(closing)


def _changes_with_each_message(plan: Plan) -> bool:
    """Whether each message changes the rows that the plan is read from, as a pace, a delay or a probation does."""
    return plan.account.on_probation or any(
        candidate.pacing.account_is_paced or candidate.pacing.one_at_a_time for candidate in plan.candidates
    )


def _read(account_id: int, *, config: Config, line: Line) -> Plan | None:
    with transaction() as session:
        plan = planning.plan(session, account_id, config=config, line=line)
    return plan if plan is not None and plan.candidates else None
