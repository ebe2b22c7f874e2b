import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from cli.embedded.errors import AlreadyRunning, DiskFull, LocalStateUnreadable, PermissionRefused
from cli.embedded.installation import Installation

HOLD = """
import sys
from pathlib import Path
from cli.embedded.errors import EmbeddedError
from cli.embedded.installation import Installation
try:
    with Installation(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except EmbeddedError as error:
    print(error)
"""


def _read(var_dir: Path) -> dict[str, object]:
    state = json.loads((var_dir / "local.json").read_text())
    assert isinstance(state, dict)
    return state


def test_keys_are_made_once_and_kept(tmp_path: Path) -> None:
    var_dir = tmp_path / "a" / "var"
    with Installation(var_dir) as installation:
        first = _read(var_dir)
        Fernet(str(first["encryption_key"]))
        assert len(str(first["secret_key"])) >= 32
        assert (first["database_url"], first["redis_url"], first["pid"]) == (None, None, os.getpid())
        installation.update_local(database_url="postgresql://x", redis_url="redis://y")
    with Installation(var_dir):
        second = _read(var_dir)
    assert second == {**first, "database_url": "postgresql://x", "redis_url": "redis://y"}
    assert _read(var_dir)["pid"] is None
    assert (var_dir / "local.json").stat().st_mode & 0o777 == 0o600


def test_two_installations_do_not_share_keys(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with Installation(tmp_path / name):
            pass
    one, two = _read(tmp_path / "one"), _read(tmp_path / "two")
    assert one["secret_key"] != two["secret_key"]
    assert one["encryption_key"] != two["encryption_key"]


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        said = subprocess.check_output([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.DEVNULL, text=True)
        assert (
            said == f"{tmp_path} is in use: campaign-engine is already running there (pid {os.getpid()}). "
            "Stop it first, or choose another folder with VAR_DIR.\n"
        )
        with pytest.raises(AlreadyRunning):
            Installation(tmp_path).open()
        installation.require_open()


def test_a_killed_holder_leaves_nothing_to_clean_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning) as refused:
            Installation(tmp_path).open()
        assert refused.value.pid == holder.pid
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with Installation(tmp_path):
        assert _read(tmp_path)["pid"] == os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"'])
def test_damaged_keys_are_never_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "local.json").write_text(content)
    with pytest.raises(LocalStateUnreadable, match=r"local.json cannot be read: it .*"):
        Installation(tmp_path).open()
    assert (tmp_path / "local.json").read_text() == content
    (tmp_path / "local.json").unlink()
    with Installation(tmp_path):  # the failed attempt let go of the lock
        pass


def test_a_write_that_was_interrupted_leaves_the_old_state(tmp_path: Path) -> None:
    with Installation(tmp_path):
        before = _read(tmp_path)
    (tmp_path / "local.json.new").write_text('{"secret_key": "half')
    with Installation(tmp_path):
        assert _read(tmp_path) == {**before, "pid": os.getpid()}
    assert not (tmp_path / "local.json.new").exists()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    for path in (tmp_path / "var", tmp_path / "var" / "below"):
        with pytest.raises(PermissionRefused, match="/var"):
            Installation(path).open()


def test_a_full_disk_is_told_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.embedded.installation.NEEDED_FREE_BYTES", 10**18)
    with pytest.raises(DiskFull, match=r"\d+ MB are free") as refused:
        Installation(tmp_path).open()
    assert refused.value.free_bytes > 0


def test_an_error_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    error = AlreadyRunning(tmp_path, None)
    assert str(error).count("\n") == 0
    assert str(error).endswith(error.remedy)
