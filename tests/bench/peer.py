"""Another engine to compare with: a command that sends through the same provider process and PostgreSQL server.

It is run as `CMD COUNT IN_FLIGHT` with PG (a database of its own), REDIS_PORT (a Redis without a password, of its own)
and JUDGE (the provider's address) in its environment, posts to /v23.0/111/messages, and prints as its last line JSON
with `messages_per_s`.
"""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import redis

from cli.embedded.redis import find_program
from tests.bench.servers import Servers
from tests.end_to_end.plant import free_port

NUMBER = "111"
ACCESS_TOKEN = "x"
TIMEOUT_S = 90.0
DATABASE = "peer"


def run(command: str, count: int, in_flight: int, *, servers: Servers, judge: str) -> float:
    """Let the peer send `count` messages with so many in flight; return how many a second it sent.

    Raises subprocess.SubprocessError when it fails or takes more than 90 s.
    """
    with _database(servers) as database_url, _redis(servers) as port:
        done = subprocess.run(
            [*shlex.split(command), str(count), str(in_flight)],
            env={**os.environ, "PG": database_url, "REDIS_PORT": str(port), "JUDGE": judge},
            stdout=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    return float(json.loads(done.stdout.strip().splitlines()[-1])["messages_per_s"])


@contextmanager
def _database(servers: Servers) -> Iterator[str]:
    server = servers.database_url.rpartition("/")[0]
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
        yield f"{server}/{DATABASE}"
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@contextmanager
def _redis(servers: Servers) -> Iterator[int]:
    """Start a Redis that keeps its jobs as safe as ours does, without a password."""
    port, folder = free_port(), servers.folder / "peer"
    folder.mkdir(exist_ok=True)
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([str(find_program()), *arguments], stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        with redis.Redis(port=port, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 100)) as client:
            client.ping()
        yield port
    finally:
        process.terminate()
        process.wait(10)
