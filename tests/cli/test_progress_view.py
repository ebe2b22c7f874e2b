"""A campaign's progress as a person sees it in a terminal, and as a file gets it."""

import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.services.outlook.progress import Funnel, Progress, Waiting
from cli.progress_view import BAR_WIDTH, View, line_of

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
STATES = ("pending", "sending", "sent", "delivered", "read", "failed", "unknown", "skipped")


def progress(*, eta_seconds: float | None = 90.0, **fields: Any) -> Progress:
    counts = {**dict.fromkeys(STATES, 0), **fields.pop("counts", {"pending": 30, "sent": 20, "read": 40, "failed": 10})}
    running = {
        "status": "running",
        "total": sum(counts.values()),
        "rate_per_minute": 19.6,
        "eta": None if eta_seconds is None else NOW + timedelta(seconds=eta_seconds),
        "waiting": [],
    }
    return Progress(
        campaign_id=1,
        name="Spring",
        status_reason=None,
        counts=counts,
        funnel=Funnel(sent=60, delivered=50, read=40),
        success_rate=None,
        eta_seconds=eta_seconds,
        accounts=[],
        scheduled_at=None,
        started_at=None,
        finished_at=None,
        version=1,
        **{**running, **fields},
    )


def test_a_running_campaign_says_how_far_how_fast_and_until_when_in_the_companys_time() -> None:
    assert line_of(progress(), zone=SAO_PAULO) == (
        "[#################.......] 70/100  sent 60  delivered 50  read 40  failed 10"
        "  20/min  ETA 1 min 30 s (09:01:30)"
    )


def test_what_is_unknown_or_left_out_is_said_only_where_there_is_some() -> None:
    line = line_of(progress(counts={"sent": 1, "unknown": 2, "skipped": 3}), zone=SAO_PAULO)
    assert "  unknown 2  skipped 3  " in line
    assert "unknown" not in line_of(progress(), zone=SAO_PAULO)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (60.0, "1 min 0 s"),
        (119.7, "2 min 0 s"),
        (3599.4, "59 min 59 s"),
        (3599.9, "1 h 0 min"),
        (7325.0, "2 h 2 min"),
        (200_000.0, "55 h 33 min"),
    ],
)
def test_a_time_that_is_left_is_rounded_as_people_say_it(seconds: float, said: str) -> None:
    assert f"ETA {said} (" in line_of(progress(eta_seconds=seconds), zone=SAO_PAULO)


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"status": "completed"}, "failed 10  completed"),
        ({"status": "cancelled"}, "failed 10  cancelled"),
        ({"status": "failed"}, "failed 10  failed"),
        ({"status": "draft"}, "failed 10  draft"),
        ({"status": "preparing"}, "failed 10  preparing"),
        (
            {"status": "paused", "waiting": [Waiting("paused", None, "Paused: by an operator.")]},
            "failed 10  paused  Paused: by an operator.",
        ),
        (
            {
                "eta_seconds": None,
                "waiting": [
                    Waiting("account_inactive", None, "Loja is deactivated: 190"),
                    Waiting("x", None, "x"),
                ],
            },
            "20/min  Loja is deactivated: 190",
        ),
        ({"eta_seconds": None}, "failed 10  20/min"),
        (
            {"eta_seconds": None, "waiting": [Waiting("pacing", None, "Loja: pacing for 3 s")]},
            "20/min  Loja: pacing for 3 s",
        ),
        (
            {"waiting": [Waiting("pacing", None, "Loja: pacing for 3 s")]},
            "20/min  ETA 1 min 30 s (09:01:30)",
        ),
        (
            {
                "eta_seconds": 86_400.0,
                "waiting": [Waiting("outside_hours", None, "outside hours until Sat 21 Nov, 08:00")],
            },
            "20/min  ETA 24 h 0 min (Sat 21 Nov, 09:00)  outside hours until Sat 21 Nov, 08:00",
        ),
    ],
)
def test_a_campaign_that_does_not_move_says_why(fields: dict[str, Any], end: str) -> None:
    assert line_of(progress(**fields), zone=SAO_PAULO).endswith(end)


@pytest.mark.parametrize(
    ("counts", "bar", "done"),
    [
        ({}, "." * 24, "0/0"),
        ({"pending": 7, "sending": 3}, "." * 24, "0/10"),
        ({"sent": 5, "sending": 5}, "#" * 12 + "." * 12, "5/10"),
        ({"failed": 2, "skipped": 8}, "#" * 24, "10/10"),
    ],
)
def test_the_bar_shows_what_is_done_well_or_not(counts: dict[str, int], bar: str, done: str) -> None:
    assert line_of(progress(counts=counts), zone=SAO_PAULO).startswith(f"[{bar}] {done}  ")


@given(
    counts=st.fixed_dictionaries({state: st.integers(0, 10**9) for state in STATES}),
    status=st.sampled_from(["running", "paused", "completed", "scheduled"]),
    eta_seconds=st.none() | st.floats(0, 10**8),
)
def test_every_progress_is_one_line_with_a_whole_bar(
    counts: dict[str, int], status: str, eta_seconds: float | None
) -> None:
    line = line_of(progress(counts=counts, status=status, eta_seconds=eta_seconds), zone=SAO_PAULO)
    bar = re.match(r"\[(#*)(\.*)\] (\d+)/(\d+)  ", line)
    assert bar is not None
    assert len(bar[1]) + len(bar[2]) == BAR_WIDTH
    assert "\n" not in line
    assert not re.search(r"\b60 s|\b60 min", line.partition("ETA")[2])


# --- Drawing.


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_on_a_terminal_each_line_covers_the_one_before() -> None:
    screen = Screen()
    view = View(screen, clock=Clock())
    for line in ("a long line", "short", "a longer line again"):
        view.show(line)
    view.show("end", last=True)
    assert screen.getvalue() == "\ra long line\rshort      \ra longer line again\rend                \n"


def test_elsewhere_a_line_is_printed_when_it_differs_and_a_second_has_passed() -> None:
    file, clock = io.StringIO(), Clock()
    view = View(file, clock=clock)
    for after_s, line in ((0, "one"), (0.9, "two"), (0.2, "three"), (5, "three"), (0, "four"), (0.5, "five")):
        clock.now_s += after_s
        view.show(line)
    view.show("end", last=True)
    assert file.getvalue() == "one\nthree\nfour\nend\n"


def test_every_line_reaches_the_reader_at_once() -> None:
    class Counting(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    file = Counting()
    View(file, clock=Clock()).show("one")
    assert file.flushed == 1
