import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from cli.embedded import children, launcher
from cli.embedded import installation as installation_module
from cli.embedded.embedded_server import version_of
from cli.embedded.errors import (
    DataIncompatible,
    DiskFull,
    PortTaken,
    ServerCannotRun,
    StartFailed,
)
from cli.embedded.installation import Installation
from cli.embedded.postgres import UNSAFE_AND_FAST, EmbeddedPostgres

Eventually = Callable[..., None]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes to another user")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="uses /proc or prctl")

START = """
import sys
from pathlib import Path
from cli.embedded.errors import EmbeddedError
from cli.embedded.installation import Installation
from cli.embedded.postgres import UNSAFE_AND_FAST, EmbeddedPostgres

try:
    with Installation(Path(sys.argv[1])) as installation:
        server = EmbeddedPostgres(installation, settings=UNSAFE_AND_FAST)
        server.start()
        print(server.pid, server.url, flush=True)
        sys.stdin.read()
        server.stop(60)
except EmbeddedError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def var_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the tests of this module share, since making the data takes half a second."""
    return tmp_path_factory.mktemp("postgres") / "var"


@pytest.fixture
def installation(var_dir: Path) -> Iterator[Installation]:
    with Installation(var_dir) as installation:
        yield installation


@pytest.fixture
def server(installation: Installation) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(installation, settings=UNSAFE_AND_FAST)
    yield server
    server.kill()


def _fetch(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def test_the_first_start_makes_a_database_that_keeps_its_promises(tmp_path: Path) -> None:
    with Installation(tmp_path / "var") as installation:
        # An earlier first start was killed half-way.
        half_made = installation.var_dir / "postgres.new" / "data"
        half_made.mkdir(parents=True)
        (half_made / "PG_VERSION").write_text("18\n")
        (installation.var_dir / "postgres").mkdir()
        server = EmbeddedPostgres(installation)
        server.start()
        try:
            with psycopg.connect(server.url) as connection:
                rows = connection.execute("SELECT name, setting FROM pg_settings").fetchall()
                settings: dict[str, str] = dict(rows)
                role = connection.execute("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = user")
                assert role.fetchone() == (False, True)
            wanted = {"synchronous_commit": "on", "fsync": "on", "full_page_writes": "on", "TimeZone": "UTC"}
            wanted |= {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
            wanted |= {"server_encoding": "UTF8", "data_checksums": "on", "max_connections": "120"}
            assert wanted.items() <= settings.items()
        finally:
            server.stop(60)
    assert not half_made.parent.exists()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "var").iterdir()}
    assert modes["postgres.json"] == modes["local.json"] == 0o600
    assert modes["postgres"] == 0o700


def test_nobody_gets_in_without_the_password(server: EmbeddedPostgres) -> None:
    server.start()
    for role in ("campaign_engine", "postgres"):
        for password in ("", ":guess"):
            port = server.url.rpartition(":")[2].partition("/")[0]
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(f"postgresql://{role}{password}@127.0.0.1:{port}/campaign_engine")


def test_a_second_start_keeps_the_port_and_the_data(installation: Installation) -> None:
    first = EmbeddedPostgres(installation, settings=UNSAFE_AND_FAST)
    first.start()
    with psycopg.connect(first.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    first.start()  # nothing happens
    first.stop(60)
    assert not first.is_alive()
    assert first.pid is None

    second = EmbeddedPostgres(installation, settings=UNSAFE_AND_FAST)
    second.start()
    try:
        assert second.url == first.url
        assert _fetch(second.url, "SELECT value FROM kept") == 7
    finally:
        second.stop(60)


def test_a_stop_ends_open_transactions_and_a_slow_stop_is_cut_short(server: EmbeddedPostgres) -> None:
    server.start()
    pids = [server.pid or 0, *children.descendants(server.pid or 0)]
    with closing(psycopg.connect(server.url)) as connection:
        connection.execute("SELECT 1")
        server.stop(60)
    assert server.log_path.read_text().endswith("database system is shut down\n")
    server.start()
    pids += [server.pid or 0, *children.descendants(server.pid or 0)]
    server.stop(0)
    assert not [pid for pid in pids if children.is_running(pid)]


def test_what_was_committed_survives_a_kill_of_the_server(server: EmbeddedPostgres, eventually: Eventually) -> None:
    server.start()
    with psycopg.connect(server.url) as connection:
        connection.execute("SET synchronous_commit = on")
        connection.execute("CREATE TABLE survivors AS SELECT 7 AS value")
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not server.is_alive())
    url = server.url
    server.start()
    assert server.url == url
    assert _fetch(server.url, "SELECT value FROM survivors") == 7


