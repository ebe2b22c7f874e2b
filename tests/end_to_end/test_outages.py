"""The small version of the outages and the deploy of `make chaos`."""

import time
from pathlib import Path

import pytest

from tests.chaos.outages import IN_FLIGHT, VERIFY_INTERVAL_S, Manner, Server, running_site

COUNT = 1_200

pytestmark = pytest.mark.usefixtures("redis_client")  # Redis is empty at first


def test_a_campaign_survives_an_outage_of_each_server(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
) -> None:
    with running_site(tmp_path, database_url=database_url, redis_url=redis_url, count=COUNT) as site:
        site.until_accepted(COUNT // 8)
        cut_at = time.time()
        # Each is away for two seconds, and the next one fails before it is back.
        away: list[tuple[Server, Manner]] = []
        for server, manner in (
            (Server.POSTGRES, Manner.REFUSED),
            (Server.LIMITER, Manner.FROZEN),
            (Server.REDIS, Manner.REFUSED),
            (Server.PROVIDER, Manner.FROZEN),
        ):
            site.cut(server, manner)
            away.append((server, manner))
            time.sleep(1)
            if len(away) == 2:
                site.restore(*away.pop(0))
        site.restore(*away.pop())
        verdict = site.judge(cut_at=cut_at, returned_at=time.time(), until_s=40)
    print(verdict)
    assert verdict.left > 0, "the campaign was over before the servers returned"
    assert (verdict.missing, verdict.twice, verdict.unknown, verdict.miscounted) == (0, 0, 0, []), verdict
    assert verdict.delivered == COUNT
    assert verdict.unknown_at_most <= 3 * IN_FLIGHT
    assert verdict.completed_s <= VERIFY_INTERVAL_S + verdict.rest_s + 5, verdict


def test_a_deploy_in_the_middle_of_slow_calls_loses_nothing_and_goes_on_at_once(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
) -> None:
    with running_site(
        tmp_path, database_url=database_url, redis_url=redis_url, count=120, latency_ms=500, VERIFY_INTERVAL_S="60"
    ) as site:
        site.until_accepted(IN_FLIGHT)
        print("T term", time.time())
        print(site.plant.end("workers", within_s=5))
        counts = site.counts()
        assert (counts["sending"], counts["unknown"]) == (0, 0)
        assert counts["pending"] > 0, "the campaign was over before the deploy"
        deployed_at = time.time()
        site.plant.start("workers", "cli", "workers")
        print("T deployed", time.time())
        verdict = site.judge(cut_at=deployed_at, returned_at=deployed_at, until_s=20)
    print(verdict, time.time())
    assert (verdict.missing, verdict.twice, verdict.unknown_at_most, verdict.miscounted) == (0, 0, 0, []), verdict
    assert verdict.delivered == 120
    assert verdict.first_send_s < 5
