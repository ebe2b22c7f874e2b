"""How the limiter reaches Redis: one command, sent once, with as little work as possible in between."""

from __future__ import annotations

import os
import re
import time
from typing import Any, Protocol

import redis
from redis.connection import ConnectionPool
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from ratelimit.errors import LimiterUnavailable, ScriptFailed
from ratelimit.scripts import Script

SUPPORTED_REDIS_PY = "8.1.0"
"""`Connections` builds connections from the pool's settings and asks them for `pid`: none of it is documented."""
if redis.__version__ != SUPPORTED_REDIS_PY:
    raise ImportError(f"ratelimit.connections was written for redis-py {SUPPORTED_REDIS_PY}, found {redis.__version__}")

KEPT = 16
"""Connections kept open between calls; more are opened when more threads call at once, and closed after."""

TRUSTED_S = 1.0
"""If a connection was used less than this long ago it is taken to be open; an older one is checked first."""

_SERVER_STATES = re.compile(
    r"\b(OOM|READONLY|MISCONF|NOREPLICAS|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|NOAUTH|WRONGPASS|NOPERM)\b"
)
"""The codes by which Redis says that it cannot serve now. A script's error has them inside a longer text."""


class Client(Protocol):
    """The part of a Redis client that is used: `redis.Redis`, also of a Sentinel, or `redis.RedisCluster`."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply."""


class Connections:
    """Connections of the limiter's own, made with the settings of a pool.

    Why not the client and its pool: taking a connection and giving it back costs as much as all the rest. And
    `redis.Redis` sends a command again when the connection breaks before the reply; if the first one was carried out,
    that charges twice. Here a command is sent once.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._idle: list[tuple[Any, float]] = []

    def execute(self, *args: Any) -> Any:
        """Send one command and return its reply.

        Raises: what redis-py raises.
        """
        connection = self._take()
        try:
            connection.send_command(*args)
            return connection.read_response()
        except ResponseError:
            raise
        except BaseException:
            connection.disconnect()
            self.close()  # what broke this one has probably broken those that are idle
            raise
        finally:
            if len(self._idle) < KEPT:
                self._idle.append((connection, time.monotonic()))
            else:
                connection.disconnect()

    def close(self) -> None:
        """Close the connections that are kept. The next command opens a new one."""
        while self._idle:
            self._idle.pop()[0].disconnect()

    def __del__(self) -> None:
        self.close()

    def _take(self) -> Any:
        while True:
            try:
                connection, used_at = self._idle.pop()
            except IndexError:
                return self._pool.connection_class(**self._pool.connection_kwargs)
            if connection.pid != os.getpid():
                connection.disconnect()  # made before a fork: this is only our copy, the parent still uses its own
                continue
            if time.monotonic() - used_at > TRUSTED_S and not _is_quiet(connection):
                connection.disconnect()  # the other side has closed it; the next use opens it again
            return connection


def _is_quiet(connection: Any) -> bool:
    try:
        return not connection.can_read()
    except (RedisError, OSError):
        return False


class Runner:
    """Runs scripts on a client."""

    __slots__ = ("_execute",)

    def __init__(self, client: Client) -> None:
        self._execute = client.execute_command
        if isinstance(client, redis.Redis) and client.connection is None:
            pool = client.connection_pool
            # Sentinel, blocking pools and renewed credentials need their pool's own care.
            if type(pool) is ConnectionPool and pool.connection_kwargs.get("credential_provider") is None:
                self._execute = Connections(pool).execute

    def run(self, script: Script, *args: object) -> Any:
        """Run the script; `args` are the number of keys, the keys, then ARGV.

        Side effects: one round trip; two the first time after Redis has started and does not know the script.

        Raises:
            LimiterUnavailable: Redis gave no answer, or said that it cannot serve now.
            ScriptFailed: Redis ran the script and it failed.
        """
        try:
            return self._command("EVALSHA", script.sha, *args)
        except NoScriptError:
            return self._command("EVAL", script.text, *args)

    def _command(self, *args: object) -> Any:
        # Raises as `run`; `NoScriptError` is left to `run`.
        try:
            return self._execute(*args)
        except NoScriptError:
            raise
        except ResponseError as error:
            raise _reason(error) from error
        except (RedisError, RedisClusterException, OSError) as error:
            raise LimiterUnavailable(f"no decision from Redis: {error or type(error).__name__}") from error


def _reason(error: ResponseError) -> LimiterUnavailable | ScriptFailed:
    text = str(error)
    if type(error) is not ResponseError or _SERVER_STATES.search(text):
        return LimiterUnavailable(f"Redis cannot decide now: {text}")
    return ScriptFailed(f"the script failed in Redis: {text}")
