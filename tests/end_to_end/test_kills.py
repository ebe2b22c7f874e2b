"""The small version of `make chaos`: one run with a kill of everything."""

from pathlib import Path

from tests.chaos.mayhem import Mayhem


def test_a_campaign_survives_a_kill_of_each_part(tmp_path: Path) -> None:
    verdict = Mayhem(
        folder=tmp_path,
        seed=3,
        count=2_000,
        pause_s=0.35,
        victims=("worker", "pool", "scheduler", "redis", "postgres"),
        timeout_s=80,
    ).run(told=lambda _: None)
    assert verdict.is_clean, verdict
    assert sum(verdict.kills.values()) >= 3
