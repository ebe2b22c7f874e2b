import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli import supervisor as supervisor_module
from cli.embedded import children
from cli.embedded.errors import AlreadyRunning, StartFailed
from cli.embedded.installation import Installation
from cli.embedded.redis import EmbeddedRedis
from cli.supervisor import Child, Died, Event, Ready, Started, StopRequested, Supervisor

Eventually = Callable[..., None]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the processes left behind are found in /proc")

# A child that ignores the request to stop, with a grandchild that ignores it too and has left the group.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
while True:
    time.sleep(60)
"""

# What `campaign-engine up` does, in small: both servers, a good child, a stubborn one.
UP = """
import sys, time
from pathlib import Path
from cli.embedded.errors import EmbeddedError
from cli.embedded.installation import Installation
from cli.embedded.postgres import UNSAFE_AND_FAST, EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis
from cli.supervisor import Child, Supervisor

var_dir, pids, stubborn, stop_timeout_s = Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
busy = len(sys.argv) > 5
try:
    with (
        Installation(var_dir) as installation,
        Supervisor(installation, stop_timeout_s=stop_timeout_s) as supervisor,
    ):
        for server in (EmbeddedPostgres(installation, settings=UNSAFE_AND_FAST), EmbeddedRedis(installation)):
            supervisor.start_service(server)
            print(server.pid, flush=True)
        supervisor.start(Child("stubborn", [sys.executable, "-c", stubborn, pids]))
        supervisor.start(Child("plain", ["sleep", "600"]))
        while len(Path(pids).read_text().split() if Path(pids).exists() else []) < 2:
            supervisor.wait(0.01)
        print("up", flush=True)
        while busy:
            time.sleep(60)
        while not supervisor.stop_requested:
            supervisor.wait(60)
except EmbeddedError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path) as installation:
        yield installation


@pytest.fixture
def supervisor(installation: Installation) -> Iterator[Supervisor]:
    """A supervisor that minds a hangup, also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with Supervisor(installation) as supervisor:
            yield supervisor
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def var_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tests that start servers share, since making a database takes half a second."""
    return tmp_path_factory.mktemp("up") / "var"


@pytest.fixture
def up(tmp_path: Path, var_dir: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], list[int]]]]:
    """Start UP in a process of its own; returns it and the processes that it has started."""
    started = []

    def start(*more: str, stop_timeout_s: float = 1.6) -> tuple[subprocess.Popen[str], list[int]]:
        pids_path = tmp_path / "pids"
        pids_path.unlink(missing_ok=True)
        command = [sys.executable, "-c", UP, str(var_dir), str(pids_path), STUBBORN, str(stop_timeout_s), *more]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        lines: list[str] = []
        while process.stdout is not None and lines[-1:] != ["up"]:
            line = process.stdout.readline()
            assert line, "it ended before it was up"
            lines.append(line.strip())
        pids = {*map(int, pids_path.read_text().split()), *children.descendants(process.pid)}
        assert {int(line) for line in lines if line.isdigit()} < pids
        assert len(pids) > 7
        return process, sorted(pids)

    yield start
    for process in started:
        process.kill()
        process.communicate()
    children.kill(_strays(var_dir))


def _python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def _wait_for(supervisor: Supervisor, kind: type[Event], timeout_s: float = 60.0) -> Event:
    deadline = time.monotonic() + timeout_s
    while (remaining_s := deadline - time.monotonic()) > 0:
        for event in supervisor.wait(remaining_s):
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind} within {timeout_s} s")


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if children.is_running(pid)]


def _strays(var_dir: Path) -> list[int]:
    return children.carrying({supervisor_module._OWNER_VARIABLE: str(var_dir)})


def _pid_of(supervisor: Supervisor, name: str) -> int:
    process = supervisor._children[name].process
    assert process is not None
    return process.pid


