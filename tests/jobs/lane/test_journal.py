"""What a killed worker leaves behind."""

import fcntl
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from jobs.lane import journal
from jobs.lane.journal import Journal

TOKEN = uuid.UUID(int=7)
IDS = [uuid.UUID(int=at) for at in range(1, 6)]

_WORKER = """
import sys, time, uuid
from pathlib import Path
from jobs.lane.journal import Journal
notes = Journal(Path(sys.argv[1]))
notes.begin(uuid.UUID(int=7), 42)
marks = [notes.reserve(uuid.UUID(int=at)) for at in range(1, 8)]
for mark in marks[:2]:
    mark()
notes.settled({uuid.UUID(int=1), uuid.UUID(int=2)})
for mark in marks[2:5]:
    mark()
if sys.argv[2]:
    notes.end()
print("ready", flush=True)
time.sleep(60)
"""


def _kill_a_worker(folder: Path, *, turn_ended: bool) -> None:
    command = [sys.executable, "-c", _WORKER, str(folder), "ended" if turn_ended else ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        assert journal.testaments(folder) == [], "a living worker leaves nothing"
        os.kill(worker.pid, signal.SIGKILL)


def test_a_worker_killed_with_sigkill_leaves_the_calls_it_had_begun(tmp_path: Path) -> None:
    _kill_a_worker(tmp_path, turn_ended=False)
    [(path, testament)] = journal.testaments(tmp_path)
    assert testament is not None
    assert (testament.token, testament.account_id) == (TOKEN, 42)
    # What was settled before is forgotten, and 6 and 7 have a slot but never left.
    assert sorted(testament.dispatched) == IDS[2:]
    path.unlink()
    assert journal.testaments(tmp_path) == []


def test_a_turn_that_ended_leaves_nothing_to_settle(tmp_path: Path) -> None:
    _kill_a_worker(tmp_path, turn_ended=True)
    [(_, testament)] = journal.testaments(tmp_path)
    assert testament is None


def test_a_file_that_was_cut_short_is_no_testament(tmp_path: Path) -> None:
    (tmp_path / "1-x.journal").write_bytes(b"short")
    [(_, testament)] = journal.testaments(tmp_path)
    assert testament is None


def test_no_folder_means_no_dead(tmp_path: Path) -> None:
    assert journal.testaments(tmp_path / "nowhere") == []


def test_closing_removes_the_file(tmp_path: Path) -> None:
    notes = Journal(tmp_path)
    notes.close()
    assert list(tmp_path.iterdir()) == []


def test_slots_are_used_again(tmp_path: Path) -> None:
    notes = Journal(tmp_path)
    notes.begin(TOKEN, 42)
    for round_ in range(3):
        ids = [uuid.UUID(int=round_ * 10_000 + at + 1) for at in range(journal.CAPACITY)]
        for each in ids:
            notes.reserve(each)()
        assert sorted(notes.dispatched()) == ids
        notes.settled(ids)
        assert notes.dispatched() == []
    notes.close()


def test_a_pool_that_looks_while_a_journal_is_made_leaves_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def looked_at_before(file: int, operation: int) -> None:
        monkeypatch.undo()
        for path, _ in journal.testaments(tmp_path):
            path.unlink()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", looked_at_before)
    notes = Journal(tmp_path)
    token, message_id = uuid.uuid4(), uuid.uuid4()
    notes.begin(token, 7)
    notes.reserve(message_id)()
    notes.leave()
    [(_, testament)] = journal.testaments(tmp_path)
    assert testament == journal.Testament(token=token, account_id=7, dispatched=[message_id])
