"""The small version of `make chaos`: one run in which each part is killed once."""

from pathlib import Path

from tests.chaos.mayhem import Mayhem

VICTIMS = ("worker", "pool", "scheduler", "web", "redis", "postgres")


def test_a_campaign_survives_a_kill_of_each_part(tmp_path: Path) -> None:
    verdict = Mayhem(
        folder=tmp_path,
        seed=3,
        count=1_500,
        pause_s=0.15,
        victims=VICTIMS,
        rounds=1,
        rate_limit="6000/minute",  # 500 a second in all: also a quick machine is not through before the last kill
        verify_interval_s=1,
        timeout_s=240,
    ).run(told=lambda _: None)
    assert verdict.is_clean, verdict
    assert verdict.kills == dict.fromkeys(VICTIMS, 1), "the campaign was over before everything was killed"
