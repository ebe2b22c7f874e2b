"""Posting with the send path's own client, and what may happen to its connections meanwhile."""

import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from campaign_engine.providers.direct import Answer, ConnectionFault, DirectHttp
from tests.campaign_engine.providers.wire import Request, response, serving

BODY = b'{"to": "+5511900000001"}'
GOOD = response(body=b'{"ok": 1}')


def impatient(*, connect_timeout_s: float = 60) -> DirectHttp:
    """A client that waits a tenth of a second for an answer; for a connection only where that is what is tried."""
    return DirectHttp(connect_timeout_s=connect_timeout_s, timeout_s=0.1)


def post(client: DirectHttp, url: str, *, leaving: Callable[[], object] = lambda: None, body: bytes = BODY) -> Answer:
    return client.post(f"{url}/v1/messages", headers={"Authorization": "Bearer T"}, body=body, leaving=leaving)


def fault(client: DirectHttp, url: str, *, body: bytes = BODY) -> tuple[str, int]:
    """Post in vain; return the reason and how often `leaving` was called."""
    left: list[None] = []
    with pytest.raises(ConnectionFault) as caught:
        post(client, url, leaving=lambda: left.append(None), body=body)
    return str(caught.value), len(left)


def shut(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


def says(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


@dataclass
class _Idling:
    """Answers; then, when `go` is set, does something to the first connection, and reads on."""

    act: Callable[[socket.socket], None]

    def __post_init__(self) -> None:
        self.go, self.done = threading.Event(), threading.Event()

    def __call__(self, connection: socket.socket, request: Request) -> bool:
        connection.sendall(GOOD)
        if request.connection == 0:
            self.go.wait(60)
            self.act(connection)
            self.done.set()
        return True


def used_after(
    client: DirectHttp, act: Callable[[socket.socket], None], *, tls: ssl.SSLContext | None = None
) -> list[int]:
    """Return which connections two requests went to, when something happened to the first one in between."""
    idling = _Idling(act)
    with serving(idling, tls=tls) as server:
        post(client, server.url)
        idling.go.set()
        assert idling.done.wait(60)
        assert post(client, server.url).content == b'{"ok": 1}'
        return [request.connection for request in server.requests]


def converse_all_at_once(client: DirectHttp, *, threads: int, rounds: int, tls: ssl.SSLContext | None = None) -> int:
    """Let threads post, each round all together, check that each gets its own answers, and count the connections."""
    begin, all_are_here = threading.Barrier(threads, timeout=60), threading.Barrier(threads, timeout=60)

    def echo(connection: socket.socket, request: Request) -> bool:
        all_are_here.wait()
        connection.sendall(response(body=request.body))
        return True

    def converse(thread: int) -> bool:
        bodies = [b"%d/%d " % (thread, at) * 20 for at in range(rounds)]
        begin.wait()
        return [post(client, server.url, body=body).content for body in bodies] == bodies

    with serving(echo, tls=tls) as server, ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(converse, range(threads)))
        assert len(server.requests) == threads * rounds
        return server.connection_count
