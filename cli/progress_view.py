"""A campaign's progress in a terminal: one line that is redrawn, or a line a change where there is no terminal."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TextIO
from zoneinfo import ZoneInfo

from campaign_engine.rules.states import CAMPAIGN_IS_OVER
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.outlook.progress import Progress

BAR_WIDTH = 24
_ORDINARY = (
    WaitReason.PACING,
    WaitReason.ACCOUNT_LIMIT,
    WaitReason.CAMPAIGN_DELAY,
    WaitReason.USER_LIMIT,
    WaitReason.OTHER_ACCOUNTS,
    WaitReason.TURN_OVER,
)


def line_of(progress: Progress, *, zone: ZoneInfo) -> str:
    """Return the progress in one line of about 120 characters."""
    total = progress.total
    counts = progress.counts
    done = total - counts["pending"] - counts["sending"]
    filled = round(BAR_WIDTH * done / total) if total else 0
    parts = [
        f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done}/{total}",
        f"sent {progress.funnel.sent}",
        f"delivered {progress.funnel.delivered}",
        f"read {progress.funnel.read}",
        f"failed {counts['failed']}",
    ]
    parts += [f"{name} {counts[name]}" for name in ("unknown", "skipped") if counts[name]]
    if progress.status in CAMPAIGN_IS_OVER:
        parts.append(progress.status)
    elif progress.status == "running":
        parts.append(f"{progress.rate_per_minute:.0f}/min")
        parts += [_eta(progress, zone), _why_not_now(progress)]
    else:
        parts += [progress.status, *(wait.text for wait in progress.waiting)]
    return "  ".join(part for part in parts if part)


def _eta(progress: Progress, zone: ZoneInfo) -> str:
    eta, seconds = progress.eta, progress.eta_seconds
    if eta is None or seconds is None:
        return ""
    ends = eta.astimezone(zone)
    is_today = ends.date() == (eta - timedelta(seconds=seconds)).astimezone(zone).date()
    at = f"{ends:%H:%M:%S}" if is_today else f"{ends:%a} {ends.day} {ends:%b}, {ends:%H:%M}"
    return f"ETA {_duration(seconds)} ({at})"


def _why_not_now(progress: Progress) -> str:
    """Return what it waits for, in words. While the end is known, a wait between two messages is not worth telling."""
    known = progress.eta is not None
    texts = [wait.text for wait in progress.waiting if not (known and wait.reason in _ORDINARY)]
    return texts[0] if texts else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class View:
    """Draws lines over each other on a terminal; elsewhere prints a line if it differs and a second has passed."""

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
