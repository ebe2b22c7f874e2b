"""The limiter: any number of limits, one round trip, all or none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from ratelimit import scripts
from ratelimit.adapters import LimitsBackend, peek_in_turn, take_in_turn
from ratelimit.connections import Client, Runner
from ratelimit.decision import Decision, to_us
from ratelimit.errors import CapabilityMissing, CostAboveCapacity, InvalidLimit
from ratelimit.limit import Limit
from ratelimit.scripts import Script

_HASH_TAG = re.compile(r"[^{}]*\{[^{}]+\}.*", re.DOTALL)
"""The first braces in a key; a Redis Cluster hashes the text between them, unless it is empty."""

_DEMANDING = frozenset({"", "distinct"})
"""What the short terms cannot serve: kinds that need members, and kinds that are not decided in Lua."""


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

    def acquire(
        self,
        limits: Sequence[Limit],
        count: int = 1,
        *,
        cost: int = 1,
        member: str | Sequence[str] | None = None,
        now_us: int | None = None,
    ) -> Decision:
        """Take up to `count` units: as many as every one of `limits` allows, or none.

        Args:
            limits: any number, of any kinds, with different keys. No limits at all grant everything.
            count: units asked for; the decision says how many were granted.
            cost: what one unit takes from each limit.
            member: for limits of the kind `distinct`: who each unit is for, one for each of `count` (a plain
                string when that is 1). The first `granted` of them are the ones that may go.
            now_us: the time in microseconds since the epoch, for tests; None or 0 is the clock of Redis.

        Side effects: one round trip. Every limit is charged with what was granted; a refusal changes nothing.
        Kinds of the `limits` library are asked one by one, in more round trips: see `ratelimit.adapters`.

        Raises:
            CostAboveCapacity: not even one unit can ever pass one of the limits.
            InvalidLimit: the call makes no sense: two limits with the same key, a member missing, ...
            LimiterUnavailable: Redis gave no decision.
        """
        kinds = frozenset([limit.lua for limit in limits])
        keys = [self.prefix + limit.tail for limit in limits]
        if count < 1 or (len(keys) > 1 and len(set(keys)) != len(keys)):
            raise InvalidLimit(_complaint(limits, count))
        if cost == 1 and member is None and not now_us and kinds.isdisjoint(_DEMANDING):
            script = self._script("acquire", "short", kinds)
            argv: list[object] = [count]
            for limit in limits:
                argv += limit.argv
            return Decision(tuple(limits), self._runner.run(script, len(keys), *keys, *argv))

        _check_cost(limits, cost)
        if "distinct" in kinds and member is None:
            raise InvalidLimit("a limit of the kind 'distinct' needs a member for each unit")
        members = _members(member, count)
        if "" not in kinds:
            return self._ask("acquire", limits, keys, count, cost, members, now_us)

        seen = self.peek(limits, count, cost=cost, member=member, now_us=now_us)
        if not seen.granted:
            return seen
        members = members[: seen.granted]
        return take_in_turn(
            self._limits_backend(),
            lambda ours: self.acquire(ours, seen.granted, cost=cost, member=members or None, now_us=now_us),
            seen,
            cost,
        )

    def peek(
        self,
        limits: Sequence[Limit],
        count: int = 1,
        *,
        cost: int = 1,
        member: str | Sequence[str] | None = None,
        now_us: int | None = None,
    ) -> Decision:
        """Answer as `acquire` would with the same arguments, with no effect; see `Decision.usage`.

        Without a `member`, a limit of the kind `distinct` is asked about members it has not met.

        Side effects: one round trip.

        Raises: as `acquire`.
        """
        keys = [self.prefix + limit.tail for limit in limits]
        if count < 1 or len(set(keys)) != len(keys):
            raise InvalidLimit(_complaint(limits, count))
        _check_cost(limits, cost)
        members = _members(member, count)
        if all(limit.lua for limit in limits):
            return self._ask("peek", limits, keys, count, cost, members, now_us)
        return peek_in_turn(
            self._limits_backend(),
            lambda ours: self.peek(ours, count, cost=cost, member=member, now_us=now_us),
            limits,
            cost,
        )

    def penalize(self, limit: Limit, *, until: datetime, now_us: int | None = None) -> None:
        """Let nothing pass before `until`, then exactly one unit, then the plain rate, with no burst.

        A penalty that is in force already is never shortened.

        Args:
            limit: a token bucket or a bucket.
            until: an aware datetime.
            now_us: as for `acquire`.

        Side effects: one round trip.

        Raises:
            CapabilityMissing: a limit of another kind.
            LimiterUnavailable: Redis gave no answer; the penalty may not be in force.
        """
        if limit.lua != "spacing":
            raise CapabilityMissing(f"a limit of the kind {limit.kind!r} cannot be penalised")
        key, argv = self.prefix + limit.tail, limit.parameters.argv
        self._runner.run(self._script("penalize"), 1, key, to_us(until), now_us or 0, *argv)

    def _ask(
        self,
        body: str,
        limits: Sequence[Limit],
        keys: Sequence[str],
        count: int,
        cost: int,
        members: Sequence[str],
        now_us: int | None,
    ) -> Decision:
        argv: list[object] = [count, now_us or 0, cost, len(members), *members]
        for limit in limits:
            argv += limit.argv
        script = self._script(body, "full", frozenset([limit.lua for limit in limits]))
        return Decision(tuple(limits), self._runner.run(script, len(keys), *keys, *argv))

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
        if cost > limit.capacity:
            raise CostAboveCapacity(name=limit.name, cost=cost, capacity=limit.capacity)
        if cost != 1 and limit.lua == "distinct":
            raise InvalidLimit("a limit of the kind 'distinct' counts members, so the cost must be 1")


def _complaint(limits: Sequence[Limit], count: int) -> str:
    if count < 1:
        return f"a count of {count} is not accepted: it must be at least 1"
    return f"two limits of one call have the same kind and key: {', '.join(limit.key for limit in limits)}"
