"""What can go wrong while the embedded servers start.

    EmbeddedError
    ├── AlreadyRunning         another process holds the same VAR_DIR
    ├── LocalStateUnreadable   local.json exists and cannot be trusted
    ├── PortTaken              a port that was asked for is in use
    ├── DiskFull               too little space to start safely
    ├── PermissionRefused      a file or folder belongs to somebody else
    ├── RootNotPossible        started as root where PostgreSQL cannot run as another user
    ├── ServerMissing          no usable server program is installed
    ├── ServerCannotRun        the program exists and this machine cannot execute it
    ├── DataIncompatible       the data was written by another version
    └── StartFailed            everything else, with the server's own last words

Each carries what happened, why, and what to do. `str()` is one line meant for a person.
"""

from pathlib import Path


class EmbeddedError(Exception):
    """An embedded server or its folder cannot be used."""

    def __init__(self, what: str, why: str, remedy: str) -> None:
        self.what = what
        self.why = why
        self.remedy = remedy
        super().__init__(what, why, remedy)

    def __str__(self) -> str:
        return " ".join(f"{self.what}: {self.why}. {self.remedy}".split())


class AlreadyRunning(EmbeddedError):
    """Another process works on this VAR_DIR; `pid` is None when it has not written its number yet."""

    def __init__(self, var_dir: Path, pid: int | None) -> None:
        self.pid = pid
        super().__init__(
            f"{var_dir} is in use",
            f"campaign-engine is already running there (pid {pid})" if pid else "campaign-engine is starting",
            "Stop it first, or choose another folder with VAR_DIR.",
        )


class LocalStateUnreadable(EmbeddedError):
    """The file with this installation's keys is damaged; replacing it would make stored tokens unreadable."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be read",
            why,
            "Restore it from a backup; if there is none, delete it: new keys are made, "
            "and provider tokens have to be entered again.",
        )


class PortTaken(EmbeddedError):
    """A port that was asked for by number is in use by another program."""

    def __init__(self, server: str, port: int) -> None:
        self.port = port
        super().__init__(
            f"{server} cannot listen on 127.0.0.1:{port}",
            "the port is taken by another program",
            "Stop that program or choose another port.",
        )


class DiskFull(EmbeddedError):
    """The file system of `path` has `free_bytes` left, which is less than a server needs to start."""

    def __init__(self, path: Path, free_bytes: int, needed_bytes: int) -> None:
        self.free_bytes = free_bytes
        super().__init__(
            f"the disk under {path} is full",
            f"{free_bytes // 10**6} MB are free and {needed_bytes // 10**6} MB are needed",
            "Free some space, or choose a folder on another disk with VAR_DIR.",
        )


class PermissionRefused(EmbeddedError):
    """A file or folder cannot be read or written by the user that runs this process."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be used",
            why,
            "Run as the user that owns it, change its owner, or choose another folder with VAR_DIR.",
        )


class RootNotPossible(EmbeddedError):
    """PostgreSQL refuses user id 0, and this environment does not let root become somebody else."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "PostgreSQL cannot be started by root here",
            why,
            "Run as a normal user, or set DATABASE_URL to a PostgreSQL of your own.",
        )


class ServerMissing(EmbeddedError):
    """No program for this server was found, or each one found was unsuitable (`why` says which)."""


class ServerCannotRun(EmbeddedError):
    """The program is there and does not run: wrong C library, wrong processor, not executable."""

    def __init__(self, program: Path, why: str, remedy: str) -> None:
        super().__init__(f"{program} does not run on this machine", why, remedy)


class DataIncompatible(EmbeddedError):
    """The data folder was written by a version that this program cannot read."""


class StartFailed(EmbeddedError):
    """The server ended or stayed silent while starting; `why` quotes the end of its log."""

    def __init__(self, server: str, why: str, log_path: Path) -> None:
        self.log_path = log_path
        super().__init__(f"{server} did not start", why, f"The full log is {log_path}.")