def test_a_taken_port_is_replaced_unless_it_was_asked_for(installation: Installation, server: EmbeddedPostgres) -> None:
    server.start()
    server.stop(60)
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    with closing(socket.create_server(("127.0.0.1", port))):
        other = EmbeddedPostgres(installation, settings=UNSAFE_AND_FAST)
        other.start()
        try:
            assert _fetch(other.url, "SELECT 1") == 1
            assert other.url != server.url
        finally:
            other.stop(60)
        with pytest.raises(PortTaken, match=str(port)):
            EmbeddedPostgres(installation, port=port).start()
        with pytest.raises(PortTaken):
            server.start()  # its address has been given out


@needs_linux
def test_a_killed_parent_leaves_no_server_and_the_next_one_starts_at_once(
    var_dir: Path, eventually: Eventually
) -> None:
    for _ in range(2):
        with _start_in_other_process(var_dir) as parent:
            line = _first_line(parent)
            pids = [int(line.split()[0]), *children.descendants(int(line.split()[0]))]
            assert len(pids) > 4
            parent.kill()
            parent.wait()
        with Installation(var_dir) as installation:
            server = EmbeddedPostgres(installation, settings=UNSAFE_AND_FAST)
            server.start()
            assert _fetch(server.url, "SELECT 1") == 1
            server.stop(60)
    eventually(lambda: not [pid for pid in pids if children.is_running(pid)])


@needs_linux
def test_a_stale_pid_file_with_a_number_in_use_does_not_prevent_the_start(server: EmbeddedPostgres) -> None:
    pid_path = server.data_dir / "postmaster.pid"
    for stale in (f"{os.getpid()}\n{server.data_dir}\n", "", "nonsense\n"):
        pid_path.write_text(stale)
        server.start()
        server.stop(60)


def test_another_server_on_the_same_data_is_left_alone(server: EmbeddedPostgres, installation: Installation) -> None:
    server.start()
    other = EmbeddedPostgres(installation, settings=UNSAFE_AND_FAST)
    other._save(pid=0)  # as if it had been started by hand, unknown to us
    with pytest.raises(StartFailed, match=rf"another PostgreSQL \(pid {server.pid}\)"):
        other.start()
    assert _fetch(server.url, "SELECT 1") == 1


def test_a_lost_password_is_replaced(server: EmbeddedPostgres, var_dir: Path) -> None:
    server.start()
    server.stop(60)
    (var_dir / "postgres.json").unlink()
    server.start()
    assert _fetch(server.url, "SELECT 1") == 1


