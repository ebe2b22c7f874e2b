"""The calls of a turn: as many at once as the account may have in flight, fed continuously.

A turn hands over claimed rows and takes back what became of them, in whatever order the answers come; there is no
barrier, so one slow answer holds up nobody. Each request is marked in the journal as it leaves.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from campaign_engine.clock import utc_now
from campaign_engine.providers.base import ErrorClass, Lost, Outcome, Outgoing, Provider, Sender
from campaign_engine.rules import content as content_rules
from campaign_engine.rules import rendering
from campaign_engine.rules.states import MessageStatus
from campaign_engine.services.sending import Settlement, Waiting, settlement_of
from jobs.journal import Journal

ROWS_PER_CALL = 2
"""Rows in hand for each call in flight: one is being sent, one waits, so that no call waits for a claim."""

GATHER_S = 0.02
"""How long answers are gathered after the first one: many rows in one statement, and nobody waits for long."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one row: its settlement, and the provider's answer where there was a call."""

    row: Waiting
    settlement: Settlement
    outcome: Outcome | None


class Pipeline:
    """Calls in flight and waiting to begin. Used by one thread; the calls run on others."""

    def __init__(
        self, *, provider: Provider, sender: Sender, journal: Journal, threads: Executor, max_in_flight: int
    ) -> None:
        self._capacity = ROWS_PER_CALL * max_in_flight
        self._provider = provider
        self._sender = sender
        self._journal = journal
        self._threads = threads
        self._calls: dict[Future[Outcome], Waiting] = {}
        self._ended: SimpleQueue[Future[Outcome]] = SimpleQueue()
        self._without_call: list[Sent] = []
        self.fault: Exception | None = None
        """What a call raised although no provider may raise: a bug. The turn ends once all that is known is settled."""

    @property
    def in_hand(self) -> int:
        """Rows handed over whose fate has not been taken back."""
        return len(self._calls) + len(self._without_call)

    @property
    def room(self) -> int:
        """How many more rows to hand over, so that every call in flight has its successor at hand."""
        return self._capacity - self.in_hand

    @property
    def has_room(self) -> bool:
        """Whether a claim is worth its statements: a claim of a few rows costs as many as one of many."""
        return self.room >= max(1, self._capacity // 3)

    def feed(self, rows: Sequence[Waiting], *, contents: Mapping[int, Mapping[str, Any]]) -> None:
        """Hand over claimed rows, in the order of sending; `contents` is what each campaign says, by campaign id."""
        for row in rows:
            try:
                content = content_rules.render(contents[row.campaign_id], row.variables)
            except rendering.TemplateError as error:
                self._without_call.append(Sent(row, _cannot_render(row, str(error)), None))
                continue
            call = self._threads.submit(self._call, row, content, self._journal.reserve(row.message_id))
            self._calls[call] = row
            call.add_done_callback(self._ended.put)

    def take(self) -> list[Sent]:
        """Wait until something is known of a row, gather for a moment, and return all that is known."""
        taken, self._without_call = self._without_call, []
        gather_until = 0.0
        while self._calls:
            try:
                call = self._ended.get(timeout=max(0.0, gather_until - time.monotonic()) if taken else None)
            except Empty:
                break
            if call not in self._calls:
                continue  # It was recalled.
            if not taken:
                gather_until = time.monotonic() + GATHER_S
            taken.append(self._fate_of(call))
        return taken

    def recall(self) -> list[Sent]:
        """Call back the rows whose calls have not begun; they are settled as if they had not been claimed."""
        recalled = []
        for call, row in list(self._calls.items()):
            if call.cancel():
                del self._calls[call]
                settlement = Settlement(row.message_id, MessageStatus.PENDING, utc_now(), attempt_counts=False)
                recalled.append(Sent(row, settlement, None))
        return recalled

    def abort(self) -> None:
        """Let no further call begin, and wait for those that have: whatever comes after must not race with them."""
        for call in self._calls:
            call.cancel()
        while self._calls:
            self._calls.pop(self._ended.get(), None)

    def _fate_of(self, call: Future[Outcome]) -> Sent:
        row = self._calls.pop(call)
        fault = call.exception()
        if isinstance(fault, Exception):
            self.fault = fault
        outcome = Lost(f"internal error: {type(fault).__name__}") if fault is not None else call.result()
        return Sent(row, settlement_of(row, outcome, now=utc_now()), outcome)

    def _call(self, row: Waiting, content: Mapping[str, Any], leaving: Callable[[], None]) -> Outcome:
        message = Outgoing(to=row.phone, content=content, callback_data=str(row.message_id))
        return self._provider.send(self._sender, message, leaving=leaving)


def _cannot_render(row: Waiting, detail: str) -> Settlement:
    return Settlement(
        row.message_id,
        MessageStatus.FAILED,
        utc_now(),
        error_class=ErrorClass.RECIPIENT,
        error_code="cannot_render",
        error_detail=detail,
    )
