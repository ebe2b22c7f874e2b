"""The small version of the outages and the deploy of `make chaos`."""

import time
from pathlib import Path

import pytest

from tests.chaos.outages import IN_FLIGHT, Manner, Server, running_site

COUNT = 600
AWAY_S = 2.0
STEP_S = 0.3
OUTAGES = (
    (Server.POSTGRES, Manner.REFUSED),
    (Server.LIMITER, Manner.FROZEN),
    (Server.REDIS, Manner.REFUSED),
    (Server.PROVIDER, Manner.FROZEN),
)

pytestmark = pytest.mark.usefixtures("redis_client")  # Redis is empty at first


def test_a_campaign_survives_an_outage_of_each_server(tmp_path: Path, database_url: str, redis_url: str) -> None:
    with running_site(
        tmp_path, database_url=database_url, redis_url=redis_url, count=COUNT, VERIFY_INTERVAL_S="1"
    ) as site:
        site.until_accepted(COUNT // 8)
        cut_at = time.time()
        # One after the other they go, and in the same order they come back.
        for outage in OUTAGES:
            site.cut(*outage)
            time.sleep(STEP_S)
        time.sleep(AWAY_S - len(OUTAGES) * STEP_S)
        for outage in OUTAGES:
            site.restore(*outage)
            time.sleep(STEP_S)
        verdict = site.judge(cut_at=cut_at, returned_at=time.time(), until_s=120)
    assert verdict.left > 0, "the campaign was over before the servers returned"
    assert (verdict.missing, verdict.twice, verdict.unknown, verdict.miscounted) == (0, 0, 0, []), verdict
    assert verdict.unknown_at_most <= 3 * IN_FLIGHT, verdict


def test_a_deploy_in_the_middle_of_slow_calls_loses_nothing_and_goes_on_at_once(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    with running_site(
        tmp_path, database_url=database_url, redis_url=redis_url, count=50, latency_ms=250, VERIFY_INTERVAL_S="3600"
    ) as site:
        site.until_accepted(IN_FLIGHT)
        site.plant.end("workers", within_s=60)
        counts = site.counts()
        assert (counts["sending"], counts["unknown"]) == (0, 0)
        assert counts["pending"] > 0, "the campaign was over before the deploy"
        deployed_at = time.time()
        site.plant.start("workers", "cli", "workers")
        verdict = site.judge(cut_at=deployed_at, returned_at=deployed_at, until_s=120)
    assert (verdict.missing, verdict.twice, verdict.unknown_at_most, verdict.miscounted) == (0, 0, 0, []), verdict
    assert verdict.first_send_s < 120  # a verification would come after an hour
