"""What Redis itself can do to a limiter: many callers, lost replies, outages, forks, a cluster."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from ratelimit import InvalidLimit, Limit, Limiter, LimiterUnavailable, Rate, RateLimitError, connections
from tests.ratelimit.oracle import START_US, contents

ACCOUNT = Limit("account", "account:7", Rate.parse("20/hour"), burst=5)
USER = Limit("user", "user:1", Rate.parse("100/hour"), kind="window")


# many callers


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ([Limit("a", "a", Rate.parse("40/hour"), burst=20)], 20),
        ([Limit("a", "a", Rate.parse("30/hour"), kind="bucket")], 30),
        ([Limit("a", "a", Rate.parse("25/hour"), kind="window")], 25),
        ([Limit("a", "a", Rate.parse("17/hour"), kind="distinct")], 17),
        ([ACCOUNT, USER, Limit("w", "w", Rate.parse("60/hour"), kind="bucket")], 5),
    ],
)
def test_a_hundred_threads_get_exactly_what_there_is(limiter: Limiter, limits: list[Limit], most: int) -> None:
    start = threading.Barrier(100)

    def call(number: int) -> int:
        start.wait()
        return limiter.acquire(limits, member=str(number) if limits[0].kind == "distinct" else None).granted

    with ThreadPoolExecutor(100) as pool:
        assert sum(pool.map(call, range(100))) == most


# one call is one round trip


def test_a_decision_is_one_command_whatever_the_number_of_limits(limiter: Limiter, server: redis.Redis) -> None:
    limits = [ACCOUNT, USER, Limit("w", "w", Rate.parse("60/hour"), kind="bucket")]
    limiter.acquire(limits)
    before = _calls(server)
    for _ in range(7):
        limiter.acquire(limits)
    after = _calls(server)
    assert after.pop("cmdstat_evalsha") - before.pop("cmdstat_evalsha") == 7
    from_outside = ("cmdstat_eval", "cmdstat_script|load", "cmdstat_multi", "cmdstat_watch")
    assert all(after.get(name, 0) == before.get(name, 0) for name in from_outside)


def _calls(server: redis.Redis) -> dict[str, int]:
    return {name: stats["calls"] for name, stats in server.info("commandstats").items()}


def test_scripts_that_redis_has_forgotten_are_sent_again(limiter: Limiter, server: redis.Redis) -> None:
    limiter.acquire([ACCOUNT], now_us=START_US)
    server.script_flush()
    assert limiter.acquire([ACCOUNT], now_us=START_US).granted == 1
    server.script_flush()
    assert limiter.peek([ACCOUNT], now_us=START_US).granted == 1


# lost replies


def test_a_decision_whose_reply_is_lost_was_sent_once(limiter: Limiter, server: redis.Redis) -> None:
    with _losing_a_reply(server) as (client, lose_the_next_reply):
        far = Limiter(client, prefix=limiter.prefix)
        far.acquire([ACCOUNT], now_us=START_US)  # so that the script is known
        lose_the_next_reply.set()
        with pytest.raises(LimiterUnavailable):
            far.acquire([ACCOUNT], now_us=START_US)
        assert limiter.peek([ACCOUNT], now_us=START_US).usage[0].used == 2
        assert far.acquire([ACCOUNT], now_us=START_US).granted == 1


@contextmanager
def _losing_a_reply(server: redis.Redis) -> Iterator[tuple[redis.Redis, threading.Event]]:
    """A client of the server through a wire that can be told to break before the next reply to an EVALSHA."""
    lose, stop = threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    settings = server.connection_pool.connection_kwargs

    def serve() -> None:
        with ThreadPoolExecutor(8) as lines:
            while not stop.is_set():
                try:
                    near = listener.accept()[0]
                except TimeoutError:
                    continue
                lines.submit(carry, near)

    def carry(near: socket.socket) -> None:
        with closing(near), closing(socket.create_connection((settings["host"], settings["port"]))) as far:
            near.settimeout(0.05)
            while not stop.is_set():
                try:
                    sent = near.recv(65536)
                except TimeoutError:
                    continue
                if not sent:
                    return
                far.sendall(sent)
                reply = far.recv(65536)
                if b"EVALSHA" in sent and lose.is_set():
                    lose.clear()
                    return
                near.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        port = listener.getsockname()[1]
        with redis.Redis(port=port, password=settings.get("password")) as client:
            yield client, lose
    finally:
        stop.set()
        thread.join()
        listener.close()


# outages


def test_redis_gone_is_a_typed_error(limiter: Limiter) -> None:
    nobody = redis.Redis(port=_free_port(), retry=Retry(NoBackoff(), 0))
    gone = Limiter(nobody)
    for call in (
        lambda: gone.acquire([ACCOUNT]),
        lambda: gone.peek([ACCOUNT]),
        lambda: gone.penalize(ACCOUNT, until=datetime.now(UTC)),
        lambda: gone.acquire([Limit("a", "a", Rate.parse("1/s"), kind="moving-window")]),
    ):
        with pytest.raises(LimiterUnavailable, match="no decision from Redis") as caught:
            call()
        assert isinstance(caught.value, RateLimitError)


@pytest.mark.parametrize(("setting", "value", "normal"), [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")])
def test_a_redis_that_cannot_write_is_unavailable(
    limiter: Limiter, server: redis.Redis, setting: str, value: str, normal: str
) -> None:
    server.config_set(setting, value)
    try:
        with pytest.raises(LimiterUnavailable):
            limiter.acquire([ACCOUNT, USER])
    finally:
        server.config_set(setting, normal)
    assert not contents(server, limiter)


def test_connections_that_the_server_closed_are_opened_again(limiter: Limiter, server: redis.Redis) -> None:
    with redis.Redis.from_url(_url(server), client_name="watched") as client:
        near = Limiter(client, prefix=limiter.prefix)
        with ThreadPoolExecutor(5) as callers:
            list(callers.map(lambda _: near.acquire([USER]), range(10)))
        for line in server.client_list():
            if line["name"] == "watched":
                server.client_kill_filter(_id=line["id"])
        outcomes = [_outcome(near) for _ in range(3)]
    # The first one finds out; whether it was charged cannot be known, so it is not sent again.
    assert outcomes == ["unavailable", "granted", "granted"]


def test_connections_that_rested_are_looked_at_before_they_are_used(
    limiter: Limiter, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TRUSTED_S", 0.0)
    with redis.Redis.from_url(_url(server), client_name="rested") as client:
        near = Limiter(client, prefix=limiter.prefix)
        assert _outcome(near) == "granted"
        for line in server.client_list():
            if line["name"] == "rested":
                server.client_kill_filter(_id=line["id"])
        assert _outcome(near) == "granted"


def _outcome(limiter: Limiter) -> str:
    try:
        return "granted" if limiter.acquire([USER]).granted else "refused"
    except LimiterUnavailable:
        return "unavailable"


def _url(server: redis.Redis) -> str:
    settings = server.connection_pool.connection_kwargs
    return f"redis://:{settings.get('password') or ''}@{settings['host']}:{settings['port']}/0"


def test_a_limiter_can_be_used_on_both_sides_of_a_fork(server: redis.Redis, limiter: Limiter) -> None:
    program = """
