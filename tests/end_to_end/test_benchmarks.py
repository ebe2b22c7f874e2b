"""The small version of `make bench`: its main benchmarks run and give figures, which mean nothing on so little.

`make bench ARGS=--quick` runs a small version of all of them.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.errors import TransitionNotAllowed
from campaign_engine.models import Campaign
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services.campaigns import lifecycle
from cli.embedded.postgres import UNSAFE_AND_FAST
from tests.bench import against, peer, report
from tests.bench.__main__ import BENCHMARKS
from tests.bench.figures import Figure, table
from tests.bench.options import Options
from tests.bench.servers import private_servers
from tests.bench.works import Works


@pytest.fixture(scope="module")
def plant() -> Iterator[Works]:
    """Works for all of them, with every part started."""
    with private_servers(UNSAFE_AND_FAST) as servers:
        works = Works(servers)
        try:
            yield works
        finally:
            works.stop()


@contextmanager
def _opened(plant: Works) -> Iterator[Works]:
    """Lend the works to a benchmark, and end what it started."""
    yield plant
    with plant.inside(), transaction() as session:
        for campaign in session.query(Campaign).filter_by(status=CampaignStatus.RUNNING):
            with suppress(TransitionNotAllowed):  # it has completed meanwhile
                lifecycle.cancel(session, campaign, now=utc_now())


EXPECTED = {
    "throughput": "50 ms, 16 in flight, 1 account: messages",
    "lateness": "begin, 99 of 100",
    "preparing": "200 recipients: prepared",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_benchmark_runs_and_gives_its_figures_with_their_bounds(name: str, plant: Works) -> None:
    result = BENCHMARKS[name](lambda: _opened(plant), Options(quick=True))
    figures = {figure.name: figure for figure in result.figures}
    assert figures[EXPECTED[name]].has_bound
    assert figures[EXPECTED[name]].value > 0
    assert {"name", "value", "unit", "passed"} <= figures[EXPECTED[name]].as_json().keys()
    if name == "throughput":
        [run] = result.details["runs"]
        assert run["sender_cpu_us"] > 0
        assert 0 < run["statements_per_message"] < 10
        assert run["cores"]["senders"] > 0
        assert run["sent_twice"] == 0


def test_a_figure_says_whether_its_bounds_hold() -> None:
    figures = [
        Figure(name="fast", value=1200, unit="per second", at_least=1000),
        Figure(name="late", value=61, unit="ms", at_most=60),
        Figure(name="told", value=3, unit="rows"),
    ]
    assert [figure.passed for figure in figures] == [True, False, True]
    lines = table(figures).splitlines()
    assert lines[0].endswith("holds")
    assert lines[1].endswith("MISSED")
    assert lines[2].endswith("rows")
    assert "passed" not in figures[2].as_json()


ANOTHER_ENGINE = """
import json, os, sys
import psycopg, redis, requests
redis.Redis(port=int(os.environ["REDIS_PORT"])).ping()
with psycopg.connect(os.environ["PG"]) as connection:
    connection.execute("CREATE TABLE sent (number text)")
for at in range(int(sys.argv[1])):
    requests.post(
        os.environ["JUDGE"] + "/v23.0/111/messages",
        headers={"Authorization": "Bearer x"},
        json={"messaging_product": "whatsapp", "to": f"+55119900000{at:02}", "type": "text", "text": {"body": "x"}},
    ).raise_for_status()
print("something for people")
print(json.dumps({"messages_per_s": 10.0 * int(sys.argv[2])}))
"""


def test_another_engine_sends_through_the_same_simulator_with_servers_of_its_own(plant: Works, tmp_path: Path) -> None:
    program = tmp_path / "another_engine.py"
    program.write_text(ANOTHER_ENGINE)
    plant.start_simulator()
    plant.register(peer.NUMBER, access_token=peer.ACCESS_TOKEN)
    command = shlex.join([sys.executable, str(program)])
    assert peer.run(command, 3, 7, servers=plant.servers, judge=plant.simulator_url) == 70.0
    assert plant.simulated()["by_number"][peer.NUMBER]["accepted"] == 3


def test_the_document_gets_the_last_results_in_the_place_of_the_older(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"Before.\n{report.BEGIN}older\n{report.END}\nAfter.\n")
    figure = Figure(name="fast", value=1234.5, unit="per second", at_least=1000)
    kept = {"throughput": {"at": "2030-01-02T03:04:05+00:00", "machine": "2 processors", "figures": [figure.as_json()]}}
    report.write(document, json.loads(json.dumps(kept)))
    written = document.read_text()
    assert "| throughput, 2030-01-02 | fast | 1,234 per second | ≥ 1,000 | holds |" in written
    assert "older" not in written
    assert written.startswith("Before.\n")
    assert written.endswith("After.\n")


def test_two_checkouts_are_compared_by_medians_and_only_what_is_missing_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    python = other / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(
        "#!/bin/sh\n"
        'test "$1 $2 $3 $4 $5" = "-m tests.bench --only waiting --json" || exit 1\n'
        'echo \'{"waiting": {"figures": [{"name": "CPU", "value": 30}, {"name": "gone", "value": 1}]}}\' > "$6"\n'
    )
    python.chmod(0o755)
    kept = tmp_path / "runs.json"
    known = {"this": [{"CPU": 11, "new": 5}, {"CPU": 12, "new": 5}, {"CPU": 99, "new": 5}], "other": [{"CPU": 10}]}
    kept.write_text(json.dumps({"waiting": known}))
    assert against.main([str(other), "--only", "waiting", "--json", str(kept)]) == 0
    _, line = capsys.readouterr().out.strip().splitlines()
    assert line.split() == ["CPU", "30", "12", "-60.0%", *("10", "30", "30", "|", "11", "12", "99")]
    ran = {"CPU": 30, "gone": 1}
    assert json.loads(kept.read_text())["waiting"] == {**known, "other": [{"CPU": 10}, ran, ran]}


def test_a_checkout_that_gives_no_figures_is_named(tmp_path: Path) -> None:
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho no such module >&2; exit 1\n")
    python.chmod(0o755)
    kept = tmp_path / "runs.json"
    kept.write_text(json.dumps({"waiting": {"this": [{"CPU": 1}], "other": []}}))
    with pytest.raises(SystemExit, match=f"waiting gave no figures in {tmp_path}:\nno such module"):
        against.main([str(tmp_path), "--only", "waiting", "--rounds", "1", "--json", str(kept)])


@pytest.mark.parametrize(
    ("given", "said"), [(["nowhere"], "nowhere has no .venv"), (["here", "--rounds", "0"], "--rounds: give a whole")]
)
def test_a_comparison_that_cannot_be_made_is_refused_at_once(
    given: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / "here/.venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        against.main(given)
    assert said in capsys.readouterr().err