def test_a_child_runs_in_its_own_group_with_its_output_in_a_log(
    supervisor: Supervisor, installation: Installation, eventually: Eventually
) -> None:
    code = "import os; print(os.getpgrp() == os.getpid(), os.environ['GIVEN'], os.getcwd(), flush=True); input()"
    supervisor.start(Child("talker", _python(code), env={"GIVEN": "value"}))
    log_path = installation.log_dir / "talker.log"
    eventually(lambda: log_path.exists() and "True value" in log_path.read_text())
    assert str(Path.cwd()) in log_path.read_text()
    eventually(lambda: "EOFError" in log_path.read_text())  # a child cannot take the terminal's input
    assert log_path.stat().st_mode & 0o777 == 0o600


def test_a_large_log_is_moved_aside_at_the_start(supervisor: Supervisor, installation: Installation) -> None:
    log_path = installation.log_dir / "quiet.log"
    with log_path.open("wb") as log:
        log.truncate(children.ROTATE_AT_BYTES + 1)
    supervisor.start(Child("quiet", ["sleep", "600"]))
    assert log_path.stat().st_size == 0
    assert log_path.with_name("quiet.log.1").stat().st_size > children.ROTATE_AT_BYTES


def test_a_child_that_died_is_started_again_with_a_growing_delay(supervisor: Supervisor) -> None:
    began_at = time.monotonic()
    supervisor.start(Child("brief", _python("raise SystemExit(3)")))
    first = _wait_for(supervisor, Died)
    assert first == Died("brief", exit_code=3, restart_in_s=0.5)
    assert isinstance(_wait_for(supervisor, Started), Started)
    assert time.monotonic() - began_at > 0.5
    assert _wait_for(supervisor, Died) == Died("brief", exit_code=3, restart_in_s=1.0)


def test_the_delay_is_bounded_and_forgotten_after_a_good_run(monkeypatch: pytest.MonkeyPatch) -> None:
    restarts = supervisor_module._Restarts()
    restarts.started()
    assert [restarts.died() for _ in range(7)] == [0.5, 1, 2, 4, 8, 10, 10]
    restarts.started()
    assert restarts.died() == 10
    monkeypatch.setattr(supervisor_module, "STABLE_AFTER_S", 0.0)
    restarts.started()
    assert restarts.died() == 0.5


def test_a_killed_child_takes_what_it_started_along(
    supervisor: Supervisor, tmp_path: Path, eventually: Eventually
) -> None:
    pids_path = tmp_path / "pids"
    supervisor.start(Child("stubborn", [*_python(STUBBORN), str(pids_path)]))
    eventually(lambda: pids_path.exists() and len(pids_path.read_text().split()) == 2)
    pids = [int(pid) for pid in pids_path.read_text().split()]
    os.kill(_pid_of(supervisor, "stubborn"), signal.SIGKILL)
    assert _wait_for(supervisor, Died) == Died("stubborn", exit_code=-9, restart_in_s=0.5)
    assert _alive(pids) == []


def test_a_program_that_does_not_exist_is_a_child_that_dies(supervisor: Supervisor, installation: Installation) -> None:
    supervisor.start(Child("missing", ["/nonexistent/program"]))
    died = _wait_for(supervisor, Died)
    assert isinstance(died, Died)
    assert died.exit_code not in (0, None)
    log = (installation.log_dir / "missing.log").read_text()
    assert log == "launcher: cannot execute /nonexistent/program: No such file or directory\n"


def test_a_child_is_ready_when_its_check_says_so(supervisor: Supervisor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]

    def accepts() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    code = f"import socket; s = socket.create_server(('127.0.0.1', {port})); s.accept(); s.accept()"
    supervisor.start(Child("server", _python(code), is_ready=accepts))
    supervisor.start(Child("other", ["sleep", "600"]))
    ready = _wait_for(supervisor, Ready)
    assert isinstance(ready, Ready)
    assert ready.name == "server"
    assert supervisor.wait_until_ready(0) == set()


def test_who_is_not_ready_in_time_is_named(supervisor: Supervisor) -> None:
    supervisor.start(Child("slow", ["sleep", "600"], is_ready=lambda: False))
    supervisor.start(Child("quick", ["sleep", "600"]))
    assert supervisor.wait_until_ready(0.2) == {"slow"}


