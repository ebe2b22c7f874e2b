"""The command: options, exit codes, stopping."""

import re
import signal
import socket
import subprocess
import sys
import threading

import pytest
import requests
from click.testing import CliRunner

from simulator.behaviour import SETTINGS
from simulator.command import simulator as simulator_command
from tests.simulator.running import PLAIN, Simulator, command, is_alive, wait_for


def ended(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60)


def test_every_setting_has_an_option_with_help() -> None:
    shown = CliRunner().invoke(simulator_command, ["--help"], terminal_width=200).output
    for setting in SETTINGS.values():
        assert f"--{setting.name.replace('_', '-')}" in shown
        assert setting.explanation.split(";")[0][:40] in shown


def test_options_reach_the_settings() -> None:
    simulator = Simulator(
        "--failure-share", "0.5", "--failure-codes", "131026,131049", "--delivered-delay-ms", "5-10",
        "--number-rules", "0001=fail:131026", "--number-rules", "2=sent", "--no-magic-numbers", "--seed", "9",
    )  # fmt: skip
    try:
        shown = simulator.control("GET", "behaviour").json()
        assert shown["failure_share"] == 0.5
        assert shown["failure_codes"] == [131026, 131049]
        assert shown["delivered_delay_ms"] == [5, 10]
        assert shown["number_rules"] == {"0001": "fail:131026", "2": "sent"}
        assert shown["magic_numbers"] is False
        assert shown["seed"] == 9
    finally:
        simulator.stop()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--read-share", "2"),
        ("--delivered-delay-ms", "soon"),
        ("--delivered-delay-ms", "9-1"),
        ("--failure-codes", "one"),
        ("--number-rules", "0001"),
        ("--number-rules", "0001=explode"),
    ],
)
def test_a_wrong_option_is_a_usage_error_that_names_it(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(simulator_command, arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.output


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = ended("--port", str(port))
    assert result.returncode == 1
    assert result.stderr == (f"simulator: port {port} on 127.0.0.1 is already in use; choose another with --port\n")


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_also_under_open_requests(stop_signal: int) -> None:
    simulator = Simulator("--latency-ms", "600000")
    simulator.register()
    waiting = threading.Thread(target=_send_and_ignore, args=(simulator,))
    waiting.start()
    wait_for(simulator.ledger)
    assert simulator.stop(stop_signal) == 0
    waiting.join(timeout=60)
    assert not waiting.is_alive()


def _send_and_ignore(simulator: Simulator) -> None:
    try:
        simulator.send()
    except requests.RequestException:
        return


def test_it_dies_with_its_parent_when_told_to() -> None:
    child = command("--port", "0", "--parent-dies", *PLAIN)
    program = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({child!r}, stdout=subprocess.PIPE)\n"
        "print(child.pid, child.stdout.readline().decode(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(re.split(r"\s", parent.stdout.readline())[0])
        assert is_alive(pid)
        parent.kill()
    wait_for(lambda: not is_alive(pid))


def test_importing_the_command_starts_nothing_heavy() -> None:
    program = "import sys, simulator.command; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_it_runs_without_the_engine() -> None:
    program = (
        "import sys, simulator.server\n"
        "sys.exit(any(name.split('.')[0] in ('campaign_engine', 'jobs', 'web', 'ratelimit')"
        " for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
