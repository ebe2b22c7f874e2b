"""Why nothing is sent just now: a word for programs, and a sentence with its end for people."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from campaign_engine.rules.hours.recipient_zone import zones_of
from campaign_engine.rules.hours.working_hours import WorkingHours


class WaitReason(StrEnum):
    """What a campaign or an account waits for."""

    SCHEDULE = "schedule"
    PAUSED = "paused"
    OUTSIDE_HOURS = "outside_hours"
    PACING = "pacing"
    CAMPAIGN_DELAY = "campaign_delay"
    ACCOUNT_LIMIT = "account_limit"
    USER_LIMIT = "user_limit"
    WARM_UP = "warm_up"
    DAILY_RECIPIENTS = "daily_recipients"
    COOL_DOWN = "cool_down"
    RETRY_BACKOFF = "retry_backoff"
    PAIR_RATE_LIMIT = "pair_rate_limit"  # Meta's limit of one number's messages to one person
    PROVIDER_UNREACHABLE = "provider_unreachable"
    LIMITER_AWAY = "limiter_away"
    OTHER_ACCOUNTS = "other_accounts"  # of the same campaign hold the rows that are left
    TURN_OVER = "turn_over"  # goes on as soon as a worker is free
    ACCOUNT_INACTIVE = "account_inactive"


@dataclass(frozen=True, slots=True)
class Wait:
    """Why an account is not sending just now, and until when at the earliest (None: nobody knows)."""

    reason: str
    until: datetime | None


OF_A_LIMIT = frozenset(
    {
        WaitReason.ACCOUNT_LIMIT,
        WaitReason.USER_LIMIT,
        WaitReason.WARM_UP,
        WaitReason.DAILY_RECIPIENTS,
        WaitReason.COOL_DOWN,
    }
)
"""Waits that end at their time, whatever the answers to the calls in flight are."""

OF_THE_ACCOUNT = (OF_A_LIMIT - {WaitReason.USER_LIMIT}) | {
    WaitReason.PACING,
    WaitReason.PROVIDER_UNREACHABLE,
    WaitReason.LIMITER_AWAY,
}
"""Reasons that keep an account from sending for any campaign."""

PHRASES = {
    WaitReason.SCHEDULE: "starts by itself",
    WaitReason.PAUSED: "paused",
    WaitReason.OUTSIDE_HOURS: "outside hours",
    WaitReason.PACING: "pacing",
    WaitReason.CAMPAIGN_DELAY: "delay of the campaign",
    WaitReason.ACCOUNT_LIMIT: "limit of the account",
    WaitReason.USER_LIMIT: "user limit",
    WaitReason.WARM_UP: "warm-up limit",
    WaitReason.DAILY_RECIPIENTS: "limit of recipients in 24 hours",
    WaitReason.COOL_DOWN: "cooling down",
    WaitReason.RETRY_BACKOFF: "backoff before retries",
    WaitReason.PAIR_RATE_LIMIT: "pair rate limit",
    WaitReason.PROVIDER_UNREACHABLE: "provider unreachable",
    WaitReason.LIMITER_AWAY: "limiter away",
    WaitReason.OTHER_ACCOUNTS: "other accounts send what is left",
    WaitReason.TURN_OVER: "other campaigns",
    WaitReason.ACCOUNT_INACTIVE: "not active",
}
"""Each reason in words; `static/js/facts.js` has the same."""

SOON = timedelta(minutes=2)
"""Up to this length a wait is told in seconds, a longer one by the time of day at which it ends."""


def of_row(phone: str, *, attempts: int, hours: WorkingHours | None, now: datetime) -> WaitReason:
    """Return why a message to `phone`, of a campaign with these hours, waits for a time of its own after `now`."""
    if hours is not None and hours.per_recipient and hours.opens_in(zones_of(phone), now) != now:
        return WaitReason.OUTSIDE_HOURS
    return WaitReason.RETRY_BACKOFF if attempts else WaitReason.PAIR_RATE_LIMIT


def phrase(code: str) -> str:
    """Return a reason in words; an unknown one is made readable."""
    return PHRASES[WaitReason(code)] if code in PHRASES else code.replace("_", " ")


def sentence(code: str, *, account: str | None = None, until: datetime | None, now: datetime, zone: ZoneInfo) -> str:
    """Return why and until when: `outside hours until 08:00`, `Loja: cooling down for 40 s`.

    `code` is a `WaitReason` or another word, `account` the name of the account that waits, if one does. `until` is
    None when nobody knows when it ends. The time of day is told in `zone`.
    """
    words = phrase(code) if account is None else f"{account}: {phrase(code)}"
    if until is None:
        return words
    if code == WaitReason.SCHEDULE:
        return f"{words} at {clock(until, now=now, zone=zone)}"
    if until - now <= SOON:
        return f"{words} for {max(0, -int((now - until).total_seconds() // 1))} s"
    return f"{words} until {clock(until, now=now, zone=zone)}"


def clock(at: datetime, *, now: datetime, zone: ZoneInfo) -> str:
    """Return the time of day by the clock of `zone`, with the date unless it is today."""
    local, today = at.astimezone(zone), now.astimezone(zone)
    if local.date() == today.date():
        return f"{local:%H:%M}"
    year = "" if local.year == today.year else f" {local.year}"
    return f"{local:%a} {local.day} {local:%b}{year}, {local:%H:%M}"
