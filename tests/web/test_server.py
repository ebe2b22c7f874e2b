"""The web process as it is run: gunicorn, over HTTP."""

import csv
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from campaign_engine.config import Config
from campaign_engine.models import User
from tests import factories
from tests.web.conftest import ROOT, Caller
from web import server
from web.server import processes_and_threads

RUN = """
from campaign_engine import config
from web import server

server.GRACE_S = 1  # as long as a stop waits for a kept connection
server.run(config.load())
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def start(config: Config, port: int, folder: Path) -> subprocess.Popen[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": config.database_url or "",
        "REDIS_URL": config.redis_url or "",
        "SECRET_KEY": factories.SECRET_KEY,
        "ENCRYPTION_KEY": factories.ENCRYPTION_KEY,
        "WEB_PORT": str(port),
        "VAR_DIR": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, "-c", RUN],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def serving(config: Config, folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the server; yield its address and its process."""
    port = free_port()
    process = start(config, port, folder)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                requests.get(f"{address}/healthz", timeout=60)
                break
            except requests.ConnectionError:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield address, process
    finally:
        children = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()  # first, or it would start others in their place
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.communicate()


def alive(process: psutil.Process) -> bool:
    """Say whether a process runs; one that only waits to be reaped does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def address(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(config, tmp_path_factory.mktemp("web")) as (found, _):
        yield found


@pytest.fixture
def http(address: str, call: Caller) -> Iterator[Callable[..., requests.Response]]:
    """Call the API over HTTP, on one kept connection."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {call.token}"
        yield lambda method, path, **options: session.request(method, f"{address}/api/v1{path}", timeout=60, **options)


def test_it_serves_the_api(http: Callable[..., requests.Response]) -> None:
    made = http("POST", "/lists", json={"name": "Over HTTP"})
    assert made.status_code == 201
    assert made.headers["Content-Type"] == "application/json"
    assert http("GET", f"/lists/{made.json()['id']}").json() == made.json()
    deleted = http("DELETE", f"/lists/{made.json()['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert http("GET", f"/lists/{made.json()['id']}").status_code == 404


def test_an_import_may_be_larger_than_other_bodies(http: Callable[..., requests.Response]) -> None:
    rows = "".join(f"+55119{number:08d},some name that is long enough\n" for number in range(150_000))
    content = f"telefone,nome\n{rows}".encode()
    assert len(content) > 5 << 20
    made = http("POST", "/contacts/import", files={"file": ("large.csv", content)})
    assert (made.status_code, made.json()["size_bytes"]) == (202, len(content))


def test_a_body_that_is_too_large_is_refused_without_reading_it_all(http: Callable[..., requests.Response]) -> None:
    answer = http("POST", "/lists", data=b"x" * (6 << 20), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_body_in_chunks_is_read_and_bounded_too(http: Callable[..., requests.Response]) -> None:
    def chunks(size: int) -> Iterator[bytes]:
        yield b'{"name": "'
        yield from (b"x" * 1000 for _ in range(size))
        yield b'"}'

    json_type = {"Content-Type": "application/json"}
    assert http("POST", "/lists", data=chunks(1), headers=json_type).json()["code"] == "invalid_input"
    answer = http("POST", "/lists", data=chunks(6000), headers=json_type)
    assert answer.status_code == 413, answer.text


def test_an_export_is_streamed_complete(
    http: Callable[..., requests.Response], call: Caller, database: Callable[[], Any]
) -> None:
    from campaign_engine.clock import utc_now
    from campaign_engine.services.campaigns import lifecycle, preparing

    with database() as session:
        owner = session.get_one(User, call.user_id)
        listed = factories.contact_list(session, owner.company, size=3000)
        made = factories.campaign(session, owner, audience={"list_ids": [listed.id]})
        lifecycle.start(session, made, now=utc_now())
        preparing.prepare_chunk(session, made.id, now=utc_now())
    answer = http("GET", f"/campaigns/{made.id}/export.csv")
    assert answer.headers["Transfer-Encoding"] == "chunked"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len({row["phone"] for row in rows}) == 3000


def test_requests_at_once_are_served_at_once(address: str, call: Caller) -> None:
    def ask(_: int) -> int:
        headers = {"Authorization": f"Bearer {call.token}"}
        return requests.get(f"{address}/api/v1/campaigns", headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(ask, range(64))) == {200}


def test_threads_are_spread_over_two_processes(config: Config) -> None:
    def of(threads: int) -> tuple[int, int]:
        variables = {"WEB_THREADS": str(threads)}
        return processes_and_threads(
            factories.config(database_url="postgresql:///x", redis_url="redis://x", **variables)
        )

    assert [of(threads) for threads in (1, 2, 3, 16)] == [(1, 1), (2, 1), (2, 2), (2, 8)]


def test_it_stops_also_with_a_kept_connection(config: Config, tmp_path: Path, eventually: Callable[..., None]) -> None:
    with serving(config, tmp_path) as (address, process), requests.Session() as kept:
        kept.get(f"{address}/healthz", timeout=60)
        eventually(lambda: len(psutil.Process(process.pid).children()) == 2)
        workers = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not any(alive(worker) for worker in workers)


def test_workers_die_with_their_parent(config: Config, tmp_path: Path, eventually: Callable[..., None]) -> None:
    with serving(config, tmp_path) as (_, process):
        workers = psutil.Process(process.pid).children()
        process.kill()
        eventually(lambda: not any(alive(worker) for worker in workers))


def test_a_taken_port_is_one_clear_line(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            server.run(replace(config, web_port=port))
    assert ended.value.code == 1
    said = f"web: port {port} on 127.0.0.1 is already in use; stop what uses it or set WEB_PORT\n"
    assert tuple(capsys.readouterr()) == ("", said)


def test_a_host_that_is_none_is_one_clear_line(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        server.run(replace(config, web_host="no.such.host.invalid"))
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.startswith("web: cannot listen on no.such.host.invalid:")
