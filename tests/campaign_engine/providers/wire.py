"""Tiny HTTP servers for what a good provider never does: each reads a request and then does what it was told."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

GOOD_BODY = {"messages": [{"id": "wamid.1"}], "contacts": [{"input": "+5511900000001", "wa_id": "5511900000001"}]}


@dataclass(frozen=True)
class Request:
    """A request as it arrived; `connection` counts the connections from 0."""

    connection: int
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behaviour = Callable[[socket.socket, Request], bool]
"""Answers on the connection; True keeps it open for the next request."""


class Server:
    """Listens on the loopback interface; `requests` has what arrived."""

    def __init__(self, behave: Behaviour, *, tls: ssl.SSLContext | None, reads: bool) -> None:
        self.requests: list[Request] = []
        self.connection_count = 0
        self.closed_count = 0
        self.released = threading.Event()
        self._behave, self._tls, self._reads = behave, tls, reads
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self.connection_count))
            self.connection_count += 1
            self._threads.append(thread)
            thread.start()

    def _serve(self, accepted: socket.socket, count: int) -> None:
        connection = accepted
        try:
            if self._tls is not None:
                # The socket itself stays open for `close`, whatever TLS does with its own.
                connection = self._tls.wrap_socket(accepted.dup(), server_side=True)
            while True:
                request = self._read(connection, count) if self._reads else self._glimpse(connection, count)
                if request is None:
                    return
                with self._lock:
                    self.requests.append(request)
                if not self._behave(connection, request):
                    return
        except OSError:
            return  # The other side has gone: that is for its own test to judge.
        finally:
            with self._lock:
                self._open.discard(accepted)
            connection.close()
            accepted.close()
            self.closed_count += 1

    @staticmethod
    def _glimpse(connection: socket.socket, count: int) -> Request:
        """Wait until something has arrived, and leave it unread."""
        connection.recv(1, socket.MSG_PEEK)
        return Request(count, "", {}, b"")

    @staticmethod
    def _read(connection: socket.socket, count: int) -> Request | None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            piece = connection.recv(65536)
            if not piece:
                return None
            body += piece
        return Request(count, line, headers, body)

    def close(self) -> None:
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:  # kept by a client that has no more to say
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive()


@contextmanager
def serving(behave: Behaviour, *, tls: ssl.SSLContext | None = None, reads: bool = True) -> Iterator[Server]:
    server = Server(behave, tls=tls, reads=reads)
    try:
        yield server
    finally:
        server.close()


def response(
    status: int = 200, body: object = GOOD_BODY, *, headers: Mapping[str, str] | None = None, length: int | None = None
) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Length": str(len(content) if length is None else length), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode("latin-1") + content


def answering(*answers: bytes) -> Behaviour:
    """Give these answers one after the other, the last one for ever."""
    left = list(answers)

    def behave(connection: socket.socket, request: Request) -> bool:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])
        return True

    return behave


def cutting(connection: socket.socket, request: Request) -> bool:
    """Reset the connection instead of closing it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def closing_after(answer: bytes) -> Behaviour:
    def behave(connection: socket.socket, request: Request) -> bool:
        connection.sendall(answer)
        return False

    return behave
