"""Logs as another program reads them: each test is told what a process of its own wrote on standard output."""

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import logging, sys, threading
from campaign_engine import logs

logs.configure(log_format=sys.argv[1], level=sys.argv[2])
log = logs.get_logger("campaign_engine.tests")
log.debug("import.read", rows=1)
log.info("campaign.started", campaign_id=7, text="Olá\\nConceição")
with logs.bound(account_id=3):
    with logs.bound(import_id=9):
        log.info("lane.deferred", until="2026-11-20T12:00:00Z")
    log.info("lane.turn")
    thread = threading.Thread(target=lambda: log.info("other.thread"))
    thread.start()
    thread.join()
    logging.getLogger("some.library").warning("from a %s", "library", extra={"attempt": 2})
log.info("campaign.finished")
for chatty in ("rq.worker", "urllib3.connectionpool", "alembic.runtime.migration", "werkzeug"):
    logging.getLogger(chatty).info("never asked for")
    logging.getLogger(chatty).warning("worth a line")
def send(token, phone):
    message = "Dear " + phone
    return 1 / 0
try:
    send("EAAG" + "-in-clear", "+55119" + "8765" + "4321")
except ZeroDivisionError:
    log.exception("import.failed", import_id=9)
logs.configure(log_format=sys.argv[1], level=sys.argv[2])
log.warning("said.once")
"""


def written(log_format: str, level: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, log_format, level], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in written("json", "INFO")]


@pytest.fixture(scope="module")
def events(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {line["event"]: line for line in lines}


def test_a_line_is_an_object_with_the_event_its_fields_and_when(events: dict[str, dict[str, Any]]) -> None:
    line = events["campaign.started"]
    assert (line["level"], line["logger"], line["campaign_id"]) == ("info", "campaign_engine.tests", 7)
    assert line["text"] == "Olá\nConceição"
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


def test_what_is_bound_is_on_every_line_inside_and_on_none_after(events: dict[str, dict[str, Any]]) -> None:
    assert events["lane.deferred"]["account_id"] == 3
    assert events["lane.deferred"]["import_id"] == 9
    assert events["lane.turn"]["account_id"] == 3
    assert "import_id" not in events["lane.turn"]
    assert "account_id" not in events["campaign.finished"]


def test_another_thread_is_not_inside(events: dict[str, dict[str, Any]]) -> None:
    assert "account_id" not in events["other.thread"]


def test_a_library_logs_like_we_do(events: dict[str, dict[str, Any]]) -> None:
    line = events["from a library"]
    assert (line["level"], line["logger"], line["attempt"], line["account_id"]) == ("warning", "some.library", 2, 3)


def test_chatty_libraries_are_heard_from_warnings_on(lines: list[dict[str, Any]]) -> None:
    assert [line["logger"] for line in lines if line["event"] == "worth a line"] == [
        "rq.worker",
        "urllib3.connectionpool",
        "alembic.runtime.migration",
        "werkzeug",
    ]
    assert "never asked for" not in {line["event"] for line in lines}


def test_an_exception_is_part_of_its_line(events: dict[str, dict[str, Any]]) -> None:
    line = events["import.failed"]
    assert line["level"] == "error"
    assert line["exception"][0]["exc_type"] == "ZeroDivisionError"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_traceback_does_not_carry_the_values_of_variables(log_format: str) -> None:
    # They are tokens, messages and numbers. `rich`, when it is installed, would show them as soon as it can.
    output = "\n".join(written(log_format, "INFO"))
    assert "ZeroDivisionError" in output
    assert "in-clear" not in output
    assert "87654321" not in output


def test_below_its_level_nothing_is_said_and_configuring_again_doubles_nothing(lines: list[dict[str, Any]]) -> None:
    said = [line["event"] for line in lines]
    assert "import.read" not in said
    assert said.count("said.once") == 1


def test_text_is_for_people() -> None:
    lines = written("text", "DEBUG")
    (started,) = (line for line in lines if "campaign.started" in line)
    assert "campaign_id=7" in started
    assert "info" in started
    assert "\x1b[" not in "".join(lines)
    assert any("import.read" in line for line in lines)
    assert any("ZeroDivisionError" in line for line in lines)