def test_waiting_costs_nothing_and_ends(supervisor: Supervisor) -> None:
    supervisor.start(Child("sleeper", ["sleep", "600"]))
    used_s, began_at = time.process_time(), time.monotonic()
    assert supervisor.wait(0.5) == []
    assert time.monotonic() - began_at >= 0.5
    assert time.process_time() - used_s < 0.25


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_the_wait_at_once(supervisor: Supervisor, number: signal.Signals) -> None:
    supervisor.start(Child("sleeper", ["sleep", "600"]))
    pid = _pid_of(supervisor, "sleeper")
    threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
    assert supervisor.wait(600) == [StopRequested(number)]  # longer than a test may take
    assert supervisor.stop_requested
    assert supervisor.wait(600) == []
    supervisor.stop()
    assert not children.is_running(pid)
    supervisor.stop()


def test_a_signal_that_arrives_twice_at_once_counts_once(supervisor: Supervisor) -> None:
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
    assert supervisor.wait(1) == [StopRequested(signal.SIGTERM)]


def test_children_are_started_from_the_main_thread_only(supervisor: Supervisor) -> None:
    refused: list[RuntimeError] = []

    def start() -> None:
        try:
            supervisor.start(Child("early", ["sleep", "600"]))
        except RuntimeError as error:  # it would die with this thread
            refused.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(refused[0])


def test_the_signals_are_given_back(installation: Installation) -> None:
    numbers = (*supervisor_module.STOP_SIGNALS, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    with Supervisor(installation):
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_hangup_stays_ignored_under_nohup(installation: Installation) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Supervisor(installation) as supervisor:
            os.kill(os.getpid(), signal.SIGHUP)
            assert supervisor.wait(0.1) == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_server_that_died_is_started_again_at_the_same_address(
    supervisor: Supervisor, installation: Installation
) -> None:
    server = EmbeddedRedis(installation)
    supervisor.start_service(server)
    url, pid = server.url, server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert _wait_for(supervisor, Died) == Died("redis", exit_code=None, restart_in_s=0.5)
    assert _wait_for(supervisor, Started) == Started("redis", server.pid)
    assert server.url == url
    assert server.pid not in (None, pid)


class _RefusesOnce:
    """A service whose first restart fails, as when another program has just taken its port."""

    name = "refusing"
    pid = None

    def __init__(self) -> None:
        self.starts_count = 0
        self.is_stopped = False

    def is_alive(self) -> bool:
        return self.starts_count > 2 and not self.is_stopped

    def start(self) -> None:
        self.starts_count += 1
        if self.starts_count == 2:
            raise StartFailed(self.name, "not yet", Path("log"))

    def request_stop(self) -> None:
        self.is_stopped = True

    def kill(self) -> None:
        pass


def test_a_server_that_cannot_be_restarted_is_tried_again(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_BACKOFF_S", 0.05)
    service = _RefusesOnce()
    supervisor.start_service(service)
    assert isinstance(_wait_for(supervisor, Died), Died)
    assert _wait_for(supervisor, Started) == Started("refusing", None)
    assert service.starts_count == 3


def test_everything_ends_also_what_refuses(
    up: Callable[..., tuple[subprocess.Popen[str], list[int]]],
) -> None:
    process, pids = up()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert _alive(pids) == []


def test_a_second_interrupt_kills_at_once(up: Callable[..., tuple[subprocess.Popen[str], list[int]]]) -> None:
    # It is not waiting, so that the first signal alone changes nothing; and in good order it would take for ever.
    process, pids = up("busy", stop_timeout_s=10_000)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(supervisor_module.SECOND_SIGNAL_AFTER_S + 0.1)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert _alive(pids) == []


def test_a_killed_supervisor_leaves_nothing_and_the_next_one_starts(
    up: Callable[..., tuple[subprocess.Popen[str], list[int]]], eventually: Eventually, var_dir: Path
) -> None:
    process, pids = up()
    with pytest.raises(AlreadyRunning, match=f"pid {process.pid}"):
        Installation(var_dir).open()
    process.kill()
    process.wait()
    # Only what a child had started, and not bound to itself, may live on, and only until the next start.
    eventually(lambda: len(_alive(pids)) == 1)
    assert _alive(pids) == _strays(var_dir)
    up()
    assert _alive(pids) == []
