"""Part of `make chaos`: in the middle of campaigns, servers are cut off for 20 s, hosts vanish, and deploys happen."""

import os
import signal
import time
from pathlib import Path

import pytest
import redis as redis_package

from jobs.workers import STOP_PATIENCE_S
from tests.chaos.outages import IN_FLIGHT, VERIFY_INTERVAL_S, Manner, Server, Verdict, running_site
from tests.end_to_end.plant import Plant

AWAY_S = 20.0
COUNT = 3_000
SETTLING_S = 5.0
"""What the last statuses, and a machine that is busy, may take beyond what is asked for."""

IN_HAND = 3 * IN_FLIGHT
"""Rows that a turn holds: those in flight, and those whose answers are being settled."""

TAKEOVER_S = 20.0

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("redis_client")]  # Redis is empty at first


@pytest.mark.parametrize("manner", list(Manner))
@pytest.mark.parametrize("server", list(Server))
def test_after_an_outage_everything_goes_on_by_itself(
    server: Server,
    manner: Manner,
    tmp_path: Path,
    database_url: str,
    redis_url: str,
) -> None:
    with running_site(tmp_path, database_url=database_url, redis_url=redis_url, count=COUNT) as site:
        site.until_accepted(COUNT // 4)
        verdict = site.suffer(server, manner, for_s=AWAY_S, until_s=60)
        site.until_delivered(COUNT - verdict.missing)
    print(f"\n{server} {manner}: {verdict}")
    assert verdict.left > 0, "the campaign was over before the server returned"
    assert verdict.completed_s <= VERIFY_INTERVAL_S + verdict.rest_s + SETTLING_S
    assert verdict.unknown_at_most <= IN_HAND
    assert (verdict.twice, verdict.miscounted) == (0, [])
    # Of what a provider takes to its grave nobody can say whether it was accepted; of all others a webhook tells.
    dies = server is Server.PROVIDER and manner is Manner.REFUSED
    assert verdict.missing == verdict.unknown
    assert verdict.missing <= (IN_FLIGHT if dies else 0)


@pytest.mark.parametrize("dies", ["workers", "host"])
def test_a_dead_workers_lane_sends_again_within_20_s(
    dies: str, tmp_path: Path, database_url: str, redis_url: str, redis_client: redis_package.Redis
) -> None:
    with running_site(
        tmp_path, database_url=database_url, redis_url=redis_url, count=COUNT, latency_ms=200, VERIFY_INTERVAL_S="20"
    ) as site:
        plant = site.plant
        site.until_accepted(COUNT // 20)
        other = _another_host(tmp_path / "other", plant, database_url=database_url, redis_url=redis_url)
        try:
            if dies == "host":
                other.start("workers", "cli", "workers")
                other.until(lambda: "workers.started" in other.log("workers"), "the other host is ready")
            # The worst moment: the next verification finds the lane still held, and the one after it is 20 s later.
            plant.until(lambda: 6 < _verified_in_s(redis_client) < 8, "a verification is due in a few seconds")
            died_at = time.time()
            if dies == "host":
                plant.kill("workers")
            else:
                for pid in plant.children("workers"):
                    os.kill(pid, signal.SIGKILL)
            verdict = site.judge(cut_at=died_at, returned_at=died_at, until_s=100)
        finally:
            other.stop()
    print(f"\n{dies} dead: {verdict}")
    assert verdict.left > COUNT // 10, "the campaign was over before the death"
    assert verdict.worst_stall_s <= TAKEOVER_S
    assert (verdict.twice, verdict.miscounted) == (0, [])
    # The notes about which calls had begun are gone with their host: all it had in hand is unknown.
    assert verdict.missing == verdict.unknown
    assert verdict.missing <= (IN_HAND if dies == "host" else 0)


def test_a_deploy_loses_nothing_and_the_next_pool_goes_on_at_once(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
) -> None:
    with running_site(
        tmp_path, database_url=database_url, redis_url=redis_url, count=400, latency_ms=1000, VERIFY_INTERVAL_S="20"
    ) as site:
        plant = site.plant
        site.until_accepted(60)
        ends_s = plant.end("workers", within_s=10)
        counts = site.counts()
        assert (counts["sending"], counts["unknown"]) == (0, 0)
        assert counts["pending"] > 0, "the campaign was over before the deploy"
        began_at = time.time()
        plant.start("workers", "cli", "workers")
        plant.until(lambda: any(at > began_at for at in _arrivals(plant)), "the next pool sends")
        sends_s = min(at for at in _arrivals(plant) if at > began_at) - began_at
        print(f"\nthe pool ends in {ends_s:.1f} s, the next one sends {sends_s:.1f} s after its start")
        assert sends_s < 5
        scheduler_s = plant.end("scheduler", within_s=5)
        plant.start("scheduler", "cli", "scheduler")
        web_s = plant.end("web", within_s=5)
        plant.start_web()
        print(f"the scheduler ends in {scheduler_s:.1f} s, the web in {web_s:.1f} s")
        verdict = site.judge(cut_at=began_at, returned_at=time.time(), until_s=60)
        site.until_delivered(400)
    print(verdict)
    _assert_clean(verdict)
    assert verdict.unknown_at_most == 0


@pytest.mark.parametrize(
    ("server", "manner"),
    [(Server.PROVIDER, Manner.FROZEN), (Server.REDIS, Manner.REFUSED), (Server.POSTGRES, Manner.FROZEN)],
)
def test_a_pool_that_is_asked_to_end_during_an_outage_ends_within_its_bound(
    server: Server, manner: Manner, tmp_path: Path, database_url: str, redis_url: str
) -> None:
    with running_site(tmp_path, database_url=database_url, redis_url=redis_url, count=COUNT) as site:
        site.until_accepted(COUNT // 4)
        cut_at = time.time()
        site.cut(server, manner)
        time.sleep(1)
        ends_s = site.plant.end("workers", within_s=STOP_PATIENCE_S + 10)
        site.restore(server, manner)
        site.plant.start("workers", "cli", "workers")
        verdict = site.judge(cut_at=cut_at, returned_at=time.time(), until_s=60)
    print(f"\n{server} {manner}: the pool ends in {ends_s:.1f} s; {verdict}")
    _assert_clean(verdict)
    assert verdict.unknown_at_most <= IN_HAND


def _assert_clean(verdict: Verdict) -> None:
    assert (verdict.missing, verdict.twice, verdict.unknown, verdict.miscounted) == (0, 0, 0, [])


def _arrivals(plant: Plant) -> list[float]:
    return [entry["received_at"] for entry in plant.ledger()]


def _verified_in_s(connection: redis_package.Redis) -> float:
    return float(connection.zscore("rq:scheduler:scheduled_jobs", "verify-campaigns") or 0) - time.time()


def _another_host(folder: Path, plant: Plant, *, database_url: str, redis_url: str) -> Plant:
    """Return a host of the same installation with a folder of its own."""
    folder.mkdir()
    shared = {name: plant.env[name] for name in ("ENCRYPTION_KEY", "SECRET_KEY", "CAMPAIGN_MESSAGES_WORKERS")}
    return Plant(database_url=database_url, redis_url=redis_url, folder=folder, **shared)
