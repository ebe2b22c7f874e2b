"""Charge rows that may be sent to all their limits, in one call; and remember what is blocked, until when and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.core import traits_of
from campaign_engine.rules.waiting import OF_A_LIMIT, WaitReason
from campaign_engine.services.company import limits
from campaign_engine.services.company.limits import Binding, Binds, LimiterOf
from campaign_engine.services.messages import claiming
from campaign_engine.services.messages.claiming import LockedRow
from campaign_engine.services.messages.planning import Plan
from ratelimit import Decision

LATELY = timedelta(seconds=1)
"""If a limit was spent this short a time ago, the next message will spend it again."""


@dataclass(frozen=True, slots=True)
class Block:
    """Until when nothing can go, and why."""

    until: datetime
    reason: WaitReason


class Charger:
    """Charges the limits of one turn, and remembers what is blocked, so as not to ask for it again.

    `account` says what blocks the account, `owners` what blocks which owners.
    """

    def __init__(self, *, config: Config, limiter_of: LimiterOf) -> None:
        self._config = config
        self._limiter_of = limiter_of
        self.account: Block | None = None
        self.owners: dict[int, Block] = {}

    def by_a_limit(self, now: datetime) -> bool:
        """Whether a limit stopped this turn a moment ago, and so will stop it again."""
        lately = now - LATELY
        blocks = [*self.owners.values(), *([self.account] if self.account is not None else [])]
        return any(block.until > lately and block.reason in OF_A_LIMIT for block in blocks)

    def charge(
        self, session: Session, plan: Plan, owner_id: int, rows: Sequence[LockedRow], *, now: datetime
    ) -> list[LockedRow]:
        """Charge the limits for the rows, in order; return those that may go.

        Rows with a limit of their own (a retry, a recipient met lately) are charged one by one, all others in one call.

        Side effects: a row that its own limit blocks waits until its time.

        Raises:
            LimiterUnavailable: the limiter's Redis is away; nothing may go.
        """
        shared = limits.of_send(plan.account, owner_id, plan.company, self._config, now=now)
        granted: list[LockedRow] = []
        plain: list[LockedRow] = []
        for row in rows:
            own = self._of_row(plan, row)
            if not own:
                plain.append(row)
                continue
            decision = self._acquire(plan, owner_id, [row], [*own, *shared])
            if decision.granted:
                granted.append(row)
                continue
            stopped_by, until = _last_to_open([*own, *shared], decision)
            if stopped_by.binds is not Binds.ROW:
                return granted
            claiming.postpone(session, [(row, until)])
        if plain:
            granted += plain[: self._acquire(plan, owner_id, plain, shared).granted]
        return granted

    def block_account(self, until: datetime, reason: WaitReason) -> None:
        """Note that the account may not send until then; the longest block counts."""
        if self.account is None or until > self.account.until:
            self.account = Block(until, reason)

    def _of_row(self, plan: Plan, row: LockedRow) -> list[Binding]:
        own = []
        if row.is_retry:
            own.append(limits.of_retry(row.message_id, self._config))
        if row.met_lately and traits_of(plan.account.provider).has_pair_limit:
            own.append(limits.of_pair(plan.account, row.phone_key))
        return own

    def _acquire(self, plan: Plan, owner_id: int, rows: Sequence[LockedRow], bindings: Sequence[Binding]) -> Decision:
        """Charge every limit for the rows, in one call; remember when each shared limit lets the next row through."""
        needs_members = any(binding.limit.kind == "distinct" for binding in bindings)
        decision = self._limiter_of(plan.company.id).acquire(
            [binding.limit for binding in bindings],
            count=len(rows),
            member=[row.phone_key for row in rows] if needs_members else None,
        )
        for binding, usage in zip(bindings, decision.usage, strict=True):
            if usage.next_at is not None:
                self._note(binding, usage.next_at, owner_id)
        return decision

    def _note(self, binding: Binding, until: datetime, owner_id: int) -> None:
        if binding.gives_way_at is not None:
            until = min(until, binding.gives_way_at)
        if binding.binds is Binds.ACCOUNT:
            self.block_account(until, binding.reason)
        elif binding.binds is Binds.OWNER:
            self.owners[owner_id] = Block(until, binding.reason)


def _last_to_open(bindings: Sequence[Binding], decision: Decision) -> tuple[Binding, datetime]:
    """Return the limit that refuses longest, and until when."""
    openings = [
        (binding, usage.next_at)
        for binding, usage in zip(bindings, decision.usage, strict=True)
        if usage.next_at is not None
    ]
    return max(openings, key=lambda opening: opening[1])
