"""The journal: what must outlive the process, as JSON lines in one file that only grows.

It knows lines, not what they mean. A torn last line (the process died while writing) is cut off when the file
is read back; any other line that cannot be read is an error.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulator.errors import StateDirDamaged, StateDirInUse

FLUSH_WITHIN_S = 0.1

Line = tuple[str, Any]

# json.dumps builds an encoder for every call that asks for separators; this one is made once.
_ENCODE = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class NoJournal:
    """Keeps nothing: the simulator without a state directory."""

    keeps = False

    def write(self, kind: str, data: object) -> None:
        pass

    def write_soon(self, kind: str, data: object) -> None:
        pass

    def replay(self) -> Iterator[Line]:
        yield from ()

    def clear(self) -> None:
        pass

    def close(self) -> None:
        pass


class Journal(NoJournal):
    """Keeps every line in `journal.jsonl`; it holds tokens and secrets, so only its owner may read it."""

    keeps = True

    def __init__(self, state_dir: Path) -> None:
        """Open the journal. Raises StateDirInUse, and OSError when the directory cannot be used."""
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = state_dir / "journal.jsonl"
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise StateDirInUse(f"{state_dir} is in use by another simulator") from None
        self._waiting: list[bytes] = []
        self._flush_timer: asyncio.TimerHandle | None = None

    def write(self, kind: str, data: object) -> None:
        """Hand a line to the operating system before returning: it survives the death of this process.

        Side effect: lines that were waiting go first. Raises OSError (disk full); then none was written.
        """
        self._waiting.append(_line(kind, data))
        self._flush()

    def write_soon(self, kind: str, data: object) -> None:
        """Keep a line in memory for at most FLUSH_WITHIN_S. Needs a running event loop."""
        self._waiting.append(_line(kind, data))
        if self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(FLUSH_WITHIN_S, self._flush)

    def replay(self) -> Iterator[Line]:
        """Yield every line from the start. Raises StateDirDamaged."""
        complete = 0
        self._file.seek(0)
        with os.fdopen(os.dup(self._file.fileno()), "rb") as reader:
            for place, raw in enumerate(reader, start=1):
                if not raw.endswith(b"\n"):
                    break
                try:
                    kind, data = json.loads(raw)
                except ValueError:
                    raise StateDirDamaged(f"{self.path}, line {place} cannot be read") from None
                complete += len(raw)
                yield kind, data
        self._file.truncate(complete)

    def clear(self) -> None:
        """Forget every line, written or waiting."""
        self._waiting.clear()
        self._file.truncate(0)

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        rest, self._waiting = b"".join(self._waiting), []
        end = self._file.seek(0, os.SEEK_END)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            # A full disk takes back the part that fitted: half a line would spoil the whole file.
            self._file.truncate(end)
            raise


def _line(kind: str, data: object) -> bytes:
    return _ENCODE([kind, data]).encode() + b"\n"
