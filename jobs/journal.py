"""Which calls a turn has begun: a few bytes in a file that outlive the process which wrote them.

A worker claims rows, then sends them. When it is killed in between, the rows alone do not say which calls had begun,
and all of them would be `unknown`, also those that certainly never left. So a worker notes each message's id in a
memory-mapped file just before its call. The kernel keeps the page when the process dies; whoever finds the file
without a living owner (the pool whose child died, or the next start on this host) releases the rows that were never
noted. A host that dies takes its file along: then all claims of the turn are `unknown`, which is safe.

Layout: 16 bytes claim token, 8 bytes account id, 4 bytes count, then 16 bytes per message id.
"""

import fcntl
import mmap
import os
import struct
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("<16sqI")
_COUNT = struct.Struct("<I")
_COUNT_AT = 24
_ID_SIZE = 16
CAPACITY = 4096
"""Messages a turn may have in hand at once."""
_SIZE = _HEADER.size + CAPACITY * _ID_SIZE
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
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # The lock is the sign of life: the kernel drops it with the process.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.posix_fallocate(self._file, 0, _SIZE)
        self._map = mmap.mmap(self._file, _SIZE)
        self._count = 0
        self._writing = threading.Lock()

    def begin(self, token: uuid.UUID, account_id: int) -> None:
        """Open the notes of a turn, before its first claim."""
        self._count = 0
        self._map[: _HEADER.size] = _HEADER.pack(token.bytes, account_id, 0)

    def dispatching(self, message_id: uuid.UUID) -> None:
        """Note that the call for this message begins now. Thread-safe.

        Raises:
            RuntimeError: more messages at once than `CAPACITY`.
        """
        with self._writing:
            if self._count >= CAPACITY:
                raise RuntimeError("more messages in hand than the journal has room for")
            at = _HEADER.size + self._count * _ID_SIZE
            self._map[at : at + _ID_SIZE] = message_id.bytes
            self._count += 1
            # The count moves after the id is in place: a reader never sees half an id.
            self._map[_COUNT_AT : _COUNT_AT + _COUNT.size] = _COUNT.pack(self._count)

    def settled(self) -> None:
        """Forget the messages noted so far: what became of them is committed."""
        self._count = 0
        self._map[_COUNT_AT : _COUNT_AT + _COUNT.size] = _COUNT.pack(0)

    def dispatched(self) -> list[uuid.UUID]:
        """Return the messages whose calls have begun and are not settled."""
        return _ids(self._map, self._count)

    def end(self) -> None:
        """Close the notes of a turn: it holds no claims any more."""
        self._count = 0
        self._map[: _HEADER.size] = _HEADER.pack(_NO_TOKEN, 0, 0)

    def close(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
        self._map.close()
        os.close(self._file)


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
    token, account_id, count = _HEADER.unpack_from(data)
    if token == _NO_TOKEN:
        return None
    dispatched = _ids(data, min(count, CAPACITY))
    return Testament(token=uuid.UUID(bytes=token), account_id=account_id, dispatched=dispatched)


def _ids(data: bytes | mmap.mmap, count: int) -> list[uuid.UUID]:
    end = _HEADER.size + count * _ID_SIZE
    return [uuid.UUID(bytes=data[at : at + _ID_SIZE]) for at in range(_HEADER.size, end, _ID_SIZE)]
