"""How an update reaches its receiver: it waits until it is due, then travels with all others that are due."""

import asyncio
import heapq
from collections.abc import Callable, Iterable, Sequence
from itertools import count

import aiohttp

from simulator.behaviour import Behaviour
from simulator.delivering.outbox import DeliveryCounts, Outbox, SignedRequest, Update, Webhook
from simulator.state.lines import Line

Pack = Callable[[Line, Sequence[Update]], Iterable[tuple[SignedRequest, Sequence[Update]]]]
"""Puts updates of one line that are due together into webhooks, in their order and in the form of its wire."""


class Delivery:
    """Holds updates until they are due, and hands them, in batches, to the outbox of their line."""

    def __init__(
        self,
        *,
        now: Callable[[], float],
        behaviour: Callable[[], Behaviour],
        line: Callable[[str], Line | None],
        pack: Pack,
    ) -> None:
        self._now = now
        self._behaviour = behaviour
        self._line = line
        self._pack = pack
        self._due: list[tuple[float, int, Update]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._last_batch_at = 0.0
        self._outboxes: dict[str, Outbox] = {}
        self._session: aiohttp.ClientSession | None = None
        self.counts = DeliveryCounts()

    def put(self, update: Update, due_at: float) -> None:
        """Take an update that is due at this time (Unix seconds; the past means at once)."""
        heapq.heappush(self._due, (due_at, next(self._order), update))
        self.counts.pending += 1
        if due_at < self._timer_at:
            self._arm()

    async def clear(self) -> None:
        """Forget everything that waits or is under way, and every count."""
        self._due.clear()
        self._disarm()
        outboxes, self._outboxes = self._outboxes, {}
        self.counts = DeliveryCounts()
        cancelled = [task for outbox in outboxes.values() for task in outbox.cancel()]
        await asyncio.gather(*cancelled, return_exceptions=True)

    async def close(self) -> None:
        await self.clear()
        if self._session is not None:
            await self._session.close()

    def _arm(self) -> None:
        """Set the timer for when something is due and the time of the last batch is over."""
        self._disarm()
        if self._due:
            batch_s = self._behaviour().webhook_batch_ms / 1000
            self._timer_at = max(self._due[0][0], self._last_batch_at + batch_s)
            wait_s = max(0.0, self._timer_at - self._now())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._send_what_is_due)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_at = float("inf")

    def _send_what_is_due(self) -> None:
        now = self._now()
        self._last_batch_at = now
        by_line: dict[str, list[Update]] = {}
        while self._due and self._due[0][0] <= now:
            update = heapq.heappop(self._due)[2]
            by_line.setdefault(update.phone_number_id, []).append(update)
        size = self._behaviour().webhook_batch_size
        for phone_number_id, updates in by_line.items():
            for start in range(0, len(updates), size):
                self._post(phone_number_id, updates[start : start + size])
        self._arm()

    def _post(self, phone_number_id: str, updates: Sequence[Update]) -> None:
        line = self._line(phone_number_id)
        if line is None or line.webhook_url is None:
            self.counts.pending -= len(updates)
            self.counts.failed += len(updates)
            return
        for request, packed in self._pack(line, updates):
            self._outbox(phone_number_id).put(Webhook(request, packed))

    def _outbox(self, phone_number_id: str) -> Outbox:
        outbox = self._outboxes.get(phone_number_id)
        if outbox is None:
            outbox = self._outboxes[phone_number_id] = Outbox(
                self._open_session(),
                behaviour=self._behaviour,
                line=lambda: self._line(phone_number_id),
                counts=self.counts,
            )
        return outbox

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=0),
                headers={"User-Agent": "facebookexternalua"},
            )
        return self._session
