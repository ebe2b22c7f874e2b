from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.web.scenes import NOW, account, progress, wait
from web.pages import facts

ZONE = ZoneInfo("America/Sao_Paulo")


def describe(**values: Any) -> dict[str, str]:
    return facts.describe(progress(**values), zone=ZONE, now=NOW)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (0.2, "1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (599, "9 min 59 s"),
        (601, "10 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d"),
        (90000, "1 d 1 h"),
        (10**9, "11574 d 1 h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, said: str) -> None:
    assert facts.duration(seconds) == said


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (0, 0, "–"),
        (0, 10, "0%"),
        (1, 3, "33.3%"),
        (1, 2, "50%"),
        (1, 8, "12.5%"),
        (1225, 10_000, "12.3%"),
        (1, 100_000, "<0.1%"),
        (99_999, 100_000, ">99.9%"),
        (10, 10, "100%"),
    ],
)
def test_a_share_is_nothing_or_all_only_when_it_really_is(part: int, whole: int, said: str) -> None:
    assert facts.share(part, whole) == said


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (NOW, "12:00"),
        (NOW - timedelta(hours=11, minutes=59), "00:01"),
        (NOW - timedelta(hours=12, minutes=1), "Thu 19 Nov, 23:59"),
        (NOW + timedelta(days=60), "Tue 19 Jan 2027, 12:00"),
    ],
)
def test_a_moment_is_told_by_the_wall_clock_with_the_date_only_where_it_differs(at: datetime, said: str) -> None:
    assert facts.clock(at, ZONE, now=NOW) == said


def test_a_zone_is_named_with_its_distance_from_utc() -> None:
    assert facts.zone_name(ZONE, NOW) == "America/Sao_Paulo (UTC−03:00)"
    assert facts.zone_name(ZoneInfo("Asia/Kolkata"), NOW) == "Asia/Kolkata (UTC+05:30)"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"status": "draft"}, "Not started."),
        ({"status": "scheduled", "scheduled_at": NOW + timedelta(hours=1)}, "Starts by itself at 13:00."),
        ({"status": "draft", "status_reason": "its start was missed"}, "Not started: its start was missed."),
        (
            {"status": "scheduled", "scheduled_at": NOW, "status_reason": "no account is active"},
            "Due since 12:00; it cannot start: no account is active.",
        ),
        ({"status": "preparing"}, "Its messages are being written."),
        ({"status": "paused"}, "Paused."),
        ({"status": "paused", "status_reason": "paused by an operator"}, "Paused by an operator."),
        (
            {"status": "paused", "status_reason": "the provider refuses its content (132000: x.)"},
            "Paused: the provider refuses its content (132000: x.).",
        ),
        ({"status": "completed"}, "Nothing is left to send."),
        ({"status": "cancelled", "counts": {"pending": 1200}}, "Cancelled; 1,200 never sent."),
        ({"status": "failed", "status_reason": None}, "It could not be prepared: no reason is known."),
        ({"counts": {"pending": 3}}, "Sending."),
        ({"accounts": []}, "Waiting: none of its accounts is active."),
        (
            {"counts": {"pending": 3}, "waiting": [wait(7, "pacing", 12)]},
            "Waiting: pacing, until 12:00:12 (12 s).",
        ),
        (
            {"counts": {"pending": 3}, "waiting": [wait(7, "account_limit", 90)]},
            "Waiting: limit of the account, until 12:01:30 (1 min 30 s).",
        ),
        (
            {"counts": {"pending": 3}, "waiting": [wait(None, "outside_hours", 86_400)]},
            "Waiting: outside hours, until Sat 21 Nov, 12:00:00 (1 d).",
        ),
        ({"counts": {"pending": 3}, "waiting": [wait(7, "pacing", -1)]}, "Sending."),
        ({"counts": {"pending": 3}, "waiting": [wait(7, "a_new_reason", None)]}, "Waiting: a new reason."),
    ],
)
def test_what_a_campaign_does_is_one_sentence(values: dict[str, Any], said: str) -> None:
    assert describe(**values)["activity"] == said


def test_a_campaign_waits_only_when_all_its_active_accounts_do_and_then_for_the_first() -> None:
    accounts = [
        account(1, "A"),
        account(2, "B"),
        account(3, "C", "deactivated", "190: expired"),
    ]
    one = describe(accounts=accounts, counts={"pending": 1}, waiting=[wait(1, "x", 30)])
    assert one["activity"] == "Sending."
    assert one["account.1"] == "Active; waiting: x, until 12:00:30 (30 s)"
    assert one["account.2"] == "Active; sending"
    assert one["account.3"] == "Deactivated: 190: expired"
    both = describe(accounts=accounts, counts={"pending": 1}, waiting=[wait(1, "x", 30), wait(2, "y", 20)])
    assert both["activity"] == "Waiting: y, until 12:00:20 (20 s)."


def test_a_campaign_that_waits_itself_says_so_and_its_accounts_do_not_send_for_it() -> None:
    said = describe(counts={"pending": 1}, waiting=[wait(None, "outside_hours", 30)])
    assert said["activity"] == "Waiting: outside hours, until 12:00:30 (30 s)."
    assert said["account.7"] == "Active"


def test_the_end_is_an_estimate_until_it_is_a_fact() -> None:
    assert describe()["end"] == "–"
    assert describe(eta=NOW + timedelta(seconds=200))["end"] == "in 3 min 20 s, at 12:03"
    assert describe(eta=NOW)["end"] == "now"
    assert describe(status="completed", finished_at=NOW - timedelta(minutes=1))["end"] == "11:59"


def test_each_step_of_the_funnel_is_a_share_of_all_and_of_the_step_before() -> None:
    said = describe(
        counts={"pending": 50, "sent": 25, "delivered": 15, "read": 10},
        funnel={"sent": 50, "delivered": 25, "read": 10},
    )
    assert [said[f"funnel.{step}.of_total"] for step in ("sent", "delivered", "read")] == ["50%", "25%", "10%"]
    assert [said[f"funnel.{step}.of_previous"] for step in ("delivered", "read")] == ["50%", "40%"]
    assert (said["done"], said["done_share"]) == ("50", "50%")


def test_a_bar_shows_every_state_that_has_messages_and_never_more_than_its_length() -> None:
    counts = progress(counts={"read": 999_990, "failed": 4, "unknown": 3, "skipped": 3}).counts
    pieces = facts.segments(counts, 1_000_000)
    assert {piece.state for piece in pieces if piece.width >= 3.9} == {"read", "failed", "unknown", "skipped"}
    assert pieces[-1].x + pieces[-1].width <= facts.BAR_WIDTH + 0.1
    assert all(piece.width == 0 for piece in facts.segments(counts | dict.fromkeys(counts, 0), 0))


def test_a_bar_says_its_numbers_in_words() -> None:
    assert describe(counts={"pending": 1500, "read": 2})["bar"] == "Of 1,502 messages: 2 read, 1,500 pending."
    assert describe()["bar"] == "No messages yet."
