"""The folder VAR_DIR of one installation: who holds it, its keys, and where its servers are.

`local.json` is how other commands in other terminals find what `campaign-engine up` started. Its keys, all
strings unless said otherwise: `database_url` and `redis_url` (null until a server of ours has started),
`secret_key`, `encryption_key` (a Fernet key), `pid` (a number while `up` runs, else null), `demo_password`, and
`demo_campaign` (a number while the demonstration is to be watched, else null).
"""

import fcntl
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.fernet import Fernet

from campaign_engine.json_types import Json
from cli.embedded.errors import (
    AlreadyRunning,
    DiskFull,
    EmbeddedError,
    LocalStateUnreadable,
    PermissionRefused,
)

NEEDED_FREE_BYTES = 200 * 10**6


class Installation:
    """The exclusive hold on one VAR_DIR, from `open` or `with` until `close`.

    The hold is a lock of the operating system on `<var>/up.lock`: it ends with this process however that
    ends, so there is no stale lock to clean up.
    """

    def __init__(self, var_dir: Path) -> None:
        self.var_dir = var_dir.absolute()
        self.log_dir = self.var_dir / "log"
        self.local_path = self.var_dir / "local.json"
        self._lock_fd: int | None = None

    def open(self) -> None:
        """Create the folder if need be, take the lock, and make the keys on the first run.

        Raises AlreadyRunning, PermissionRefused, DiskFull (less than 200 MB free), LocalStateUnreadable.
        """
        try:
            # Others may pass through and not look in: under root, PostgreSQL lives below as another account.
            self.var_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
            self.log_dir.mkdir(mode=0o700, exist_ok=True)
            self._lock_fd = self._lock()
        except FileExistsError as error:
            raise PermissionRefused(self.var_dir, "a file is in the place of the folder") from error
        except OSError as error:
            raise PermissionRefused(Path(error.filename or self.var_dir), str(error.strerror)) from error
        try:
            self.require_free_space()
            new = {
                "database_url": None,
                "redis_url": None,
                "secret_key": secrets.token_urlsafe(48),
                "encryption_key": Fernet.generate_key().decode(),
            }
            write_state(self.local_path, {**new, **self.read_local(), "pid": os.getpid()})
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Take the pid out of local.json and let go of the lock. The addresses stay, ports are remembered."""
        if self._lock_fd is None:
            return
        with suppress(OSError, EmbeddedError):  # the folder may be gone; the lock must go all the same
            self.update_local(pid=None)
        self._unlock()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read_local(self) -> Json:
        """Return what local.json holds, {} when there is none. Raises LocalStateUnreadable."""
        return read_state(self.local_path)

    def update_local(self, **values: str | int | None) -> None:
        """Replace the named keys of local.json, atomically. Raises LocalStateUnreadable, OSError."""
        write_state(self.local_path, {**self.read_local(), **values})

    def require_free_space(self) -> None:
        """Raise DiskFull when a server could not be started safely under this folder."""
        space = os.statvfs(self.var_dir)
        free_bytes = space.f_bavail * space.f_frsize
        if free_bytes < NEEDED_FREE_BYTES:
            raise DiskFull(self.var_dir, free_bytes, NEEDED_FREE_BYTES)

    def require_open(self) -> None:
        """Raise RuntimeError when the lock is not held: two servers on one folder would destroy its data."""
        if self._lock_fd is None:
            raise RuntimeError(f"{self.var_dir} must be opened first")

    def _lock(self) -> int:
        fd = os.open(self.var_dir / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.pread(fd, 32, 0).decode(errors="replace").strip()
            os.close(fd)
            raise AlreadyRunning(self.var_dir, int(written) if written.isdigit() else None) from None
        except BaseException:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.ftruncate(self._lock_fd, 0)
            os.close(self._lock_fd)
            self._lock_fd = None


def read_state(path: Path) -> Json:
    """Return the JSON object in `path`, {} when there is no file. Raises LocalStateUnreadable."""
    try:
        state = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise PermissionRefused(path, str(error.strerror)) from error
    except ValueError as error:
        raise LocalStateUnreadable(path, f"it is not JSON ({error})") from error
    if not isinstance(state, dict):
        raise LocalStateUnreadable(path, "it holds no JSON object")
    return state


def write_state(path: Path, state: Json) -> None:
    """Write `state` as JSON, as `write_private` does."""
    write_private(path, json.dumps(state, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600; after a crash it is the old one or the new one."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
