"""The simulator's time."""

import time


class Clock:
    """Unix seconds that never step back: the wall clock is read once, the monotonic clock carries it on."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def now(self) -> float:
        return self._offset_s + time.monotonic()
