"""Private servers for a benchmark, and nothing left of them afterwards."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from campaign_engine import migrations
from cli.embedded.installation import Installation
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis
from tests.bench import statements


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses: a migrated database, a Redis for the queues, another for the limits alone (so that their calls can be
    counted), and a folder for everything else. Process ids, to see what the servers cost; the database's log, to
    count its statements.
    """

    database_url: str
    redis_url: str
    limits_redis_url: str
    folder: Path
    postgres_pid: int
    redis_pid: int
    limits_redis_pid: int
    postgres_log: Path


@contextmanager
def private_servers(settings: Mapping[str, str] | None = None) -> Iterator[Servers]:
    """Start PostgreSQL with its usual safety, and two Redis servers with AOF, as an installation has them.

    `settings` are parameters of PostgreSQL that replace the usual ones.
    """
    folder = Path(tempfile.mkdtemp(prefix="ce-bench-"))
    try:
        with Installation(folder / "main") as installation, Installation(folder / "limits") as beside:
            postgres = EmbeddedPostgres(installation, settings={**statements.LOG_SETTINGS, **(settings or {})})
            redis, limits = EmbeddedRedis(installation), EmbeddedRedis(beside)
            try:
                for server in (postgres, redis, limits):
                    server.start()
                migrations.upgrade(postgres.url)
                yield Servers(
                    postgres.url,
                    redis.url,
                    limits.url,
                    folder,
                    postgres_pid=postgres.pid or 0,
                    redis_pid=redis.pid or 0,
                    limits_redis_pid=limits.pid or 0,
                    postgres_log=postgres.log_path,
                )
            finally:
                for server in (postgres, redis, limits):
                    server.stop(5)
    finally:
        shutil.rmtree(folder)
