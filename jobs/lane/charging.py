"""Charging a turn's rows: every limit in one call, and what has been found blocked, until when and why."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.providers import traits_of
from campaign_engine.rules.cool_down import Throttle
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.company import limits
from campaign_engine.services.messages import claiming
from campaign_engine.services.messages.claiming import Waiting
from campaign_engine.services.messages.planning import Plan
from jobs.runtime import Runtime
from ratelimit import Decision, Limit, Usage

LATELY = timedelta(seconds=1)
"""A limit that was spent so short a time ago will be spent again with the next message."""

_REASON_OF_LIMIT = {
    limits.ACCOUNT_LIMIT: WaitReason.ACCOUNT_LIMIT,
    limits.SLOWED_LIMIT: WaitReason.COOL_DOWN,
    limits.WARM_UP_LIMIT: WaitReason.WARM_UP,
    limits.PORTFOLIO_LIMIT: WaitReason.DAILY_RECIPIENTS,
}
OF_LIMITS = frozenset({*_REASON_OF_LIMIT.values(), WaitReason.USER_LIMIT})
"""Waits that are over at their time, whatever the calls in flight are answered."""


class Charger:
    """Charges the limits of one turn, and remembers what is blocked, so that it is not asked for again.

    `account_until` and `account_reason` say what blocks the account, `owners_until` which owners are blocked.
    """

    def __init__(self, current: Runtime) -> None:
        self._current = current
        self.account_until: datetime | None = None
        self.account_reason = WaitReason.ACCOUNT_LIMIT
        self.owners_until: dict[int, datetime] = {}

    def by_a_limit(self) -> bool:
        """Whether a limit has stopped this turn a moment ago, and so will again."""
        lately = utc_now() - LATELY
        of_account = self.account_until if self.account_reason in OF_LIMITS else None
        return any(until is not None and until > lately for until in (of_account, *self.owners_until.values()))

    def charge(self, session: Session, plan: Plan, owner_id: int, rows: Sequence[Waiting]) -> list[Waiting]:
        """Charge the limits for the rows, in order; return those that may go.

        Rows with a limit of their own (a retry, a recipient met lately) are charged one by one, all others in one call.

        Side effects: rows that their own limit blocks wait for their time.

        Raises:
            LimiterUnavailable: the limiter's Redis is away; nothing may go.
        """
        granted: list[Waiting] = []
        plain: list[Waiting] = []
        for row in rows:
            own = self._own_limits(plan, row)
            if not own:
                plain.append(row)
                continue
            decision = self._acquire(plan, owner_id, [row], own)
            if decision.granted:
                granted.append(row)
            elif decision.retry_at is not None and decision.blocked_by in {limit.name for limit in own}:
                claiming.postpone(session, [(row, decision.retry_at)])
            else:
                return granted
        if plain:
            granted += plain[: self._acquire(plan, owner_id, plain, []).granted]
        return granted

    def block_account(self, until: datetime, reason: WaitReason) -> None:
        """Note that the account may not send until then; what blocks it longest counts."""
        if self.account_until is None or until > self.account_until:
            self.account_until, self.account_reason = until, reason

    def _own_limits(self, plan: Plan, row: Waiting) -> list[Limit]:
        own = []
        if row.is_retry:
            own.append(limits.of_retry(row.message_id, self._current.config))
        if row.met_lately and traits_of(plan.account.provider).has_pair_limit:
            own.append(limits.of_pair(plan.account, row.phone_key))
        return own

    def _acquire(self, plan: Plan, owner_id: int, rows: Sequence[Waiting], own: Sequence[Limit]) -> Decision:
        """Charge every limit for the rows, in one call; remember when each shared one lets the next through."""
        shared = limits.of_send(plan.account, owner_id, plan.company, self._current.config, now=utc_now())
        charged = [*own, *shared]
        needs_members = any(limit.kind == "distinct" for limit in shared)
        decision = self._current.limiter(plan.company.id).acquire(
            charged, count=len(rows), member=[row.phone_key for row in rows] if needs_members else None
        )
        *of_account, of_owner = decision.usage[len(own) :]
        for usage in of_account:
            if usage.next_at is not None:
                self.block_account(self._look_again_at(plan, usage), _REASON_OF_LIMIT[usage.limit.name])
        if of_owner.next_at is not None:
            self.owners_until[owner_id] = of_owner.next_at
        return decision

    def _look_again_at(self, plan: Plan, usage: Usage) -> datetime:
        """Return when a limit lets the next one through, or a slowed one gives way to a quicker one."""
        assert usage.next_at is not None  # noqa: S101 - it blocks
        throttled = Throttle(plan.account.throttle_step, plan.account.throttled_at)
        recovers_at = throttled.recovers_at(utc_now()) if usage.limit.name == limits.SLOWED_LIMIT else None
        return usage.next_at if recovers_at is None else min(usage.next_at, recovers_at)
