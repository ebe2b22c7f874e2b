"""Threads that make calls: kept between turns, fed through a queue written in C, with nothing else in between.

A pool of the standard library makes a future with a lock and a condition for each call. At a thousand messages a second
that costs a tenth of a worker.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Call = TypeVar("Call", bound=Callable[[], None])
"""A call with all it needs; it raises nothing."""


class CallThreads(Generic[Call]):
    """`count` threads that make the calls handed to them, in order. Used by one thread."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._waiting: SimpleQueue[Call | None] = SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._work, name=f"provider-{number}", daemon=True).start()

    def make(self, call: Call) -> None:
        """Let the next free thread make the call."""
        self._waiting.put(call)

    def call_back(self) -> list[Call]:
        """Take back the calls that no thread has begun, and return them."""
        found = []
        with suppress(Empty):
            while True:
                call = self._waiting.get_nowait()
                if call is not None:
                    found.append(call)
        return found

    def end(self) -> None:
        """Let the threads end when they have made the calls they have begun."""
        self.call_back()
        for _ in range(self.count):
            self._waiting.put(None)

    def _work(self) -> None:
        while (call := self._waiting.get()) is not None:
            call()
