"""The limiter: any number of limits, one round trip, all or none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from ratelimit import scripts
from ratelimit.adapters import LimitsBackend, acquire_in_turn, peek_in_turn
from ratelimit.connections import Client, Runner
from ratelimit.decision import Charge, Decision, Receipt, to_us
from ratelimit.errors import CapabilityMissing, CostAboveCapacity, InvalidLimit
from ratelimit.kinds import Capability
from ratelimit.limit import Limit
from ratelimit.scripts import Script

_HASH_TAG = re.compile(r"[^{}]*\{[^{}]+\}.*", re.DOTALL)
"""The first braces in a key; a Redis Cluster hashes what is between them, unless that is nothing."""

PERMIT_TTL_S = 60.0
"""How long a grant is remembered under its permit: longer than any client waits before it tries again."""

_PLAIN = Charge()


class Limiter:
    """Decides about units of work under limits kept in Redis.

    Keeps scripts and a few connections, nothing about the limits, so one for each process is right and threads
    may share it. It opens no connection before the first call and uses none across a fork.

    Attributes:
        prefix: what every key starts with. It holds the hash tag, so that all keys of a call fall into one
            slot of a Redis Cluster: "rl" becomes "{rl}"; a prefix with braces of its own is taken as it is.
    """

    def __init__(self, client: Client, prefix: str = "rl") -> None:
        if not prefix:
            raise InvalidLimit("an empty prefix is not accepted")
        self.prefix = prefix if "{" in prefix or "}" in prefix else "{" + prefix + "}"
        if not _HASH_TAG.fullmatch(self.prefix):
            raise InvalidLimit(f"the prefix {prefix!r} has braces, but no hash tag like {{rl}}")
        self._client = client
        self._runner = Runner(client)
        self._scripts: dict[tuple[str, str, frozenset[str]], Script] = {}
        self._backend: LimitsBackend | None = None

    def under(self, prefix: str) -> Limiter:
        """This limiter with other keys, such as those of one tenant; it shares the connections."""
        other = Limiter(self._client, prefix)
        other._runner, other._scripts = self._runner, self._scripts
        return other

    def acquire(
        self,
        limits: Sequence[Limit],
        count: int = 1,
        *,
        cost: int = 1,
        member: str | Sequence[str] | None = None,
        permit: str | None = None,
        permit_ttl_s: float = PERMIT_TTL_S,
        now_us: int | None = None,
    ) -> Decision:
        """Take up to `count` units: as many as every one of `limits` allows, or none.

        Args:
            limits: any number, of any kinds, with different keys. No limits at all grant everything.
            count: units asked for; the decision says how many were granted.
            cost: what one unit takes from each limit.
            member: for limits of the kind `distinct`: who each unit is for, one for each of `count` (a plain
                string when that is 1). The first `granted` of them are the ones that may go.
            permit: the caller's id of this attempt. A call with the permit of an earlier grant gets that
                grant again and is charged nothing, so an attempt whose reply was lost can safely be repeated.
            permit_ttl_s: how long a permit is remembered, in seconds.
            now_us: the time in microseconds since the epoch, for tests; None or 0 is the clock of Redis.

        Side effects: one round trip. Every limit is charged with what was granted; a refusal changes nothing.
        Kinds of the `limits` library are asked after that one by one: see `ratelimit.adapters`.

        Raises:
            CostAboveCapacity: not even one unit can ever pass one of the limits.
            InvalidLimit: the call makes no sense: two limits with the same key, a member missing, ...
            LimiterUnavailable: Redis gave no decision.
        """
        kinds = frozenset([limit.lua for limit in limits])
        keys = [self.prefix + limit.tail for limit in limits]
        if count < 1 or (len(keys) > 1 and len(set(keys)) != len(keys)):
            raise InvalidLimit(_complaint(limits, count))
        if cost == 1 and member is None and permit is None and not now_us and kinds.isdisjoint(_DEMANDING):
            script = self._script("acquire", "short", kinds)
            argv: list[object] = [count]
            for limit in limits:
                argv += limit.argv
            return Decision(tuple(limits), self._runner.run(script, len(keys), *keys, *argv), _PLAIN)

        if "" in kinds:
            _check_cost(limits, cost)
            return acquire_in_turn(
                self._limits_backend(),
                lambda ours: self.acquire(
                    ours,
                    count,
                    cost=cost,
                    member=member,
                    permit=permit,
                    permit_ttl_s=permit_ttl_s,
                    now_us=now_us,
                ),
                self.refund,
                limits,
                cost,
            )
        if "distinct" in kinds and member is None:
            raise InvalidLimit("a limit of the kind 'distinct' needs a member for each unit")
        charge = Charge(cost, _members(member, count), permit)
        permit_ms = 0
        if permit is not None:
            permit_ms = max(int(permit_ttl_s * 1000), 1)
            keys.append(f"{self.prefix}:p:{permit}")
        reply = self._ask("acquire", limits, keys, count, charge, permit_ms, now_us)
        return Decision(tuple(limits), reply, charge)

    def peek(
        self,
        limits: Sequence[Limit],
        count: int = 1,
        *,
        cost: int = 1,
        member: str | Sequence[str] | None = None,
        now_us: int | None = None,
    ) -> Decision:
        """What `acquire` with the same arguments would answer, with no effect; see `Decision.usage`.

        Without a `member`, a limit of the kind `distinct` is asked about members it has not met.

        Side effects: one round trip.

        Raises: as `acquire`.
        """
        keys = [self.prefix + limit.tail for limit in limits]
        if count < 1 or len(set(keys)) != len(keys):
            raise InvalidLimit(_complaint(limits, count))
        if any(not limit.lua for limit in limits):
            return peek_in_turn(
                self._limits_backend(),
                lambda ours: self.peek(ours, count, cost=cost, member=member, now_us=now_us),
                limits,
                cost,
            )
        charge = Charge(cost, _members(member, count))
        return Decision(tuple(limits), self._ask("peek", limits, keys, count, charge, 0, now_us), None)

    def refund(self, receipt: Receipt, count: int | None = None) -> int:
        """Take back the last `count` units of a grant (all when None), where that cannot break a promise.

        A token bucket gives a unit back only while nothing has been charged since, because later charges were
        spaced from this one. The exact kinds always give it back. Use a receipt once, and only for units that
        were certainly not spent: after a time-out the other side may have counted them.

        Side effects: one round trip; the permit of the grant is forgotten.

        Returns how many units were taken back from every limit of the receipt; a limit that could not be
        undone keeps its charge.

        Raises:
            InvalidLimit: `count` is not between 0 and what the receipt grants.
            LimiterUnavailable: Redis gave no answer.
        """
        units = receipt.granted if count is None else count
        if not 0 <= units <= receipt.granted:
            raise InvalidLimit(f"{units} units of a grant of {receipt.granted} cannot be refunded")
        able = [limit for limit in receipt.limits if Capability.REFUND in limit.capabilities]
        if units == 0 or not able:
            return 0 if receipt.limits else units
        keys = [self.prefix + limit.tail for limit in able]
        argv: list[object] = [len(keys), units, receipt.granted, receipt.charge.cost, receipt.charged_us]
        before = iter(receipt.undo)
        for limit, level in zip(receipt.limits, receipt.levels, strict=True):
            if limit not in able:
                continue
            argv.append(limit.strategy.letter)
            if limit.lua == "spacing":
                argv += (limit.plan.interval_us, level)
            elif limit.lua == "distinct":
                for member in receipt.charge.members[: receipt.granted]:
                    argv += (member, next(before))
        if receipt.charge.permit is not None:
            keys.append(f"{self.prefix}:p:{receipt.charge.permit}")
        undone: list[int] = self._runner.run(self._script("refund"), len(keys), *keys, *argv)
        return min(undone) if len(able) == len(receipt.limits) else 0

    def penalize(self, *targets: str | Limit, until: datetime, now_us: int | None = None) -> None:
        """Let nothing pass before `until`; what is in force already is never shortened.

        Args:
            targets: the key of a limit of the kind `until`; or a limit. A token bucket or bucket is also
                emptied: exactly one unit passes at `until` and the plain rate follows, with no burst.
            until: an aware datetime.
            now_us: as for `acquire`.

        Side effects: one round trip.

        Raises:
            CapabilityMissing: a limit of another kind.
            LimiterUnavailable: Redis gave no answer; the penalty may not be in force.
        """
        limits = [_target(target) for target in targets]
        argv: list[object] = [to_us(until), now_us or 0]
        for limit in limits:
            if Capability.PENALTY not in limit.capabilities:
                raise CapabilityMissing(f"a limit of the kind {limit.kind!r} cannot be penalised")
            argv += limit.argv
        if limits:
            keys = [self.prefix + limit.tail for limit in limits]
            self._runner.run(self._script("penalize"), len(keys), *keys, *argv)

    def clear(self, *targets: str | Limit) -> None:
        """Forget all that is known of the targets (as for `penalize`), as if nothing had ever been used.

        Side effects: one round trip. What a limit promises counts anew from here.

        Raises:
            CapabilityMissing: a limit of the `limits` library.
            LimiterUnavailable: Redis gave no answer.
        """
        limits = [_target(target) for target in targets]
        if any(not limit.lua for limit in limits):
            raise CapabilityMissing("a limit of the `limits` library is cleared with that library")
        if limits:
            self._runner.command("DEL", *(self.prefix + limit.tail for limit in limits))

    def _ask(
        self,
        body: str,
        limits: Sequence[Limit],
        keys: list[str],
        count: int,
        charge: Charge,
        permit_ms: int,
        now_us: int | None,
    ) -> list[int]:
        _check_cost(limits, charge.cost)
        members = charge.members
        argv: list[object] = [count, now_us or 0, charge.cost, permit_ms, len(members), *members]
        for limit in limits:
            argv += limit.argv
        script = self._script(body, "full", frozenset([limit.lua for limit in limits]))
        reply: list[int] = self._runner.run(script, len(keys), *keys, *argv)
        return reply

    def _script(self, body: str, terms: str = "", kinds: frozenset[str] = frozenset()) -> Script:
        script = self._scripts.get((body, terms, kinds))
        if script is None:
            script = scripts.decision(body, terms, kinds) if terms else scripts.assemble(body)
            self._scripts[body, terms, kinds] = script
        return script

    def _limits_backend(self) -> LimitsBackend:
        if self._backend is None:
            self._backend = LimitsBackend(self._client, self.prefix)
        return self._backend


_DEMANDING = frozenset({"", "distinct"})
"""What the short terms cannot serve: kinds that need members, and kinds that are not decided in Lua."""


def _target(target: str | Limit) -> Limit:
    return Limit(name=target, key=target, kind="until") if isinstance(target, str) else target


def _members(member: str | Sequence[str] | None, count: int) -> tuple[str, ...]:
    if member is None:
        return ()
    members = (member,) if isinstance(member, str) else tuple(member)
    if len(members) != count:
        raise InvalidLimit(f"{len(members)} members were given for {count} units: one for each is accepted")
    return members


def _check_cost(limits: Sequence[Limit], cost: int) -> None:
    if cost < 1:
        raise InvalidLimit(f"a cost of {cost} is not accepted: it must be at least 1")
    for limit in limits:
        if cost > limit.plan.capacity:
            raise CostAboveCapacity(name=limit.name, cost=cost, capacity=limit.plan.capacity)
        if cost != 1 and limit.lua == "distinct":
            raise InvalidLimit("a limit of the kind 'distinct' counts members, so the cost must be 1")


def _complaint(limits: Sequence[Limit], count: int) -> str:
    if count < 1:
        return f"a count of {count} is not accepted: it must be at least 1"
    return f"two limits of one call have the same kind and key: {', '.join(limit.key for limit in limits)}"
