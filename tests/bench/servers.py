"""Private servers for a benchmark, and nothing left of them afterwards."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from campaign_engine import migrations
from cli.embedded.installation import Installation
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses: a migrated database, a Redis for the queues, another for the limits alone (so that their calls can be
    counted), and a folder for everything else.
    """

    database_url: str
    redis_url: str
    limits_redis_url: str
    folder: Path


@contextmanager
def private_servers() -> Iterator[Servers]:
    """Start PostgreSQL with its usual safety, and two Redis servers with AOF, as an installation has them."""
    folder = Path(tempfile.mkdtemp(prefix="ce-bench-"))
    try:
        with Installation(folder / "main") as installation, Installation(folder / "limits") as beside:
            postgres, redis, limits = EmbeddedPostgres(installation), EmbeddedRedis(installation), EmbeddedRedis(beside)
            try:
                for server in (postgres, redis, limits):
                    server.start()
                migrations.upgrade(postgres.url)
                yield Servers(postgres.url, redis.url, limits.url, folder)
            finally:
                for server in (postgres, redis, limits):
                    server.stop(5)
    finally:
        shutil.rmtree(folder)
