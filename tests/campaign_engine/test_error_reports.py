"""Errors of a process of its own, as a Sentry that is a real HTTP server gets them."""

import gzip
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.campaign_engine.providers.wire import answering, response, serving

PROGRAM = """
from campaign_engine import logs
from cli.context import load_config

load_config()
log = logs.get_logger("campaign_engine.tests")
log.info("campaign.started", campaign_id=7)
log.error("account.deactivated", account_id=3)
def send(text, phone):
    return 1 / 0
try:
    send("Dear" + "-in-clear", "+55119" + "8765" + "4321")
except ZeroDivisionError as error:
    log.exception("import.failed", import_id=9)
    log.error("request.failed", reference="r1", exc_info=error)
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What arrives at the server that SENTRY_DSN leads to, from a program that ends at once."""
    with serving(answering(response(200, {}))) as server:
        variables = {"SENTRY_DSN": server.url.replace("http://", "http://key@") + "/1"}
        command = [sys.executable, "-c", PROGRAM]
        subprocess.run(command, env=variables, cwd=tmp_path_factory.mktemp("empty"), check=True, capture_output=True)
        bodies = [request.body for request in server.requests]
    envelopes = [(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).splitlines() for body in bodies]
    return [json.loads(lines[2]) for lines in envelopes if json.loads(lines[1])["type"] == "event"]


def test_each_error_is_reported_with_the_fields_of_its_line_and_nothing_less_is(reports: list[dict[str, Any]]) -> None:
    assert [(each["contexts"]["fields"]["event"], each["tags"]["logger"]) for each in reports] == [
        ("account.deactivated", "campaign_engine.tests"),
        ("import.failed", "campaign_engine.tests"),
        ("request.failed", "campaign_engine.tests"),
    ]
    assert reports[0]["contexts"]["fields"]["account_id"] == "3"


def test_what_was_raised_is_reported_with_its_stack(reports: list[dict[str, Any]]) -> None:
    for report in reports[1:]:
        [raised] = report["exception"]["values"]
        assert (raised["type"], raised["stacktrace"]["frames"][-1]["function"]) == ("ZeroDivisionError", "send")


def test_no_report_carries_the_values_of_variables(reports: list[dict[str, Any]]) -> None:
    # Names that the library would filter by itself, such as `token`, would prove nothing.
    told = json.dumps(reports)
    assert "Dear-in-clear" not in told
    assert "87654321" not in told