def test_a_missing_database_is_created(server: EmbeddedPostgres) -> None:
    server.start()
    with psycopg.connect(server.admin_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE campaign_engine")
    server.stop(60)
    server.start()
    assert _fetch(server.url, "SELECT current_database()") == "campaign_engine"


def test_data_of_another_version_or_kind_is_refused(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        server = EmbeddedPostgres(installation, settings=UNSAFE_AND_FAST)
        server.data_dir.mkdir()
        (server.data_dir / "PG_VERSION").write_text("17\n")
        with pytest.raises(DataIncompatible, match="written by PostgreSQL 17 and this is 18"):
            server.start()
        (server.data_dir / "PG_VERSION").rename(server.data_dir / "notes.txt")
        with pytest.raises(StartFailed, match="is not a PostgreSQL data folder"):
            server.start()


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Installation(tmp_path) as installation:
        monkeypatch.setattr(installation_module, "NEEDED_FREE_BYTES", 10**18)
        server = EmbeddedPostgres(installation)
        with pytest.raises(DiskFull, match=r"\d+ MB are free and 1000000000000 MB are needed"):
            server.start()
        assert not server.data_dir.exists()


def test_a_failed_start_quotes_the_server_and_leaves_no_process(installation: Installation) -> None:
    server = EmbeddedPostgres(installation, settings={**UNSAFE_AND_FAST, "shared_buffers": "lots"})
    with pytest.raises(StartFailed, match='invalid value for parameter "shared_buffers"'):
        server.start()
    assert not server.is_alive()


def test_a_program_for_another_machine_is_named(tmp_path: Path) -> None:
    program = tmp_path / "postgres"
    for content in (b"#!/nonexistent/ld.so\n", b"\x7fELF of another world"):
        program.write_bytes(content)
        program.chmod(0o755)
        with pytest.raises(ServerCannotRun, match="does not run on this machine: cannot execute"):
            version_of(program)


def test_a_server_is_not_started_without_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="must be opened first"):
        EmbeddedPostgres(Installation(tmp_path)).start()


@needs_root
def test_root_runs_it_as_nobody_in_a_folder_only_root_may_enter(server: EmbeddedPostgres) -> None:
    parents = list(server.data_dir.parents)
    modes = [parent.stat().st_mode for parent in parents]
    parents[1].chmod(0o700)
    modes[1] = parents[1].stat().st_mode
    server.start()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{server.pid}/status").read_text().splitlines())
    assert set(status["Uid"].split()) == {"65534"}
    assert status["Groups"].strip() == ""
    # One capability and no way to more: CAP_DAC_READ_SEARCH, or CAP_DAC_OVERRIDE in many containers.
    assert int(status["CapEff"], 16) in (1 << 2, 1 << 1)
    assert status["CapEff"] == status["CapPrm"] == status["CapAmb"]
    assert status["NoNewPrivs"] == "1"
    assert [parent.stat().st_mode for parent in parents] == modes


@needs_root
@needs_linux
def test_no_capability_is_kept_where_none_is_needed_and_no_group_ever() -> None:
    account = children.SystemUser("nobody", 65534, 65534)
    groups = os.getgroups()
    os.setgroups([*groups, 4])
    try:
        done = children.run(["/bin/cat", "/proc/self/status"], env={}, timeout_s=60, account=account)
    finally:
        os.setgroups(groups)
    status = dict(line.split(":\t", 1) for line in done.stdout.splitlines())
    assert int(status["CapEff"], 16) == 0
    assert status["Groups"].strip() == ""


@needs_root
def test_a_program_that_only_root_may_read_runs_too(tmp_path: Path) -> None:
    program = tmp_path / "cat"
    shutil.copy("/bin/cat", program)
    program.chmod(0o711)  # as pip leaves it under umask 077
    account = children.SystemUser("nobody", 65534, 65534)
    done = children.run([str(program), "/proc/self/status"], env={}, timeout_s=60, account=account, reach=[program])
    assert done.returncode == 0
    assert "Uid:\t65534" in done.stdout


@needs_root
def test_root_runs_it_as_the_owner_of_the_data_and_takes_none_for_itself(server: EmbeddedPostgres) -> None:
    server.start()
    # A normal user's data stays theirs; a copy that root made is given back to nobody.
    for owner, runs_as in ((1, 1), (0, 65534)):
        server.stop(60)
        for path in (server.data_dir, *server.data_dir.rglob("*")):
            os.chown(path, owner, owner)
        server.start()
        assert Path(f"/proc/{server.pid}").stat().st_uid == runs_as
        assert {path.stat().st_uid for path in server.data_dir.rglob("*")} == {runs_as}


@needs_root
def test_a_normal_user_needs_nothing_special(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", 1, 1)
    with _start_in_other_process(tmp_path / "home" / "var", "--uid=1", "--gid=1") as child:
        pid, url = _first_line(child).split()
        assert Path(f"/proc/{pid}").stat().st_uid == 1
        assert _fetch(url, "SELECT 1") == 1
        child.communicate()
    assert (tmp_path / "home" / "var" / "postgres").stat().st_uid == 1


@needs_root
def test_a_normal_user_is_told_what_may_not_be_used(tmp_path: Path) -> None:
    with _start_in_other_process(tmp_path / "new", "--uid=1", "--gid=1") as child:
        assert _first_line(child).startswith(f"PermissionRefused {tmp_path}/new cannot be used: Permission")
    mine = tmp_path / "mine"
    (mine / "postgres").mkdir(parents=True)
    (mine / "postgres" / "PG_VERSION").write_text("18\n")
    os.chown(mine, 1, 1)
    with _start_in_other_process(mine, "--uid=1", "--gid=1") as child:
        assert _first_line(child).startswith(f"PermissionRefused {mine}/postgres cannot be used: it belongs")


@needs_root
@pytest.mark.parametrize(
    ("without", "message"),
    [
        ((1, 2), "may not enter"),  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
        ((8,), "may not enter"),  # CAP_SETPCAP
        ((7,), "cannot change to user id 65534"),  # CAP_SETUID
        ((0,), "may not give"),  # CAP_CHOWN
    ],
)
def test_root_without_capabilities_is_told_what_to_do(tmp_path: Path, without: tuple[int, ...], message: str) -> None:
    tmp_path.chmod(0o700)
    drop = "import ctypes, os, sys\n"
    drop += f"for each in {without}: ctypes.CDLL(None).prctl(24, each, 0, 0, 0)\n"  # PR_CAPBSET_DROP
    drop += "os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-c", drop, START, str(tmp_path / "var")],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("RootNotPossible PostgreSQL cannot be started by root here: ")
    assert message in done.stdout
    assert "Run as a normal user, or set DATABASE_URL" in done.stdout
    assert done.stdout.count("\n") == 1


@needs_linux
def test_the_launcher_refuses_a_parent_that_is_gone() -> None:
    program = [sys.executable, "-I", "-S", launcher.__file__, "--parent=1", "--death-signal=SIGKILL", "--"]
    assert subprocess.run([*program, "/bin/true"], check=False).returncode == launcher.EXIT_PARENT_GONE


def _start_in_other_process(var_dir: Path, *account: str) -> subprocess.Popen[str]:
    """Start a server from a process of its own, which ends when its standard input does."""
    command = [sys.executable, "-c", START, str(var_dir)]
    if account:
        entered = (sys.executable, Path(installation_module.__file__).parent, var_dir.parent)
        reach = [f"--reach={path}" for path in entered]
        prefix = [sys.executable, "-I", "-S", launcher.__file__, f"--parent={os.getpid()}"]
        command = [*prefix, "--death-signal=SIGKILL", *account, *reach, "--", *command]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()
