"""Connections that say when a request really leaves.

Whether a message may have left decides between “sent again” and “unknown”. The nearest that Python comes to the first
byte is just before the socket's `sendall`; a note made any earlier (before the call of the HTTP library, say) also
covers the many milliseconds in which a thread waits for its turn at the interpreter. Head and body leave in one write,
so that a request is never half there.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_thread = threading.local()


@contextmanager
def noting(leaving: Callable[[], object]) -> Iterator[None]:
    """Call `leaving` once in this thread, just before the bytes of the next request with a body go to the socket."""
    _thread.leaving = leaving
    try:
        yield
    finally:
        _thread.leaving = None


class _OneWrite:
    """Holds the head of a noted request back until its body is there, and then writes both at once."""

    sock: Any
    connect: Callable[[], None]
    _leaving: Callable[[], object] | None = None
    _head: bytes | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._leaving = getattr(_thread, "leaving", None)
        self._head = None
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._leaving = None

    def send(self, data: Any) -> None:
        leaving = self._leaving
        if leaving is None:
            super().send(data)  # type: ignore[misc]
        elif self._head is None:
            self._head = data
            if self.sock is None:
                self.connect()
        else:
            whole = self._head + data
            self._leaving = None
            # A socket with a timeout is polled before it is written to, and between the two a thread may wait long for
            # the interpreter. A blocking one is written to at once; a request fits into the empty buffer of its
            # connection.
            timeout_s = self.sock.gettimeout()
            self.sock.settimeout(None)
            try:
                leaving()
                super().send(whole)  # type: ignore[misc]
            finally:
                self.sock.settimeout(timeout_s)


class _HttpConnection(_OneWrite, HTTPConnection):
    pass


class _HttpsConnection(_OneWrite, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class NotingAdapter(HTTPAdapter):
    """requests' adapter over such connections."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Use our pools, for direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Use our pools, through a proxy as well."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return manager
