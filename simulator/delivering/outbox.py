"""The webhooks of one line on their way: a few at a time, again when refused, and given up in the end.

This module knows no wire: a webhook is signed bytes, an update is anything that can be told that it arrived.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from simulator.behaviour import Behaviour
from simulator.state.lines import Line


class Update(Protocol):
    """One thing a receiver is told."""

    @property
    def phone_number_id(self) -> str: ...

    def acknowledged(self) -> None:
        """Note that a webhook with this update was answered with 200."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A webhook as its wire writes it; an answer in `final_refusals` is not tried again."""

    body: bytes
    headers: Mapping[str, str]
    final_refusals: frozenset[int] = frozenset()


@dataclass(slots=True)
class DeliveryCounts:
    """Counts of updates by where they are (`pending` includes those not due yet), and of attempts of whole webhooks."""

    sent: int = 0
    pending: int = 0
    failed: int = 0
    attempts: int = 0
    attempts_refused: int = 0


@dataclass(slots=True)
class Webhook:
    request: SignedRequest
    updates: Sequence[Update]
    attempts: int = 0


class Outbox:
    """Posts the webhooks of one line; a slow or dead receiver holds up nobody else's."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        behaviour: Callable[[], Behaviour],
        line: Callable[[], Line | None],
        counts: DeliveryCounts,
    ) -> None:
        self._session = session
        self._behaviour = behaviour
        self._line = line
        self._counts = counts
        self._ready: deque[Webhook] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._retries: set[asyncio.TimerHandle] = set()

    def put(self, webhook: Webhook) -> None:
        self._ready.append(webhook)
        self._start_what_may_start()

    def cancel(self) -> list[asyncio.Task[None]]:
        """Give up everything and return the tasks that are still ending."""
        self._ready.clear()
        for retry in self._retries:
            retry.cancel()
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        return tasks

    def _start_what_may_start(self) -> None:
        while self._ready and len(self._under_way) < self._behaviour().webhook_concurrency:
            task = asyncio.get_running_loop().create_task(self._attempt(self._ready.popleft()))
            self._under_way.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            self._start_what_may_start()

    async def _attempt(self, webhook: Webhook) -> None:
        webhook.attempts += 1
        self._counts.attempts += 1
        status = await self._post(webhook.request)
        if status == 200:
            self._counts.pending -= len(webhook.updates)
            self._counts.sent += len(webhook.updates)
            for update in webhook.updates:
                update.acknowledged()
            return
        self._counts.attempts_refused += 1
        is_final = status in webhook.request.final_refusals
        if is_final or webhook.attempts >= self._behaviour().webhook_attempts:
            self._counts.pending -= len(webhook.updates)
            self._counts.failed += len(webhook.updates)
            return
        self._retry_later(webhook)

    async def _post(self, request: SignedRequest) -> int | None:
        """Post once and return the status. Anything but 200 is a refusal (docs/wire.md, Webhook delivery)."""
        line = self._line()
        if line is None or line.webhook_url is None:
            return None
        try:
            async with self._session.post(
                line.webhook_url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self._behaviour().webhook_timeout_ms / 1000),
            ) as response:
                return response.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None

    def _retry_later(self, webhook: Webhook) -> None:
        """Try again: the first time at once, then with waits that double."""
        behaviour = self._behaviour()
        wait_ms = 0.0
        if webhook.attempts > 1:
            doubled = behaviour.webhook_retry_ms * 2.0 ** min(webhook.attempts - 2, 60)
            wait_ms = min(doubled, behaviour.webhook_retry_longest_ms)

        def again() -> None:
            self._retries.discard(handle)
            self.put(webhook)

        handle = asyncio.get_running_loop().call_later(wait_ms / 1000, again)
        self._retries.add(handle)
