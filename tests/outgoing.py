"""Watches every HTTP request that leaves this process: none may while a transaction is open on the same thread.

A provider that hangs would hold the transaction's connection and its locks. What is watched is below our own code:
SQLAlchemy's connections and Python's sockets. Requests of tests to the simulator's controls are none of the product's.
"""

import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

_METHODS = tuple(f"{method} ".encode() for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"))
_CONTROLS = b" /simulator/"

_open: dict[int, int] = {}  # the thread of each connection with a transaction


def _begun(connection: Connection) -> None:
    _open[id(connection)] = threading.get_ident()


def _ended(connection: Connection) -> None:
    _open.pop(id(connection), None)


for _name, _listener in (("begin", _begun), ("commit", _ended), ("rollback", _ended)):
    event.listen(Engine, _name, _listener)


@contextmanager
def watched(*, controls: bool = False) -> Iterator[list[str]]:
    """Give the list that every request inside a transaction is added to, with where it came from.

    Args:
        controls: watch requests to the simulator's controls too.
    """
    seen: list[str] = []
    sendall = socket.socket.sendall

    def watching(self: socket.socket, data: Any, *flags: int) -> None:
        line = bytes(data[:2048]).partition(b"\r\n")[0]
        is_ours = line.startswith(_METHODS) and (controls or _CONTROLS not in line)
        if is_ours and threading.get_ident() in _open.values():
            seen.append(f"{line.decode()} inside a transaction:\n{''.join(traceback.format_stack(limit=25))}")
        sendall(self, data, *flags)

    socket.socket.sendall = watching  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        socket.socket.sendall = sendall  # type: ignore[method-assign]