import os, sys, redis
from ratelimit import Limit, Limiter, Rate
limiter = Limiter(redis.Redis.from_url(sys.argv[1]), prefix=sys.argv[2])
limit = Limit("a", "a", Rate.parse("100/hour"), kind="window")
limiter.acquire([limit])
child = os.fork()
for _ in range(20):
    assert limiter.acquire([limit]).granted == 1
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(limiter.peek([limit]).usage[0].used)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, _url(server), limiter.prefix],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout.strip(), done.stderr) == ("41", "")


def test_another_version_of_redis_py_is_refused_at_import() -> None:
    program = "import redis; redis.__version__ = '8.2.0'; import ratelimit"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "ratelimit.connections was written for redis-py 8.1.0, found 8.2.0" in done.stderr
    assert version("redis") == connections.SUPPORTED_REDIS_PY


# Sentinel and cluster


def test_it_works_through_sentinel(limiter: Limiter, server: redis.Redis, tmp_path: Path) -> None:
    settings, port = server.connection_pool.connection_kwargs, _free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\ndir {tmp_path}\n"
        f"sentinel monitor main {settings['host']} {settings['port']} 1\n"
        f"sentinel auth-pass main {settings['password']}\n"
    )
    program = server.info("server")["executable"]
    with subprocess.Popen([program, config, "--sentinel"], stdout=subprocess.DEVNULL) as process:
        try:
            sentinel: Any = cast(Any, Sentinel)([("127.0.0.1", port)])
            _until(lambda: bool(sentinel.discover_master("main")))
            with sentinel.master_for("main", password=settings["password"]) as client:
                through = Limiter(client, prefix=limiter.prefix)
                assert through.acquire([ACCOUNT, USER], 3, now_us=START_US).granted == 3
            for each in sentinel.sentinels:
                each.close()
        finally:
            process.terminate()
    assert limiter.peek([ACCOUNT], now_us=START_US).usage[0].used == 3


