"""Start a program that dies with its parent, if asked as another user, and become that program.

Run by path with `python -I -S launcher.py OPTIONS -- PROGRAM ARGUMENT...`; it needs the standard library
only, so it starts in milliseconds. It exists because what it does must happen between fork and exec, where
Python code in a process with threads is not safe.

The death signal (prctl PR_SET_PDEATHSIG) is tied to the thread that forked and is cleared by a change of
user, so it is set last. As root, the user is changed, and when that user cannot reach the paths named with
--reach, one capability travels along that lets it read and traverse what only root may enter: no parent
folder ever has its permissions changed. See capabilities(7), "Ambient" and "The securebits flags".
"""

import argparse
import ctypes
import os
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

# By these codes the parent recognises a failed launch; servers themselves use small numbers.
EXIT_CANNOT_EXECUTE = 121
EXIT_CANNOT_CHANGE_USER = 122
EXIT_CANNOT_REACH = 123
EXIT_PARENT_GONE = 124

_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> NoReturn:
    """Become the program in `arguments`; on failure, print one line and exit with a code from above."""
    end = arguments.index("--")
    options, program = _parse(arguments[:end]), arguments[end + 1 :]
    if options.uid is not None:
        _become(options.uid, options.gid, reach=options.reach)
    if sys.platform == "linux":
        _die_with(options.parent, signal.Signals[options.death_signal])
    try:
        os.execvp(program[0], program)  # noqa: S606 - to become another program is its purpose
    except OSError as error:
        _fail(EXIT_CANNOT_EXECUTE, f"cannot execute {program[0]}: {error.strerror}")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="launcher")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--death-signal", required=True)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--reach", action="append", default=[], type=Path)
    return parser.parse_args(arguments)


def _become(uid: int, gid: int, *, reach: Sequence[Path]) -> None:
    """Change all user and group ids for good, keeping one capability if `reach` cannot be read without it."""
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        capability = None if _can_reach_as(uid, reach) else _available_capability()
        # Without the fix-up the permitted set survives setresuid. And access(2), which PostgreSQL calls on its own
        # program, then judges by the effective capabilities and not by the real user id alone.
        keeps = capability is not None and _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        _fail(EXIT_CANNOT_CHANGE_USER, f"cannot change to user id {uid}: {error.strerror}")
    if capability is not None and keeps:
        _keep_only(capability)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    for path in reach:
        if not _can_use(path):
            _fail(EXIT_CANNOT_REACH, f"user id {uid} may not enter {path}, and no capability could be kept")


def _can_reach_as(uid: int, paths: Sequence[Path]) -> bool:
    os.seteuid(uid)
    try:
        return all(_can_use(path) for path in paths)
    finally:
        os.seteuid(0)


def _can_use(path: Path) -> bool:
    """Tell whether a folder can be entered and listed, a program read and executed.

    The two are asked one by one, because the weaker capability grants only reading, not both in one question.
    """
    return all(os.access(path, mode, effective_ids=True) for mode in (os.R_OK, os.X_OK))


def _available_capability() -> int | None:
    """Return the weakest capability we have that opens foreign folders; containers often lack the first."""
    status = Path("/proc/self/status").read_text().splitlines()
    permitted = next((int(line.split()[1], 16) for line in status if line.startswith("CapPrm:")), 0)
    return next((each for each in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE) if permitted & 1 << each), None)


def _keep_only(capability: int) -> None:
    """Reduce this process to one capability, of those below bit 32, and let it survive exec."""
    bit = 1 << capability
    header = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable; then the upper words of the three.
    sets = struct.pack("=6I", bit, bit, bit, 0, 0, 0)
    if _libc.capset(header, sets) != 0:
        _fail(EXIT_CANNOT_CHANGE_USER, f"capset: {os.strerror(ctypes.get_errno())}")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def _die_with(parent: int, death_signal: signal.Signals) -> None:
    _prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:  # it died before the line above took effect
        _fail(EXIT_PARENT_GONE, "the parent process is gone")


def _prctl(option: int, *values: int) -> bool:
    words = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    return bool(_libc.prctl(option, *words) == 0)


def _fail(code: int, message: str) -> NoReturn:
    print(f"launcher: {message}", file=sys.stderr, flush=True)
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
