"""What a state directory keeps, also when the process is killed."""

import resource
import signal
import subprocess
from pathlib import Path

from tests.simulator.running import (
    Simulator,
    command,
    receiving,
    wait_for,
)


def recipient(place: int) -> str:
    return f"+551191000{place:04d}"


def test_a_killed_simulator_forgets_nothing_it_acknowledged_and_goes_on(tmp_path: Path) -> None:
    slow = ("--delivered-delay-ms", "700", "--read-share", "0")
    with receiving() as receiver:
        simulator = Simulator(*slow, state_dir=tmp_path)
        simulator.register(webhook_url=receiver.url, waba_id="777")
        template = {
            "name": "kept",
            "language": "pt_BR",
            "category": "UTILITY",
            "components": [{"type": "BODY", "text": "Oi"}],
        }
        simulator.graph("POST", "777/message_templates", json=template)
        ids = [simulator.send(recipient(p), f"m{p}").json()["messages"][0]["id"] for p in range(50)]
        wait_for(lambda: len(receiver.statuses()) >= 50)
        # The journal may wait a little with both.
        for noted in ('"answered"', '"acknowledged"'):
            wait_for(lambda noted=noted: (tmp_path / "journal.jsonl").read_text().count(noted) >= 50)
        simulator.stop(signal.SIGKILL)

        simulator = Simulator(*slow, state_dir=tmp_path)
        try:
            entries = simulator.ledger()
            assert [entry["message_id"] for entry in entries] == ids
            assert all(entry["answered"] for entry in entries)
            simulator.wait_until_delivered()
            told = [(status["id"], status["status"]) for status in receiver.statuses()]
            assert sorted(told) == sorted((i, status) for i in ids for status in ("sent", "delivered"))
            assert receiver.wrong_signatures == 0

            assert simulator.send(recipient(0), "m0").status_code == 200
            assert simulator.ledger()[-1]["seq"] == 51
            summary = simulator.summary()
            assert summary["accepted"] == 51
            assert summary["repeated_callback_data"]["listed"] == [{"callback_data": "m0", "messages": 2}]
            kept = simulator.graph("GET", "777/message_templates?name=kept").json()["data"]
            assert len(kept) == 1
        finally:
            simulator.stop()


def test_what_was_answered_is_on_disk_at_once_and_still_counts_for_the_day(tmp_path: Path) -> None:
    limited = ("--unique-recipients-per-day", "5")
    simulator = Simulator(*limited, state_dir=tmp_path)
    simulator.register()
    for place in range(5):
        simulator.send(recipient(place))
    simulator.stop(signal.SIGKILL)
    simulator = Simulator(*limited, state_dir=tmp_path)
    try:
        assert len(simulator.ledger()) == 5
        assert simulator.send(recipient(5)).json()["error"]["code"] == 131048
        assert simulator.send(recipient(4)).status_code == 200
    finally:
        simulator.stop()


def test_a_reset_and_a_removal_are_kept_and_a_clean_stop_keeps_everything(tmp_path: Path) -> None:
    simulator = Simulator(state_dir=tmp_path)
    simulator.register()
    simulator.register(phone_number_id="2", access_token="token of 2")
    simulator.send(callback_data="before")
    simulator.control("POST", "reset")
    simulator.control("DELETE", "numbers/2")
    simulator.send(callback_data="after")
    assert simulator.stop() == 0
    simulator = Simulator(state_dir=tmp_path)
    try:
        assert [entry["callback_data"] for entry in simulator.ledger()] == ["after"]
        assert simulator.ledger()[0]["answered"] is True
        assert simulator.send().status_code == 200
        assert simulator.send(phone_number_id="2", token="token of 2").status_code == 401
    finally:
        simulator.stop()


def test_an_instance_and_its_address_book_outlive_a_kill_and_a_removed_one_stays_away(tmp_path: Path) -> None:
    simulator = Simulator(state_dir=tmp_path)
    simulator.register_instance(state="close", contacts=[{"number": "+5511910000001", "name": "Ana"}])
    simulator.register_instance(instance="gone")
    simulator.control("DELETE", "instances/gone")
    simulator.stop(signal.SIGKILL)
    simulator = Simulator(state_dir=tmp_path)
    try:
        (instance,) = simulator.control("GET", "instances").json()["instances"]
        assert (instance["state"], instance["contacts"][0]["name"]) == ("close", "Ana")
        assert simulator.evolution("GET", "instance/connectionState").status_code == 200
    finally:
        simulator.stop()


def test_a_torn_last_line_is_cut_off_and_another_damaged_line_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    simulator = Simulator(state_dir=tmp_path)
    simulator.register()
    simulator.send(callback_data="whole")
    simulator.stop()
    assert journal.stat().st_mode & 0o077 == 0, "it holds secrets"
    whole = journal.read_bytes()

    journal.write_bytes(whole + b'["accepted",{"seq":2,')
    simulator = Simulator(state_dir=tmp_path)
    assert [entry["callback_data"] for entry in simulator.ledger()] == ["whole"]
    assert simulator.stop() == 0
    assert journal.read_bytes() == whole

    for damage in (b"nonsense\n", b'["accepted",{}]\n'):
        journal.write_bytes(whole + damage)
        ended = subprocess.run(
            command("--port", "0", "--state-dir", str(tmp_path)), capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 1
        assert ended.stderr.startswith("simulator: ") and ended.stderr.count("\n") == 1, ended.stderr


def test_what_does_not_fit_on_the_disk_is_not_accepted_and_spoils_nothing(tmp_path: Path) -> None:
    simulator = Simulator(state_dir=tmp_path)
    simulator.register()
    simulator.send(callback_data="fits")
    size = (tmp_path / "journal.jsonl").stat().st_size
    _, hard = resource.prlimit(simulator.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(simulator.process.pid, resource.RLIMIT_FSIZE, (size + 150, hard))
    assert simulator.send(callback_data="does not fit").status_code == 500
    resource.prlimit(simulator.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert simulator.send(callback_data="fits again").status_code == 200
    simulator.stop()
    simulator = Simulator(state_dir=tmp_path)
    try:
        assert [(entry["seq"], entry["callback_data"]) for entry in simulator.ledger()] == [
            (1, "fits"),
            (2, "fits again"),
        ]
    finally:
        simulator.stop()


def test_two_simulators_do_not_share_a_state_directory(tmp_path: Path) -> None:
    simulator = Simulator(state_dir=tmp_path)
    try:
        ended = subprocess.run(
            command("--port", "0", "--state-dir", str(tmp_path)), capture_output=True, text=True, timeout=60
        )
        assert (ended.returncode, ended.stderr) == (
            1,
            f"simulator: {tmp_path} is in use by another simulator\n",
        )
    finally:
        simulator.stop()