@pytest.mark.parametrize("prefix", ["rl", "{rl}", "app:{tenant-1}:rl"])
def test_the_prefix_holds_the_hash_tag(server: redis.Redis, prefix: str) -> None:
    limiter = Limiter(server, prefix=prefix)
    assert limiter.prefix in ("{rl}", "app:{tenant-1}:rl")


@pytest.mark.parametrize("prefix", ["", "{}", "rl{}", "rl{", "}rl{"])
def test_a_prefix_that_would_scatter_the_keys_is_refused(server: redis.Redis, prefix: str) -> None:
    with pytest.raises(InvalidLimit, match="prefix"):
        Limiter(server, prefix=prefix)


@pytest.fixture(scope="module")
def cluster(server: redis.Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.RedisCluster]:
    """A real cluster of one node: it refuses a script whose keys are in two slots."""
    program = Path(server.info("server")["executable"])
    port = _free_port(below=50_000)
    arguments = ["--port", str(port), "--cluster-enabled", "yes", "--save", "", "--loglevel", "warning"]
    folder = tmp_path_factory.mktemp("cluster")
    with subprocess.Popen([program, *arguments, "--dir", folder], stdout=subprocess.DEVNULL) as node:
        try:
            with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as plain:
                _until(lambda: bool(plain.ping()))
                plain.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
                _until(lambda: b"cluster_state:ok" in plain.execute_command("CLUSTER", "INFO"))
            with redis.RedisCluster(host="127.0.0.1", port=port) as client:
                yield client
        finally:
            node.terminate()


def test_all_keys_of_a_call_are_in_one_slot_of_a_cluster(cluster: redis.RedisCluster) -> None:
    limiter = Limiter(cluster, prefix="rl")
    limits = [
        Limit("a", "account:{7}", Rate.parse("20/minute"), burst=5),
        Limit("b", "user:1", Rate.parse("100/minute"), kind="bucket"),
        Limit("c", "message:1", Rate.parse("10/5 minutes"), kind="window"),
        Limit("d", "portfolio:1", Rate.parse("1000/day"), kind="distinct"),
    ]
    decision = limiter.acquire(limits, 2, member=["x", "y"])
    assert decision.granted == 2
    keys = list(cluster.scan_iter("*"))
    assert len(keys) == 4
    assert len({cluster.cluster_keyslot(key.decode()) for key in keys}) == 1
    limiter.penalize(limits[0], until=decision.now.replace(year=decision.now.year + 1))
    assert limiter.peek(limits).blocked_by == "a"


def test_a_cluster_does_refuse_keys_in_two_slots(cluster: redis.RedisCluster) -> None:
    with pytest.raises(RedisClusterException, match="same key slot"):
        cluster.eval("return 1", 2, "{a}:1", "{b}:1")


def _free_port(below: int = 65_536) -> int:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        if port < below:
            return port


def _until(is_so: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            if is_so():
                return
        except (redis.ConnectionError, MasterNotFoundError):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)
