"""Which calls a turn has begun: a few bytes in a file that outlive the process which wrote them.

A worker claims rows, then sends them. When it is killed in between, the rows alone do not say which calls had begun,
and all of them would be `unknown`, also those that certainly never left. So a worker notes each message's id in a
memory-mapped file just before its call. The kernel keeps the page when the process dies; whoever finds the file
without a living owner (the pool whose child died, or the next start on this host) releases the rows that were never
noted. A host that dies takes its file along: then all claims of the turn are `unknown`, which is safe.

Layout: 16 bytes claim token, 8 bytes account id, 4 bytes that say which of two banks counts and how many ids are in it,
then the two banks of ids (16 bytes each). What is settled is dropped by writing the others into the other bank and
then flipping those 4 bytes, so that a kill at any moment leaves one bank or the other, never half of one.
"""

import fcntl
import mmap
import os
import struct
import threading
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("<16sqI")
_STATE = struct.Struct("<I")
_STATE_AT = 24
_BANK_BIT = 1 << 31
_ID_SIZE = 16
CAPACITY = 4096
"""Calls a turn may have begun and not settled."""
_BANK_SIZE = CAPACITY * _ID_SIZE
_SIZE = _HEADER.size + 2 * _BANK_SIZE
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
        self._bank = 0
        self._begun: list[uuid.UUID] = []
        self._writing = threading.Lock()

    def begin(self, token: uuid.UUID, account_id: int) -> None:
        """Open the notes of a turn, before its first claim."""
        self._bank, self._begun = 0, []
        self._map[: _HEADER.size] = _HEADER.pack(token.bytes, account_id, 0)

    def dispatching(self, message_id: uuid.UUID) -> None:
        """Note that the call for this message begins now. Thread-safe.

        Raises:
            RuntimeError: more calls at once than `CAPACITY`.
        """
        with self._writing:
            if len(self._begun) >= CAPACITY:
                raise RuntimeError("more calls begun than the journal has room for")
            at = _place(self._bank, len(self._begun))
            self._map[at : at + _ID_SIZE] = message_id.bytes
            self._begun.append(message_id)
            # The count moves after the id is in place: a reader never sees half an id.
            self._write_state()

    def settled(self, message_ids: Collection[uuid.UUID]) -> None:
        """Forget these messages: what became of them is committed."""
        with self._writing:
            self._begun = [each for each in self._begun if each not in message_ids]
            self._bank = 1 - self._bank
            start = _place(self._bank, 0)
            self._map[start : start + len(self._begun) * _ID_SIZE] = b"".join(each.bytes for each in self._begun)
            self._write_state()

    def dispatched(self) -> list[uuid.UUID]:
        """Return the messages whose calls have begun and are not settled."""
        with self._writing:
            return list(self._begun)

    def end(self) -> None:
        """Close the notes of a turn: it holds no claims any more."""
        self._begun = []
        self._map[: _HEADER.size] = _HEADER.pack(_NO_TOKEN, 0, 0)

    def _write_state(self) -> None:
        state = len(self._begun) | (_BANK_BIT if self._bank else 0)
        self._map[_STATE_AT : _STATE_AT + _STATE.size] = _STATE.pack(state)

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
    token, account_id, state = _HEADER.unpack_from(data)
    if token == _NO_TOKEN:
        return None
    bank, count = (1 if state & _BANK_BIT else 0), min(state & ~_BANK_BIT, CAPACITY)
    first, end = _place(bank, 0), _place(bank, count)
    dispatched = [uuid.UUID(bytes=data[at : at + _ID_SIZE]) for at in range(first, end, _ID_SIZE)]
    return Testament(token=uuid.UUID(bytes=token), account_id=account_id, dispatched=dispatched)


def _place(bank: int, index: int) -> int:
    return _HEADER.size + bank * _BANK_SIZE + index * _ID_SIZE
