"""A campaign's progress as the strings a page shows.

`static/js/facts.js` says the same in the browser, from the same JSON; a browser test compares the two. The keys are
those of the `data-show` attributes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from campaign_engine.rules import waiting
from campaign_engine.services.outlook.progress import AccountInProgress, Progress, Waiting
from web.pages import words

NONE = "–"
SEGMENTS = ("read", "delivered", "sent", "failed", "unknown", "skipped", "sending")
"""The coloured part of a bar, left to right; pending messages are its empty rest."""
BAR_WIDTH = 1000.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar, in the units of its view box."""

    state: str
    x: float
    width: float


def number(value: float) -> str:
    """Return 12345 as 12,345."""
    return f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """Return a percentage that is 0% and 100% only when it really is."""
    if whole <= 0:
        return NONE
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.9 < percent < 100:
        return ">99.9%"
    # Half up, as the browser does; Python's own formatting would round half to even.
    return f"{math.floor(10 * percent + 0.5) / 10:.1f}".removesuffix(".0") + "%"


def duration(seconds: float) -> str:
    """Return a length of time in at most two units, rounded up to whole seconds."""
    left = max(0, -int(-seconds // 1))
    for unit_s, unit, next_s, next_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if left >= unit_s:
            rest = left % unit_s // next_s
            # Seconds beside many minutes are noise.
            worth_saying = rest and not (unit == "min" and left >= 600)
            return f"{left // unit_s} {unit}" + (f" {rest} {next_unit}" if worth_saying else "")
    return f"{left} s"


def clock(at: datetime, zone: ZoneInfo, *, now: datetime, precise: bool = False) -> str:
    """Return a moment by the wall clock of `zone`: the time if it is today, with the date otherwise."""
    local, today = at.astimezone(zone), now.astimezone(zone)
    time = local.strftime("%H:%M:%S" if precise else "%H:%M")
    if local.date() == today.date():
        return time
    day = f"{local:%a} {local.day} {local:%b}" + ("" if local.year == today.year else f" {local.year}")
    return f"{day}, {time}"


def zone_name(zone: ZoneInfo, now: datetime) -> str:
    """Return the zone with its present distance from UTC: America/Sao_Paulo (UTC−03:00)."""
    offset = now.astimezone(zone).strftime("%z")
    sign = "−" if offset.startswith("-") else "+"
    return f"{zone.key} (UTC{sign}{offset[1:3]}:{offset[3:5]})"


def segments(counts: Mapping[str, int], total: int) -> list[Segment]:
    """Return the pieces of a bar; each state with messages is wide enough to be seen."""
    if total <= 0:
        return [Segment(state, 0.0, 0.0) for state in SEGMENTS]
    least = 4.0
    widths = {state: max(least, BAR_WIDTH * counts[state] / total) if counts[state] else 0.0 for state in SEGMENTS}
    too_wide = max(1.0, sum(widths.values()) / BAR_WIDTH)
    x = 0.0
    pieces = []
    for state, width in widths.items():
        pieces.append(Segment(state, round(x, 2), round(width / too_wide, 2)))
        x += width / too_wide
    return pieces


def describe(progress: Progress, *, zone: ZoneInfo, now: datetime) -> dict[str, str]:
    """Return every string about a campaign's progress, by its `data-show` key."""
    counts, funnel, total = progress.counts, progress.funnel, progress.total
    done = total - counts["pending"] - counts["sending"]
    shown = {
        "name": progress.name,
        "status": words.CAMPAIGN_STATUS[progress.status].label,
        "total": number(total),
        "done": number(done),
        "done_share": share(done, total),
        "rate": f"{progress.rate_per_minute:,.1f}".removesuffix(".0"),
        "success": share(progress.success_rate, 1) if progress.success_rate is not None else NONE,
        "end": end(progress, zone=zone, now=now),
        "activity": activity(progress, zone=zone, now=now),
        "bar": bar_label(counts, total),
    }
    for state, count in counts.items():
        shown[f"count.{state}"] = number(count)
        shown[f"share.{state}"] = share(count, total)
    previous = total
    for step, count in (("sent", funnel.sent), ("delivered", funnel.delivered), ("read", funnel.read)):
        shown[f"funnel.{step}"] = number(count)
        shown[f"funnel.{step}.of_total"] = share(count, total)
        shown[f"funnel.{step}.of_previous"] = share(count, previous)
        previous = count
    for name in ("started_at", "finished_at"):
        at: datetime | None = getattr(progress, name)
        shown[name] = clock(at, zone, now=now) if at is not None else NONE
    for account in progress.accounts:
        shown[f"account.{account.id}"] = account_now(account, progress, zone=zone, now=now)
    return shown


def end(progress: Progress, *, zone: ZoneInfo, now: datetime) -> str:
    """Return when the campaign was over, or when its last message leaves: `in 3 min 20 s, at 14:32`."""
    if progress.finished_at is not None:
        return clock(progress.finished_at, zone, now=now)
    if progress.eta is None:
        return NONE
    left_s = (progress.eta - now).total_seconds()
    if left_s <= 1:
        return "now"
    return f"in {duration(left_s)}, at {clock(progress.eta, zone, now=now)}"


def activity(progress: Progress, *, zone: ZoneInfo, now: datetime) -> str:
    """Return in one sentence what the campaign is doing, or why it is not."""
    status, reason = progress.status, progress.status_reason
    counts = progress.counts
    left = counts["pending"] + counts["sending"]
    if status == "draft":
        return f"Not started: {reason}." if reason else "Not started."
    if status == "scheduled" and progress.scheduled_at is not None:
        at = clock(progress.scheduled_at, zone, now=now)
        return f"Due since {at}; it cannot start: {reason}." if reason else f"Starts by itself at {at}."
    if status == "preparing":
        return "Its messages are being written."
    if status == "paused":
        return paused(reason)
    if status == "completed":
        return "Nothing is left to send."
    if status == "cancelled":
        return f"Cancelled; {number(left)} never sent."
    if status == "failed":
        return f"It could not be prepared: {reason or 'no reason is known'}."
    wait = _wait_of(None, progress, now)
    if wait is None:
        waits = [own for account in progress.accounts if (own := _wait_of(account, progress, now)) is not None]
        active = [account for account in progress.accounts if account.status == "active"]
        if not active:
            return "Waiting: none of its accounts is active."
        if len(waits) < len(active):
            return "Sending."
        wait = min(waits, key=lambda own: own.until or datetime.max.replace(tzinfo=UTC))
    return f"Waiting: {_wait_text(wait, zone=zone, now=now)}."


def paused(reason: str | None) -> str:
    """Return why a campaign is paused; the usual reason begins with the word itself."""
    if not reason:
        return "Paused."
    return f"P{reason[1:]}." if reason.startswith("paused ") else f"Paused: {reason.removesuffix('.')}."


def account_now(account: AccountInProgress, progress: Progress, *, zone: ZoneInfo, now: datetime) -> str:
    """Return what an account is doing for a campaign."""
    if account.status != "active":
        label = words.ACCOUNT_STATUS[account.status].label
        return f"{label}: {account.status_reason}" if account.status_reason else label
    wait = _wait_of(account, progress, now)
    if wait is not None:
        return f"Active; waiting: {_wait_text(wait, zone=zone, now=now)}"
    left = progress.counts["pending"] + progress.counts["sending"]
    sends = progress.status == "running" and left and _wait_of(None, progress, now) is None
    return "Active; sending" if sends else "Active"


def bar_label(counts: Mapping[str, int], total: int) -> str:
    """Return a bar in words, for those who do not see it."""
    parts = [
        f"{number(counts[state])} {words.MESSAGE_STATUS[state].label.lower()}"
        for state in (*SEGMENTS, "pending")
        if counts[state]
    ]
    return f"Of {number(total)} messages: {', '.join(parts)}." if parts else "No messages yet."


def _wait_of(account: AccountInProgress | None, progress: Progress, now: datetime) -> Waiting | None:
    """Return what this account waits for, or without an account what the campaign itself waits for."""
    account_id = account.id if account is not None else None
    mine = [wait for wait in progress.waiting if wait.account_id == account_id]
    return next((wait for wait in mine if wait.until is None or wait.until > now), None)


def _wait_text(wait: Waiting, *, zone: ZoneInfo, now: datetime) -> str:
    reason = waiting.phrase(wait.reason)
    if wait.until is None:
        return reason
    left = duration((wait.until - now).total_seconds())
    return f"{reason}, until {clock(wait.until, zone, now=now, precise=True)} ({left})"
