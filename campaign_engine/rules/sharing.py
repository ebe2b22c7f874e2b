"""How several rates share what limits them together: max-min fair, by filling up.

All rates rise together from zero. When something shared is full, the rates that use it stop, and the others rise on.
"""

import heapq
from collections.abc import Hashable
from dataclasses import dataclass, field
from math import inf

_NOTHING = 1e-12


class Sharing:
    """One distribution: add rates, bind them to what they share, and fill up once."""

    def __init__(self) -> None:
        self._shared: dict[Hashable, _Shared] = {}
        self._bonds: list[list[tuple[_Shared, float]]] = []  # of each item: what it uses, and how much of it
        self._own: list[tuple[float, int]] = []  # (the most of an item, item), as a heap

    def add(self, *, most: float) -> int:
        """Add a rate that does not rise above `most`; return its number."""
        item = len(self._bonds)
        self._bonds.append([])
        if most < inf:
            heapq.heappush(self._own, (most, item))
        return item

    def bind(self, item: int, to: Hashable, *, capacity: float, weight: float) -> None:
        """Bind a rate to the shared capacity of `to`: each unit of the rate uses `weight` of it."""
        shared = self._shared.get(to)
        if shared is None:
            shared = self._shared[to] = _Shared(to, capacity)
        shared.rising += weight
        shared.items.append(item)
        self._bonds[item].append((shared, weight))

    def fill(self) -> list[tuple[float, Hashable | None]]:
        """Return each rate with what stopped it, in the order of adding; None where that was its own `most`.

        A rate that nothing stops is infinite.
        """
        found: list[tuple[float, Hashable | None] | None] = [None] * len(self._bonds)
        open_ = list(self._shared.values())
        while True:
            open_ = [shared for shared in open_ if shared.rising > _NOTHING]
            tightest = min(open_, key=_Shared.full_at, default=None)
            while self._own and found[self._own[0][1]] is not None:
                heapq.heappop(self._own)
            level = tightest.full_at() if tightest is not None else inf
            if self._own and self._own[0][0] <= level:
                most, item = heapq.heappop(self._own)
                self._stop(found, item, most, None)
            elif tightest is not None:
                for item in tightest.items:
                    if found[item] is None:
                        self._stop(found, item, level, tightest.name)
                tightest.rising = 0.0
            else:
                return [each or (inf, None) for each in found]

    def _stop(
        self, found: list[tuple[float, Hashable | None] | None], item: int, level: float, by: Hashable | None
    ) -> None:
        found[item] = level, by
        for shared, weight in self._bonds[item]:
            shared.rising -= weight
            shared.taken += weight * level


@dataclass(slots=True, eq=False)
class _Shared:
    """Something that several rates share."""

    name: Hashable
    capacity: float
    taken: float = 0.0  # by the rates that have stopped
    rising: float = 0.0  # weight of those that still rise
    items: list[int] = field(default_factory=list)

    def full_at(self) -> float:
        """Return at which level of the rising rates it is full."""
        return max(0.0, self.capacity - self.taken) / self.rising
