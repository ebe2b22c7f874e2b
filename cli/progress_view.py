"""A campaign's progress in a terminal: one line that is redrawn, or a line a change where there is no terminal."""

import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TextIO
from zoneinfo import ZoneInfo

BAR_WIDTH = 24
OVER = ("completed", "cancelled", "failed")


def line_of(progress: dict[str, Any], *, zone: ZoneInfo) -> str:
    """Return the progress (shape of the contract) in one line of about 120 characters."""
    total = progress["total"]
    counts = progress["counts"]
    done = total - counts["pending"] - counts["sending"]
    filled = round(BAR_WIDTH * done / total) if total else 0
    parts = [
        f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done}/{total}",
        f"sent {progress['funnel']['sent']}",
        f"delivered {progress['funnel']['delivered']}",
        f"read {progress['funnel']['read']}",
        f"failed {counts['failed']}",
    ]
    parts += [f"{name} {counts[name]}" for name in ("unknown", "skipped") if counts[name]]
    if progress["status"] in OVER:
        parts.append(progress["status"])
    elif progress["status"] == "running":
        parts.append(f"{progress['rate_per_minute']:.0f}/min")
        parts.append(_eta(progress, zone))
    else:
        parts += [progress["status"], *(wait["text"] for wait in progress["waiting"])]
    return "  ".join(part for part in parts if part)


def _eta(progress: dict[str, Any], zone: ZoneInfo) -> str:
    eta, seconds = progress["eta"], progress["eta_seconds"]
    if eta is None:
        waiting = progress["waiting"]
        return waiting[0]["text"] if waiting else ""
    moment: datetime = eta
    return f"ETA {_duration(seconds)} ({moment.astimezone(zone):%H:%M:%S})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class View:
    """Draws lines on a terminal over each other; elsewhere prints a line when it differs and a second has passed."""

    def __init__(self, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stdout
        self._clock = clock
        self._redraws = self._stream.isatty()
        self._shown = ""
        self._printed_at = float("-inf")

    def show(self, line: str, *, last: bool = False) -> None:
        """Show a line; `last` ends the drawing."""
        if self._redraws:
            self._stream.write("\r" + line.ljust(len(self._shown)) + ("\n" if last else ""))
            self._shown = line
        elif last or (line != self._shown and self._clock() - self._printed_at >= 1.0):
            self._stream.write(line + "\n")
            self._shown, self._printed_at = line, self._clock()
        self._stream.flush()
