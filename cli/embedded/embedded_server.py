"""What the embedded PostgreSQL and Redis have in common: a port, a password, one process, a clean end."""

import errno
import os
import secrets
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from cli.embedded import children, launcher, ports
from cli.embedded.errors import (
    DiskFull,
    EmbeddedError,
    PermissionRefused,
    PortTaken,
    RootNotPossible,
    ServerCannotRun,
    StartFailed,
)
from cli.embedded.installation import NEEDED_FREE_BYTES, Installation, read_state, write_state

START_TIMEOUT_S = 120.0  # recovery after a crash reads everything that was written since the last checkpoint
PREDECESSOR_TIMEOUT_S = 5.0
_START_ATTEMPTS = 5
_POLL_S = 0.01


class TryAgain(Exception):
    """A start failed for a passing reason, which has been dealt with."""


class EmbeddedServer(ABC):
    """A server that runs as a child of this process, keeps its data under VAR_DIR, and dies with us.

    It listens on 127.0.0.1 only. Its port and its random password are kept in `<var>/<name>.json` (mode
    0600); if the last port is taken, another one is chosen. Once `start` has returned, a later `start` of the same
    object uses the same port, so that `url` stays true.
    """

    name: ClassVar[str]
    _stop_signal: ClassVar[signal.Signals]

    def __init__(self, installation: Installation, *, port: int | None = None) -> None:
        """Take `port` and no other, if one is given; `installation` must be open before `start`."""
        self._installation = installation
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._state_path = installation.var_dir / f"{self.name}.json"
        self.data_dir = installation.var_dir / self.name
        self.log_path = installation.log_dir / f"{self.name}.log"

    @property
    @abstractmethod
    def url(self) -> str:
        """The address with the password, for clients. Raises RuntimeError before the first start."""

    @property
    def pid(self) -> int | None:
        """The process id of the server, None when it does not run."""
        return self._process.pid if self._process is not None and self.is_alive() else None

    def is_alive(self) -> bool:
        """Tell whether the server process exists. Reaps it when it has ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and return when it accepts connections; do nothing if it already does.

        Blocks up to 120 s (recovery after a crash). On any failure no process is left.

        Raises an EmbeddedError; RuntimeError outside the main thread or when the installation is not open.
        """
        if self.is_alive():
            return
        self._installation.require_open()
        self._installation.require_free_space()
        try:
            self._await_predecessor()
            children.rotate(self.log_path)
            self._prepare()
            self._start_on_some_port()
        except OSError as error:
            raise self._explain_os_error(error) from error

    def request_stop(self) -> None:
        """Ask the server to end in good order; returns at once."""
        if self._process is not None and self.is_alive():
            self._process.send_signal(self._stop_signal)

    def kill(self) -> None:
        """End the server and all it started at once, without good order; the next start repairs its data."""
        if self._process is not None:
            children.signal_group(self._process, signal.SIGKILL)
            self._process.wait()

    def stop(self, timeout_s: float) -> None:
        """End the server in good order, or without it once `timeout_s` is over."""
        if self._process is None:
            return
        self.request_stop()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    @abstractmethod
    def _prepare(self) -> None:
        """Find the program and make the data folder; called before each start."""

    @abstractmethod
    def _launch(self, port: int) -> subprocess.Popen[bytes]:
        """Start the process on this port."""

    @abstractmethod
    def _is_ready(self, port: int) -> bool:
        """Tell whether the process accepts connections."""

    @abstractmethod
    def _explain(self, log_text: str) -> EmbeddedError | TryAgain | None:
        """Recognise a failure of this kind of server by its log; None when it is not known."""

    def _load(self) -> dict[str, str | int]:
        return read_state(self._state_path)

    def _save(self, **values: str | int) -> None:
        write_state(self._state_path, {**self._load(), **values})

    def _password(self) -> str:
        """Return the password, made and kept on the first call."""
        known = self._load().get("password")
        if not isinstance(known, str):
            known = new_password()
            self._save(password=known)
        return known

    def _require_port(self) -> int:
        if self._port is None:
            raise RuntimeError(f"the embedded {self.name} has not been started")
        return self._port

    def _start_on_some_port(self) -> None:
        for _ in range(_START_ATTEMPTS):
            port = self._choose_port()
            log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            self._process = self._launch(port)
            try:
                self._save(pid=self._process.pid, identity=children.identity(self._process.pid) or "")
                self._wait_until_ready(port, log_start)
            except TryAgain:
                continue
            except BaseException:
                self.kill()
                raise
            self._save(port=port)
            self._port = port
            return
        raise StartFailed(self.name, f"{_START_ATTEMPTS} attempts failed", self.log_path)

    def _choose_port(self) -> int:
        if self._port is not None:
            if not ports.is_free(self._port):
                raise PortTaken(self.name, self._port)
            return self._port
        remembered = self._load().get("port")
        if isinstance(remembered, int) and ports.is_free(remembered):
            return remembered
        return ports.any_free()

    def _wait_until_ready(self, port: int, log_start: int) -> None:
        process = self._process
        deadline = time.monotonic() + START_TIMEOUT_S
        while process is not None and not self._is_ready(port):
            if process.poll() is not None:
                log_text = self.log_path.read_bytes()[log_start:].decode(errors="replace")
                raise self._failure(process.returncode, log_text)
            if time.monotonic() > deadline:
                raise StartFailed(self.name, f"it was not ready after {START_TIMEOUT_S:.0f} s", self.log_path)
            time.sleep(_POLL_S)

    def _failure(self, exit_code: int, log_text: str) -> EmbeddedError | TryAgain:
        last_words = _last_words(log_text)
        if exit_code == launcher.EXIT_CANNOT_EXECUTE:
            return ServerCannotRun(self.log_path, last_words, "Reinstall it with `make setup`.")
        if exit_code in (launcher.EXIT_CANNOT_CHANGE_USER, launcher.EXIT_CANNOT_REACH):
            return RootNotPossible(last_words.removeprefix("launcher: "))
        if "Address already in use" in log_text:
            return TryAgain()  # somebody was faster; a port that was asked for is refused on the next attempt
        if "No space left on device" in log_text or "Disk quota exceeded" in log_text:
            return self._disk_full()
        known = self._explain(log_text)
        return known or StartFailed(self.name, f"exit code {exit_code}, last words: {last_words}", self.log_path)

    def _explain_os_error(self, error: OSError) -> EmbeddedError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._disk_full()
        path = Path(error.filename) if isinstance(error.filename, str) else self._installation.var_dir
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return PermissionRefused(path, str(error.strerror))
        return StartFailed(self.name, str(error), self.log_path)

    def _disk_full(self) -> DiskFull:
        space = os.statvfs(self._installation.var_dir)
        return DiskFull(self._installation.var_dir, space.f_bavail * space.f_frsize, NEEDED_FREE_BYTES)

    def _await_predecessor(self) -> None:
        """Wait for the server of a parent that was killed a moment ago: it may still be writing its data."""
        state = self._load()
        pid = state.get("pid")
        if not isinstance(pid, int):
            return
        deadline = time.monotonic() + PREDECESSOR_TIMEOUT_S
        while (identity := children.identity(pid)) is not None and identity == state.get("identity"):
            if time.monotonic() > deadline:
                children.kill([pid, *children.descendants(pid)])
                deadline += PREDECESSOR_TIMEOUT_S
            time.sleep(_POLL_S)


def new_password() -> str:
    """Return a random password that needs no quoting in a URL, in SQL or in a configuration file."""
    return secrets.token_hex(24)


def version_of(program: Path) -> str:
    """Return what the program says about its version.

    Raises ServerCannotRun: a wrong C library or processor shows here, before anything is written.
    """
    remedy = "Install a version that is made for this machine."
    try:
        done = subprocess.run(
            [str(program), "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=server_environment(),
            timeout=10,
            check=False,
        )
    except OSError as error:
        raise ServerCannotRun(program, f"cannot execute it: {error.strerror}", remedy) from error
    except subprocess.TimeoutExpired:
        raise ServerCannotRun(program, "it did not answer within 10 s", remedy) from None
    if done.returncode != 0:
        raise ServerCannotRun(program, _last_words(done.stdout), remedy)
    return done.stdout.strip()


def server_environment() -> dict[str, str]:
    """Return the whole environment of a server: only what it must know, English messages, UTC."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "LC_ALL": "C", "TZ": "UTC"}
    with suppress(KeyError):
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return environment


def _last_words(log_text: str) -> str:
    lines = [line.strip() for line in log_text.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL" in line or "PANIC" in line or "Fatal" in line]
    return (telling or lines or ["it said nothing"])[-1]
