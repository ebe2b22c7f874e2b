"""What is left after something died in the middle of a campaign: nothing lost, nothing twice."""

from collections.abc import Callable

import redis as redis_package
import requests

from tests.end_to_end.plant import Plant

COUNT = 150


def _running_plant(make_plant: Callable[..., Plant], *simulator_options: str) -> tuple[Plant, tuple[int, int], int]:
    plant = make_plant(VERIFY_INTERVAL_S="2")
    plant.start_simulator("--latency-ms", "50", "--failure-share", "0", *simulator_options)
    plant.start_web()
    owner = plant.create_company(campaign_rate_limit="60000/minute")
    account = plant.create_account(owner[0], "111", rate_limit="3000/minute", max_in_flight=8)
    campaign = plant.create_campaign(owner, accounts=[account], first=0, count=COUNT)
    plant.start_engine()
    plant.until(lambda: len(plant.ledger()) >= COUNT // 3, "a third of the messages has arrived")
    return plant, owner, campaign


def _assert_everybody_got_one(plant: Plant, owner: tuple[int, int], campaign: int) -> None:
    received = plant.messages_per_recipient()
    assert len(received) == COUNT
    assert max(received.values()) == 1
    shown = plant.progress(owner, campaign)
    assert shown["counts"]["unknown"] == 0
    assert shown["funnel"]["sent"] == COUNT
    assert plant.miscounted() == []


def test_killing_all_workers_loses_nothing_and_doubles_nothing(make_plant: Callable[..., Plant]) -> None:
    plant, owner, campaign = _running_plant(make_plant)

    plant.kill("workers")
    arrived = len(plant.ledger())
    assert arrived < COUNT, "the campaign was over before the kill"
    plant.start("workers", "cli", "workers")

    plant.until(lambda: plant.progress(owner, campaign)["status"] == "completed", "the campaign completes")
    plant.until(
        lambda: plant.progress(owner, campaign)["counts"]["unknown"] == 0,
        "webhooks settle what was in flight",
    )
    _assert_everybody_got_one(plant, owner, campaign)


def test_flushing_redis_in_the_middle_costs_a_moment_and_no_message(
    make_plant: Callable[..., Plant], redis_client: redis_package.Redis
) -> None:
    plant, owner, campaign = _running_plant(make_plant)

    redis_client.flushall()
    assert len(plant.ledger()) < COUNT, "the campaign was over before the flush"

    plant.until(
        lambda: plant.progress(owner, campaign)["status"] == "completed",
        "the campaign completes",
        timeout_s=25,
    )
    _assert_everybody_got_one(plant, owner, campaign)


def test_an_answer_that_was_lost_is_unknown_until_its_webhook_and_never_sent_again(
    make_plant: Callable[..., Plant],
) -> None:
    plant = make_plant(VERIFY_INTERVAL_S="2")
    plant.start_simulator(
        "--latency-ms", "20", "--failure-share", "0", "--lost-answer-share", "0.3", "--sent-delay-ms", "3000"
    )
    plant.start_web()
    owner = plant.create_company(campaign_rate_limit="60000/minute")
    account = plant.create_account(owner[0], "111", rate_limit="3000/minute", max_in_flight=8)
    campaign = plant.create_campaign(owner, accounts=[account], first=0, count=60)
    plant.start_engine()

    plant.until(lambda: plant.progress(owner, campaign)["counts"]["unknown"] > 5, "lost answers are unknown")
    plant.until(lambda: plant.progress(owner, campaign)["status"] == "completed", "the campaign completes")
    plant.until(lambda: plant.progress(owner, campaign)["counts"]["unknown"] == 0, "webhooks settle them")

    summary = requests.get(f"{plant.simulator_url}/simulator/summary", timeout=5).json()
    assert summary["answers_lost"] > 5
    assert summary["accepted"] == 60
    assert summary["repeated_recipients"]["count"] == 0
