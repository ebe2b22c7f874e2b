"""A way to a server that a test can cut: the server itself goes on, and other programs reach it as before."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """A port of the loopback interface that leads to the server of a URL; `url` is the same address through it.

    `refuse` breaks what is open and refuses what is new. `freeze` lets nothing through and says nothing: connections
    stay, new ones are taken by the kernel, and no byte arrives. `restore` ends both; what was written to a frozen
    connection arrives then.
    """

    def __init__(self, url: str) -> None:
        split = urlsplit(url)
        self._server = (split.hostname or "", split.port or 0)
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = self._listen(0)
        self._port: int = self._listener.getsockname()[1]
        credentials, _, _ = split.netloc.rpartition("@")
        self.url = urlunsplit(split._replace(netloc=f"{credentials}@127.0.0.1:{self._port}"))

    def refuse(self) -> None:
        """Break every connection, and refuse new ones."""
        self._close_listener()
        for end in list(self._open):
            _shut(end)

    def freeze(self) -> None:
        """Let no byte through."""
        self._flowing.clear()

    def restore(self) -> None:
        """Let everything through again."""
        if self._listener.fileno() < 0:
            self._listener = self._listen(self._port)
        self._flowing.set()

    def close(self) -> None:
        """Break everything, for good."""
        self._flowing.set()
        self.refuse()
        for thread in self._threads:
            thread.join(60)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self._start(self._accept, listener)
        return listener

    def _close_listener(self) -> None:
        _shut(self._listener)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._start(self._connect, client)

    def _connect(self, client: socket.socket) -> None:
        self._open.add(client)
        self._flowing.wait()
        if self._listener.fileno() < 0:  # refused between the two
            self._end(client)
            return
        try:
            server = socket.create_connection(self._server, timeout=60)
        except OSError:
            self._end(client)
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(server)
        answers = self._start(self._pump, server, client)
        self._pump(client, server)
        answers.join()
        self._end(client)
        self._end(server)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._flowing.wait()
                target.sendall(data)
        _shut(source)
        _shut(target)

    def _end(self, end: socket.socket) -> None:
        self._open.discard(end)
        end.close()

    def _start(self, work: Callable[..., object], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
