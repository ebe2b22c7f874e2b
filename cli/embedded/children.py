"""Child processes that die with this one, and the processes that descend from them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launcher.py")
_PROC = Path("/proc")
ROTATE_AT_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class SystemUser:
    """An operating system account that a child runs as."""

    name: str
    uid: int
    gid: int


def spawn(
    program: Sequence[str],
    *,
    log_path: Path,
    death_signal: signal.Signals,
    env: Mapping[str, str],
    cwd: Path = Path("/"),
    account: SystemUser | None = None,
    reach: Sequence[Path] = (),
) -> subprocess.Popen[bytes]:
    """Start `program` in a session of its own, its output appended to `log_path`; on Linux it gets
    `death_signal` when this process ends, however it ends.

    It runs as `account` (root only); `reach` are paths that this account must be able to enter, if need be with a
    capability. The log is opened here, so the account needs no right to it.

    Raises RuntimeError outside the main thread: the kernel ties the death signal to the thread that forks.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("servers and children are started from the main thread, with which they die")
    with log_path.open("ab") as log:
        log_path.chmod(0o600)
        return subprocess.Popen(
            [*_launch(death_signal, account, reach), *program],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )


def run(
    program: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout_s: float,
    input_text: str = "",
    account: SystemUser | None = None,
    reach: Sequence[Path] = (),
) -> subprocess.CompletedProcess[str]:
    """Run `program` to its end and capture its output, standard error included. It dies with this process.

    Raises subprocess.TimeoutExpired after `timeout_s`; the program is killed then.
    """
    return subprocess.run(
        [*_launch(signal.SIGKILL, account, reach), *program],
        input=input_text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=dict(env),
        cwd="/",
        timeout=timeout_s,
        start_new_session=True,
        check=False,
    )


def rotate(log_path: Path) -> None:
    """Move a log of more than 10 MB aside to `<name>.1`, replacing the one before."""
    with suppress(FileNotFoundError):
        if log_path.stat().st_size > ROTATE_AT_BYTES:
            log_path.replace(log_path.with_name(log_path.name + ".1"))


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the process and its whole process group, if it has not been reaped yet."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def descendants(pid: int) -> list[int]:
    """Return the process ids below `pid` that are alive, nearest first. Empty where there is no /proc."""
    folders = ((folder, _stat_fields(folder)) for folder in _PROC.glob("[0-9]*"))
    parents = {int(folder.name): int(fields[1]) for folder, fields in folders if fields is not None}
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def carrying(variables: Mapping[str, str]) -> list[int]:
    """Return the processes whose environment has all these variables, apart from this one.

    A variable passes from parent to child, so it finds descendants whose parents are gone and that left
    their process group. Only processes that this user may inspect are seen; empty where there is no /proc.
    """
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    found = []
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def kill(pids: Sequence[int]) -> None:
    """Send SIGKILL to each process that is still there and may be killed."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def identity(pid: int) -> str | None:
    """Return a mark that a later process with the same id would not have; None when it is gone or a zombie."""
    state = _stat_fields(_PROC / str(pid))
    if state is None:
        return None
    boot = ""
    with suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {state[19]}"  # field 22 of proc(5) stat: its start, in ticks since boot


def is_running(pid: int) -> bool:
    """Tell whether a process exists and is more than a zombie."""
    if _stat_fields(_PROC / str(pid)) is not None:
        return True
    if _PROC.joinpath("self").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _launch(death_signal: signal.Signals, account: SystemUser | None, reach: Sequence[Path]) -> list[str]:
    command = [sys.executable, "-I", "-S", str(_LAUNCHER)]
    command += ["--parent", str(os.getpid()), "--death-signal", death_signal.name]
    if account is not None:
        command += ["--uid", str(account.uid), "--gid", str(account.gid)]
        command += [f"--reach={path}" for path in reach]
    return [*command, "--"]


def _stat_fields(folder: Path) -> list[str] | None:
    """Return the fields of proc(5) `stat` from the third (state) on; None for a process that is gone or a zombie.

    The name before them may hold anything.
    """
    try:
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields
