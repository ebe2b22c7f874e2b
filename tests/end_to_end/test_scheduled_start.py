"""A campaign that is to start in a moment, in a whole installation whose next verification is far."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import redis as redis_package

from campaign_engine import redis_clients
from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.models import Campaign
from campaign_engine.services.campaigns import lifecycle
from jobs import enqueueing, start_times
from tests.end_to_end.plant import Plant

AHEAD_S = 2.25


def test_a_start_a_moment_ahead_comes_without_a_verification(
    make_plant: Callable[..., Plant], redis_client: redis_package.Redis
) -> None:
    plant = make_plant(VERIFY_INTERVAL_S="3600")
    plant.start_engine()
    plant.start_simulator("--latency-ms", "5", "--failure-share", "0")
    owner = plant.create_company()
    account = plant.create_account(owner[0], "111")
    campaign_id = plant.create_campaign(owner, accounts=[account], first=0, count=3, start=False)

    def next_verification_in_s() -> float:
        return float(redis_client.zscore("rq:scheduler:scheduled_jobs", start_times.VERIFY_JOB_ID) or 0) - time.time()

    plant.until(lambda: next_verification_in_s() > 600, "the first verification is over")
    connection = redis_clients.for_requests(plant.config)
    with plant.inside(), transaction(give=partial(enqueueing.give, connection)) as session:
        campaign = session.get_one(Campaign, campaign_id)
        lifecycle.schedule(session, campaign, at=utc_now() + timedelta(seconds=AHEAD_S), now=utc_now())

    plant.until(lambda: plant.progress(owner, campaign_id).started_at is not None, "it has started")
    with plant.inside(), transaction() as session:
        campaign = session.get_one(Campaign, campaign_id)
        assert campaign.started_at is not None
        assert campaign.scheduled_at is not None
        assert campaign.started_at >= campaign.scheduled_at  # how much later is for the benchmarks to say
