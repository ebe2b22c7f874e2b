"""Keep the processes of one machine running, and end all of them together.

    with Supervisor(installation) as supervisor:
        supervisor.start_service(postgres)
        supervisor.start(Child("web", ["gunicorn", ...], is_ready=...))
        while not supervisor.stop_requested:
            for event in supervisor.wait(timeout_s=1):
                ...

Everything happens in the calling thread. It must be the main thread: that one gets the signals, and the children die
with it. Only the readiness of a child that has just started is polled. The rest waits on a socket, to which the
interpreter writes when a signal arrives, SIGCHLD among them.
"""

import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

import structlog

from cli.embedded import children
from cli.embedded.errors import EmbeddedError
from cli.embedded.installation import Installation

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_TIMEOUT_S = 5.0
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 10.0
STABLE_AFTER_S = 30.0

# One Ctrl-C may arrive twice: from the terminal, and from the program that started this one.
SECOND_SIGNAL_AFTER_S = 0.5

_CHILDREN_SHARE = 0.5  # of the time to stop; what is left is for the servers they use
_KILLING_TAKES_S = 0.8
_REAPING_TIMEOUT_S = 0.5
_READINESS_POLL_S = 0.05

# Every process of a supervised child has these, also one that left its process group and lost its parent.
_OWNER_VARIABLE = "CAMPAIGN_ENGINE_UP"
_CHILD_VARIABLE = "CAMPAIGN_ENGINE_CHILD"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Child:
    """A process to keep running. `env` is its whole environment, None for that of this process.

    `is_ready` is asked every 50 ms after a start until it says yes. It must answer within milliseconds and
    must not raise.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    is_ready: Callable[[], bool] | None = None


class Service(Protocol):
    """A server that children use: started before them, stopped after them. EmbeddedServer is one."""

    @property
    def name(self) -> str:
        """What events call it."""

    @property
    def pid(self) -> int | None:
        """Its process id, None when it does not run."""

    def is_alive(self) -> bool:
        """Tell whether its process exists."""

    def start(self) -> None:
        """Start it and return when it accepts connections."""

    def request_stop(self) -> None:
        """Ask it to end in good order; returns at once."""

    def kill(self) -> None:
        """End it at once."""


@dataclass(frozen=True)
class Started:
    """A process was started; for the first time or again."""

    name: str
    pid: int | None


@dataclass(frozen=True)
class Ready:
    """A child with a readiness check passed it."""

    name: str


@dataclass(frozen=True)
class Died:
    """A process ended by itself. If a signal ended it, `exit_code` is minus its number; None: not known."""

    name: str
    exit_code: int | None
    restart_in_s: float


@dataclass(frozen=True)
class StopRequested:
    """SIGINT, SIGTERM or SIGHUP has arrived. The caller is expected to leave its loop."""

    signal: signal.Signals


Event = Started | Ready | Died | StopRequested


@dataclass
class _Restarts:
    """When a dead process is started again: after 0.5 s, then twice as long each time, up to 10 s."""

    started_at: float = 0.0
    due_at: float | None = None
    backoff_s: float = field(default_factory=lambda: FIRST_BACKOFF_S)

    def started(self) -> None:
        self.started_at = time.monotonic()
        self.due_at = None

    def died(self) -> float:
        """Return the seconds until the next start."""
        now = time.monotonic()
        if self.due_at is None and now - self.started_at >= STABLE_AFTER_S:
            self.backoff_s = FIRST_BACKOFF_S
        delay_s, self.backoff_s = self.backoff_s, min(2 * self.backoff_s, LONGEST_BACKOFF_S)
        self.due_at = now + delay_s
        return delay_s

    def is_due(self) -> bool:
        return self.due_at is not None and time.monotonic() >= self.due_at


@dataclass
class _ChildState:
    child: Child
    process: subprocess.Popen[bytes] | None = None
    is_ready: bool = False
    restarts: _Restarts = field(default_factory=_Restarts)

    def has_ended(self) -> bool:
        """Tell whether the process has ended, without reaping it: until then its group id is not reused."""
        if self.process is None:
            return True
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, flags) is not None


@dataclass
class _ServiceState:
    service: Service
    restarts: _Restarts = field(default_factory=_Restarts)


class Supervisor:
    """Starts children, restarts those that die, and stops everything within 5 seconds.

    As a context manager it takes over SIGINT, SIGTERM, SIGHUP (unless that is ignored, as under nohup) and
    SIGCHLD, and on leaving stops everything and gives the signals back. A second stop signal, at least 0.5 s
    after the first, shortens the stop to killing; if the caller is busy outside `wait` it raises
    KeyboardInterrupt there.
    """

    def __init__(self, installation: Installation, *, stop_timeout_s: float = STOP_TIMEOUT_S) -> None:
        self._installation = installation
        self._marks = {_OWNER_VARIABLE: str(installation.var_dir)}
        self._stop_timeout_s = stop_timeout_s
        self._children: dict[str, _ChildState] = {}
        self._services: list[_ServiceState] = []
        self._signals: list[signal.Signals] = []
        self._first_signal_at = 0.0
        self._reported_count = 0
        self._is_in_control = False
        self._handlers: dict[signal.Signals, Any] = {}
        self._alarm, self._alarm_writer = socket.socketpair()
        self._previous_wakeup_fd = -1
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        self._installation.require_open()
        self._take_signals()
        self._kill_strays()  # left over when an `up` was killed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._return_signals()

    @property
    def stop_requested(self) -> bool:
        """Whether SIGINT, SIGTERM or SIGHUP has arrived."""
        return bool(self._signals)

    def start(self, child: Child) -> None:
        """Start a child and keep it running. Its output goes to `<var>/log/<name>.log`.

        Returns at once. A child that cannot be executed counts as one that died, and is started again.
        """
        if child.name in self._children:
            raise ValueError(f"there is a child {child.name!r} already")
        state = _ChildState(child)
        self._spawn(state)
        self._children[child.name] = state

    def start_service(self, service: Service) -> None:
        """Start a server, restart it when it dies, and stop it after the children have ended.

        Blocks until it accepts connections. Raises what its `start` raises; it is not restarted then.
        """
        service.start()
        state = _ServiceState(service)
        state.restarts.started()
        self._services.append(state)

    def wait(self, timeout_s: float) -> list[Event]:
        """Wait until something happens and return the events; return [] after `timeout_s` without any.

        Restarts happen in here. It returns [] at once when a stop was requested and reported before.
        """
        deadline = time.monotonic() + timeout_s
        with self._control(is_held=True):
            while True:
                events = list(self._events())
                if events or self.stop_requested or time.monotonic() >= deadline:
                    return events
                self._sleep_until(min(deadline, self._next_due_at()))

    def wait_until_ready(self, timeout_s: float) -> set[str]:
        """Wait until every child with a readiness check has passed it, a stop is requested, or time is up.

        Returns the names of the children that are not ready. Events meanwhile go only into the log.
        """
        deadline = time.monotonic() + timeout_s
        while waiting := {name for name, state in self._children.items() if not state.is_ready}:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or self.stop_requested:
                return waiting
            self.wait(remaining_s)
        return set()

    def stop(self) -> None:
        """End all children, then all services; within 5 s, by force where good order takes longer.

        Afterwards nothing is left of them, grandchildren included. Calling it again does nothing.
        """
        began_at = time.monotonic()
        with self._control(is_held=True):
            self._stop_children(began_at + self._stop_timeout_s * _CHILDREN_SHARE)
            self._stop_services(began_at + self._stop_timeout_s - _KILLING_TAKES_S)

    def _events(self) -> Iterator[Event]:
        for number in self._signals[self._reported_count :]:
            self._reported_count += 1
            yield StopRequested(number)
        if self.stop_requested:
            return
        for child_state in self._children.values():
            yield from self._child_events(child_state)
        for service_state in self._services:
            yield from self._service_events(service_state)

    def _child_events(self, state: _ChildState) -> Iterator[Event]:
        child = state.child
        if state.process is None:
            if state.restarts.is_due() and (pid := self._spawn(state)):
                yield Started(child.name, pid)
        elif state.has_ended():
            exit_code = self._bury(state)
            delay_s = state.restarts.died()
            _log.warning("child_died", child=child.name, exit_code=exit_code, restart_in_s=delay_s)
            yield Died(child.name, exit_code, delay_s)
        elif not state.is_ready and child.is_ready is not None and child.is_ready():
            state.is_ready = True
            yield Ready(child.name)

    def _service_events(self, state: _ServiceState) -> Iterator[Event]:
        service = state.service
        if state.restarts.is_due():
            try:
                with self._control(is_held=False):
                    service.start()
            except EmbeddedError as error:
                delay_s = state.restarts.died()
                _log.error("service_not_restarted", service=service.name, error=str(error), again_in_s=delay_s)
                return
            state.restarts.started()
            yield Started(service.name, service.pid)
        elif state.restarts.due_at is None and not service.is_alive():
            delay_s = state.restarts.died()
            _log.warning("service_died", service=service.name, restart_in_s=delay_s)
            yield Died(service.name, None, delay_s)

    def _spawn(self, state: _ChildState) -> int | None:
        """Start a child and return its process id; None when it could not be started, and is tried again."""
        child = state.child
        log_path = self._installation.log_dir / f"{child.name}.log"
        children.rotate(log_path)
        try:
            state.process = children.spawn(
                child.argv,
                log_path=log_path,
                death_signal=signal.SIGKILL,  # nothing gentler is sure to end it
                env={**(os.environ if child.env is None else child.env), **self._marks, **_mark_of(child)},
                cwd=Path.cwd(),
            )
        except OSError as error:  # no processes or no memory left: a passing state of the machine
            delay_s = state.restarts.died()
            _log.error("child_not_started", child=child.name, error=str(error), again_in_s=delay_s)
            return None
        state.restarts.started()
        state.is_ready = child.is_ready is None
        _log.info("child_started", child=child.name, pid=state.process.pid)
        return state.process.pid

    def _bury(self, state: _ChildState) -> int | None:
        """Reap a child that has ended, after killing what it left behind. Returns its exit code."""
        process = state.process
        if process is None:
            return None
        children.signal_group(process, signal.SIGKILL)
        self._kill_strays(_mark_of(state.child))
        state.process = None
        state.is_ready = False
        try:
            return process.wait(_REAPING_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # stuck in the kernel, on a dead disk for instance
            return None

    def _stop_children(self, deadline: float) -> None:
        running = [state for state in self._children.values() if state.process is not None]
        for state in running:
            if state.process is not None and not state.has_ended():
                state.process.send_signal(signal.SIGTERM)
        while not all(state.has_ended() for state in running) and not self._is_over(deadline):
            self._sleep_until(deadline)
        for state in running:
            if state.process is not None and not state.has_ended():
                _log.warning("child_killed", child=state.child.name, pid=state.process.pid)
            self._bury(state)
        self._children.clear()
        self._kill_strays()

    def _stop_services(self, deadline: float) -> None:
        services = [state.service for state in self._services]
        for service in services:
            service.request_stop()
        while any(service.is_alive() for service in services) and not self._is_over(deadline):
            self._sleep_until(deadline)
        for service in services:
            if service.is_alive():
                _log.warning("service_killed", service=service.name, pid=service.pid)
            service.kill()
        self._services.clear()

    def _is_over(self, deadline: float) -> bool:
        return time.monotonic() >= deadline or self._is_insisted()

    def _is_insisted(self) -> bool:
        return len(self._signals) > 1

    def _kill_strays(self, also: Mapping[str, str] | None = None) -> None:
        """Kill the processes with our marks until a search finds none: one may fork during the search."""
        for _ in range(10):
            strays = children.carrying({**self._marks, **(also or {})})
            strays = [pid for pid in strays if children.is_running(pid)]
            if not strays:
                return
            children.kill(strays)
            time.sleep(0.01)

    def _next_due_at(self) -> float:
        restarts = [state.restarts for state in self._children.values()]
        restarts += [state.restarts for state in self._services]
        due_at = [each.due_at for each in restarts if each.due_at is not None]
        if any(state.process is not None and not state.is_ready for state in self._children.values()):
            due_at.append(time.monotonic() + _READINESS_POLL_S)
        return min(due_at, default=float("inf"))

    def _sleep_until(self, moment: float) -> None:
        """Sleep until a moment of the monotonic clock, or until a signal arrives."""
        if self._selector.select(max(0.0, moment - time.monotonic())):
            with suppress(BlockingIOError):
                self._alarm.recv(4096)

    @contextmanager
    def _control(self, *, is_held: bool) -> Iterator[None]:
        """Say whether the code inside notices a second stop signal, which raises where control is not held."""
        before, self._is_in_control = self._is_in_control, is_held
        try:
            yield
        finally:
            self._is_in_control = before

    def _on_stop_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._signals and now - self._first_signal_at < SECOND_SIGNAL_AFTER_S:
            return
        if not self._signals:
            self._first_signal_at = now
        self._signals.append(signal.Signals(number))
        if self._is_insisted() and not self._is_in_control:
            raise KeyboardInterrupt

    def _take_signals(self) -> None:
        for end in (self._alarm, self._alarm_writer):
            end.setblocking(False)
        self._selector.register(self._alarm, selectors.EVENT_READ)
        self._previous_wakeup_fd = signal.set_wakeup_fd(self._alarm_writer.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._on_stop_signal)
        # Without a handler of its own, SIGCHLD is not written to the socket.
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)

    def _return_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_wakeup_fd)
        self._selector.close()
        self._alarm.close()
        self._alarm_writer.close()


def _mark_of(child: Child) -> dict[str, str]:
    return {_CHILD_VARIABLE: child.name}
