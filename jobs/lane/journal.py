"""Which calls a turn has begun: a few bytes in a file that outlives its process.

A worker claims rows, then sends them. When it is killed in between, the rows alone do not say which requests had left,
and all of them would be `unknown`, even those that certainly never left. So each claimed message has a slot in a
memory-mapped file, and the slot is marked just before the request goes to the socket. The kernel keeps the page when
the process dies. The pool whose child died, or the next start on this host, finds the file without a living owner and
releases the rows that were never marked. When a host dies, its file is lost: then all claims of the turn are `unknown`,
which is safe.

Layout: 16 bytes claim token, 8 bytes account id, then the slots: 16 bytes message id and 1 byte mark. A mark is one
byte, so a kill at any moment leaves it set or not set.
"""

import fcntl
import mmap
import os
import struct
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import setitem
from pathlib import Path

_HEADER = struct.Struct("<16sq")
_ID_SIZE = 16
_SLOT_SIZE = _ID_SIZE + 1
CAPACITY = 4096
"""Messages a turn may have in hand at once."""
_SIZE = _HEADER.size + CAPACITY * _SLOT_SIZE
_NO_TOKEN = bytes(16)


@dataclass(frozen=True, slots=True)
class Testament:
    """What a dead worker left behind: the claims it held and which of its calls had begun."""

    token: uuid.UUID
    account_id: int
    dispatched: Sequence[uuid.UUID]


class Journal:
    """The file of one living worker. Writing costs a copy into memory; nothing is synced to disk."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.journal"
        # The lock is the sign of life: the kernel drops it with the process. It is taken before the file gets the name
        # by which dead workers are found: otherwise a pool that looks in between would take a new worker's file away.
        unborn = self._path.with_suffix(".new")
        self._file = os.open(unborn, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unborn.rename(self._path)
        os.posix_fallocate(self._file, 0, _SIZE)
        self._map = mmap.mmap(self._file, _SIZE)
        self._free = list(range(CAPACITY))
        self._slots: dict[uuid.UUID, int] = {}

    def begin(self, token: uuid.UUID, account_id: int) -> None:
        """Open the notes of a turn, before its first claim."""
        self._map[:] = _HEADER.pack(token.bytes, account_id) + bytes(_SIZE - _HEADER.size)
        self._free = list(range(CAPACITY))
        self._slots = {}

    def reserve(self, message_id: uuid.UUID) -> Callable[[], None]:
        """Give a message its slot; return the function that marks it. Call that when the request leaves.

        The mark is a single store, so that as little time as possible lies between it and the first byte.

        Raises:
            IndexError: more messages in hand than `CAPACITY`.
        """
        slot = self._free.pop()
        self._slots[message_id] = slot
        at = _HEADER.size + slot * _SLOT_SIZE
        self._map[at : at + _SLOT_SIZE] = message_id.bytes + b"\0"
        return partial(setitem, self._map, at + _ID_SIZE, 1)

    def settled(self, message_ids: Iterable[uuid.UUID]) -> None:
        """Forget these messages: what became of them is committed."""
        for message_id in message_ids:
            slot = self._slots.pop(message_id, None)
            if slot is not None:
                self._map[_HEADER.size + slot * _SLOT_SIZE + _ID_SIZE] = 0
                self._free.append(slot)

    def dispatched(self) -> list[uuid.UUID]:
        """Return the messages whose requests may have left and that are not settled."""
        return _marked(self._map)

    def end(self) -> None:
        """Close the notes of a turn: it holds no claims any more."""
        self._map[: _HEADER.size] = _HEADER.pack(_NO_TOKEN, 0)

    def leave(self) -> None:
        """Leave the file with all its notes to the pool, which settles them as if this worker had died."""
        self._map.close()
        os.close(self._file)

    def close(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
        self.leave()


def testaments(directory: Path) -> list[tuple[Path, Testament | None]]:
    """Return the files whose worker is dead, with what it left (None: nothing). The caller removes them."""
    found: list[tuple[Path, Testament | None]] = []
    for path in sorted(directory.glob("*.journal")) if directory.is_dir() else []:
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            found.append((path, _read(os.pread(file, _SIZE, 0))))
        finally:
            os.close(file)
    return found


def _read(data: bytes) -> Testament | None:
    if len(data) < _SIZE:
        return None
    token, account_id = _HEADER.unpack_from(data)
    if token == _NO_TOKEN:
        return None
    return Testament(token=uuid.UUID(bytes=token), account_id=account_id, dispatched=_marked(data))


def _marked(data: bytes | mmap.mmap) -> list[uuid.UUID]:
    starts = range(_HEADER.size, _SIZE, _SLOT_SIZE)
    return [uuid.UUID(bytes=data[at : at + _ID_SIZE]) for at in starts if data[at + _ID_SIZE]]
