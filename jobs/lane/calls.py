"""The calls of a turn: as many at once as the account may have in flight, fed continuously.

A turn hands over claimed rows and takes back what became of them, in the order in which the answers come. There is no
barrier, so one slow answer holds up nobody. Each request is marked in the journal as it leaves.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event

from campaign_engine.clock import utc_now
from campaign_engine.json_types import Json
from campaign_engine.providers.base import Lost, Outcome, Outgoing, Provider, Sender
from campaign_engine.rules.failures import ErrorClass
from campaign_engine.rules.states import MessageStatus
from campaign_engine.rules.texts import content as content_rules
from campaign_engine.rules.texts import rendering
from campaign_engine.services.messages.claiming import LockedRow
from campaign_engine.services.messages.settling import Settlement, settlement_of
from jobs.lane.journal import Journal
from jobs.lane.threads import CallThreads

AHEAD_S = 0.1
"""A turn claims rows ahead of its calls, enough for this time: so long that no call waits for statements, so short that
a pause holds at once.
"""

MOST_AHEAD = 2
"""The most rows claimed ahead, for each call in flight."""

STOP_LOOK_S = 0.2
"""How often a turn that waits for answers checks whether its process must end."""

GATHER_S = 0.03
"""How long answers are gathered after the first one, so that one statement writes many rows and nobody waits long."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one row: its settlement, and the provider's answer where there was a call."""

    row: LockedRow
    settlement: Settlement
    outcome: Outcome | None

    @property
    def attempts_made(self) -> int:
        """How often it has been tried, this time included if it counts."""
        return self.row.attempts + self.settlement.attempt_counts


@dataclass(frozen=True, slots=True, eq=False)
class RowCall:
    """The call for one row; says in `ended` what came of it, whatever that was."""

    row: LockedRow
    content: Json
    leaving: Callable[[], None]
    provider: Provider
    sender: Sender
    ended: "SimpleQueue[tuple[RowCall, Outcome | Exception]]"

    def __call__(self) -> None:
        message = Outgoing(to=self.row.phone, content=self.content, callback_data=str(self.row.message_id))
        try:
            outcome: Outcome | Exception = self.provider.send(self.sender, message, leaving=self.leaving)
        except Exception as error:  # noqa: BLE001 - a bug; the turn raises it once all results are settled
            outcome = error
        self.ended.put((self, outcome))


class Pipeline:
    """Calls in flight and waiting to begin. Used by one thread; the calls run on others."""

    def __init__(
        self,
        *,
        provider: Provider,
        sender: Sender,
        journal: Journal,
        threads: CallThreads[RowCall],
        max_in_flight: int,
        stopping: Event,
    ) -> None:
        self._max_in_flight = max_in_flight
        self._ahead = max_in_flight  # until it is known how fast the provider answers
        self._taken_at = time.monotonic()
        self._provider = provider
        self._sender = sender
        self._journal = journal
        self._threads = threads
        self._stopping = stopping
        self._call_count = 0
        self._ended: SimpleQueue[tuple[RowCall, Outcome | Exception]] = SimpleQueue()
        self._without_call: list[Sent] = []
        self.fault: Exception | None = None
        """What a call raised although no provider may raise: a bug. The turn ends once all results are settled."""

    @property
    def in_hand(self) -> int:
        """How many rows were handed over and not taken back yet."""
        return self._call_count + len(self._without_call)

    @property
    def room(self) -> int:
        """How many more rows to hand over, so that after every call in flight the next row is ready."""
        return self._max_in_flight + self._ahead - self.in_hand

    @property
    def has_room(self) -> bool:
        """Whether a claim is worth its statements: a claim of a few rows costs as many as one of many."""
        return self.room >= max(1, (self._max_in_flight + self._ahead) // 3)

    def feed(self, rows: Sequence[LockedRow], *, contents: Mapping[int, Json]) -> None:
        """Hand over claimed rows, in the order of sending; `contents` is what each campaign says, by campaign id."""
        for row in rows:
            try:
                content = content_rules.render(contents[row.campaign_id], row.variables)
            except rendering.TemplateError as error:
                self._without_call.append(Sent(row, _cannot_render(row, str(error)), None))
                continue
            leaving = self._journal.reserve(row.message_id)
            self._call_count += 1
            self._threads.make(RowCall(row, content, leaving, self._provider, self._sender, self._ended))

    def take(self, *, within_s: float | None = None) -> list[Sent]:
        """Wait for the fate of a row, gather more for a moment, and return them all. Wait `within_s` seconds at most;
        the list may then be empty.

        When the process must end, no further call begins: rows that wait are recalled.
        """
        taken, self._without_call = self._without_call, []
        ends_at = math.inf if within_s is None else time.monotonic() + within_s
        if taken:
            ends_at = 0.0
        while self._call_count:
            if not taken and self._stopping.is_set() and (taken := self.recall()):
                break
            left_s = ends_at - time.monotonic()
            try:
                call, outcome = self._ended.get(timeout=max(0.0, left_s if taken else min(left_s, STOP_LOOK_S)))
            except Empty:
                if taken or time.monotonic() >= ends_at:
                    break
                continue
            if not taken:
                ends_at = min(ends_at, time.monotonic() + GATHER_S)
            self._call_count -= 1
            taken.append(self._fate_of(call.row, outcome))
        if taken:
            self._look_ahead(len(taken))
        return taken

    def _look_ahead(self, answered: int) -> None:
        """Learn from the answers since the last time how many rows to have ready."""
        now = time.monotonic()
        wanted = answered / max(now - self._taken_at, 0.001) * AHEAD_S
        self._taken_at = now
        smoothed = (self._ahead + wanted) / 2
        self._ahead = max(1, min(math.ceil(smoothed), MOST_AHEAD * self._max_in_flight))

    def recall(self) -> list[Sent]:
        """Call back the rows whose calls have not begun; they are settled as if they had not been claimed."""
        recalled = []
        for call in self._threads.call_back():
            settlement = Settlement(call.row.message_id, MessageStatus.PENDING, utc_now(), attempt_counts=False)
            recalled.append(Sent(call.row, settlement, None))
        self._call_count -= len(recalled)
        return recalled

    def abort(self) -> list[Sent]:
        """Let no further call begin, wait for those that have, and return what became of them.

        Nobody else knows their answers, and what the caller does next must not race with them.
        """
        self._call_count -= len(self._threads.call_back())
        known, self._without_call = self._without_call, []
        while self._call_count:
            call, outcome = self._ended.get()
            self._call_count -= 1
            known.append(self._fate_of(call.row, outcome))
        return known

    def _fate_of(self, row: LockedRow, outcome: Outcome | Exception) -> Sent:
        if isinstance(outcome, Exception):
            self.fault = outcome
            outcome = Lost(f"internal error: {type(outcome).__name__}")
        return Sent(row, settlement_of(row, outcome, now=utc_now()), outcome)


def _cannot_render(row: LockedRow, detail: str) -> Settlement:
    return Settlement(
        row.message_id,
        MessageStatus.FAILED,
        utc_now(),
        error_class=ErrorClass.RECIPIENT,
        error_code="cannot_render",
        error_detail=detail,
    )
