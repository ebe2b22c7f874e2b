"""Campaigns in a whole installation: at the same time, over both wires, and with parts of it dying in the middle."""

import re
from itertools import groupby

import redis as redis_package
import requests
from sqlalchemy import text

from campaign_engine.db import transaction
from tests.end_to_end.plant import Plant

RATE = "1800/minute"  # 30 a second: a short test, and still a limit that is felt
COUNT = 150
INSTANCE, APIKEY = "shop", "the-apikey-of-the-shop"


# --- Several campaigns at once, on one account and on two.


def test_two_campaigns_on_one_account_interleave_and_a_third_on_another_is_not_slowed(
    plant: Plant,
) -> None:
    plant.renew_simulator(latency_ms=10)
    owner = plant.create_company(campaign_rate_limit="6000/minute")
    shared = plant.create_account(owner[0], "111", rate_limit=RATE)
    own = plant.create_account(owner[0], "222", rate_limit=RATE)
    first = plant.create_campaign(owner, accounts=[shared], first=0, count=60, start=False)
    second = plant.create_campaign(owner, accounts=[shared], first=1000, count=60, start=False)
    third = plant.create_campaign(owner, accounts=[own], first=2000, count=60, start=False)
    plant.start_campaigns(owner, first, second, third)

    plant.until(
        lambda: all(plant.progress(owner, each).status == "completed" for each in (first, second, third)),
        "all three campaigns are complete",
    )

    ledger = plant.ledger()
    whose = [(int(entry["to"][-8:]) - 90000000) // 1000 for entry in ledger]
    assert [whose.count(campaign) for campaign in (0, 1, 2)] == [60, 60, 60]
    assert max(plant.messages_per_recipient().values()) == 1
    # The two that share an account take turns from where both have begun to where one has ended. (They are prepared a
    # moment apart; how much of a limit is used is for the benchmarks to say, on a machine with nothing else to do.)
    shared = [campaign for campaign in whose if campaign != 2]
    together = shared[max(map(shared.index, (0, 1))) : min(len(shared) - shared[::-1].index(each) for each in (0, 1))]
    assert len(together) > 30
    assert max(len(list(run)) for _, run in groupby(together)) <= 2 * plant.config.campaign_batch
    # The one that is alone is through first: nobody takes of its limit.
    assert {*whose[len(whose) - whose[::-1].index(2) :]} == {0, 1}
    # Each has counters of its own, and they are true.
    for campaign in (first, second, third):
        shown = plant.progress(owner, campaign)
        assert shown.total == 60
        assert shown.funnel.sent == 60
    assert plant.miscounted() == []
    # The logs tell the story: who starts, whose messages each turn took, why the lane waits and until when, the end.
    log = plant.log("workers")
    for campaign in (first, second, third):
        assert re.search(rf"campaign\.prepared .*campaign_id={campaign} ", log)
        assert re.search(rf"campaign\.finished .*campaign_id={campaign} ", log)
    turns = re.findall(r"lane\.deferred .*reason=account_limit sent=\{(.+?)\} until=", log)
    served = [frozenset(map(int, re.findall(r"(\d+):", sent))) & {first, second} for sent in turns]
    stretches = [len(list(turns)) for whose, turns in groupby(filter(None, served[:40])) if len(whose) == 1]
    assert frozenset().union(*served) == {first, second}
    # A quantum of three, and the lines of turns that ended for another reason are missing.
    assert max(stretches, default=0) <= 2 * plant.config.campaign_batch


def test_the_limit_of_an_account_is_kept_by_its_campaigns_together(plant: Plant) -> None:
    plant.renew_simulator(latency_ms=5)
    owner = plant.create_company(campaign_rate_limit="6000/minute")
    account = plant.create_account(owner[0], "111", rate_limit="600/minute")
    campaigns = [plant.create_campaign(owner, accounts=[account], first=start, count=12) for start in (0, 1000, 2000)]

    plant.until(
        lambda: all(plant.progress(owner, each).status == "completed" for each in campaigns),
        "all are complete",
    )

    arrivals = sorted(entry["received_at"] for entry in plant.ledger())
    assert len(arrivals) == 36
    # Ten a second, spent evenly. The limiter keeps it to the millisecond; a message may be late on its way from there,
    # and the next one not.
    for at in range(len(arrivals) - 24):
        assert arrivals[at + 24] - arrivals[at] >= 1.5, "too many within two seconds"


# --- What is left after something died in the middle of a campaign: nothing lost, nothing twice.


def _begun(plant: Plant) -> tuple[tuple[int, int], int]:
    """Have a campaign of which a third has arrived; return its owner and its id."""
    plant.renew_simulator(latency_ms=50)
    owner = plant.create_company(campaign_rate_limit="60000/minute")
    account = plant.create_account(owner[0], "111", rate_limit="3000/minute", max_in_flight=8)
    campaign = plant.create_campaign(owner, accounts=[account], first=0, count=COUNT)
    plant.until(lambda: plant.accepted() >= COUNT // 3, "a third of the messages has arrived")
    return owner, campaign


def _assert_everybody_got_one(plant: Plant, owner: tuple[int, int], campaign: int) -> None:
    received = plant.messages_per_recipient()
    assert len(received) == COUNT
    assert max(received.values()) == 1
    shown = plant.progress(owner, campaign)
    assert shown.counts["unknown"] == 0
    assert shown.funnel.sent == COUNT
    assert plant.miscounted() == []


def test_killing_all_workers_loses_nothing_and_doubles_nothing(plant: Plant) -> None:
    owner, campaign = _begun(plant)

    plant.kill("workers")
    arrived = plant.accepted()
    assert arrived < COUNT, "the campaign was over before the kill"
    plant.start("workers", "cli", "workers")

    plant.until(lambda: plant.progress(owner, campaign).status == "completed", "the campaign completes")
    plant.until(
        lambda: plant.progress(owner, campaign).counts["unknown"] == 0,
        "webhooks settle what was in flight",
    )
    _assert_everybody_got_one(plant, owner, campaign)


def test_flushing_redis_in_the_middle_costs_a_moment_and_no_message(plant: Plant, redis_url: str) -> None:
    owner, campaign = _begun(plant)

    with redis_package.Redis.from_url(redis_url) as client:
        client.flushall()
    assert plant.accepted() < COUNT, "the campaign was over before the flush"

    plant.until(
        lambda: plant.progress(owner, campaign).status == "completed",
        "the campaign completes",
    )
    _assert_everybody_got_one(plant, owner, campaign)


def test_an_answer_that_was_lost_is_unknown_until_its_webhook_and_never_sent_again(
    plant: Plant,
) -> None:
    plant.renew_simulator(latency_ms=20, lost_answer_share=0.3, sent_delay_ms=1500)
    owner = plant.create_company(campaign_rate_limit="60000/minute")
    account = plant.create_account(owner[0], "111", rate_limit="3000/minute", max_in_flight=8)
    campaign = plant.create_campaign(owner, accounts=[account], first=0, count=60)

    plant.until(lambda: plant.progress(owner, campaign).counts["unknown"] > 0, "lost answers are unknown")
    plant.until(lambda: plant.progress(owner, campaign).status == "completed", "the campaign completes")
    plant.until(lambda: plant.progress(owner, campaign).counts["unknown"] == 0, "webhooks settle them")

    summary = requests.get(f"{plant.simulator_url}/simulator/summary", timeout=60).json()
    assert summary["answers_lost"] > 5
    assert summary["accepted"] == 60
    assert summary["repeated_recipients"]["count"] == 0


# --- Evolution API, from the first message to the last webhook.


def _shop(plant: Plant, company_id: int, *, update_shape: str) -> int:
    """Make an account of an instance whose webhooks come to the account's own address; return its id."""
    plant.tell_simulator("POST", "instances", {"instance": INSTANCE, "apikey": APIKEY, "update_shape": update_shape})
    account = plant.add_account(
        company_id,
        {
            "provider": "evolution",
            "name": "Shop",
            "base_url": plant.simulator_url,
            "instance": INSTANCE,
            "access_token": APIKEY,
            "rate_limit": "6000/minute",
            "message_interval_s": 0,
            "longer_interval_after": 0,
        },
    )
    address = f"http://127.0.0.1:{plant.web_port}/webhooks/evolution/{account.webhook_key}"
    plant.tell_simulator("POST", "instances", {"instance": INSTANCE, "webhook_url": address})
    return account.id


def _count_of(plant: Plant, query: str) -> int:
    with plant.inside(), transaction() as session:
        found: int = session.execute(text(query)).scalar_one()
        return found


def test_a_campaign_goes_out_one_by_one_and_a_lost_answer_stays_unknown(plant: Plant) -> None:
    plant.renew_simulator(
        latency_ms=10,
        read_share=0.5,
        seed=7,
        # The first statuses are there before the answer is.
        sent_delay_ms=0,
        delivered_delay_ms=[0, 100],
        read_delay_ms=[0, 100],
        webhook_batch_ms=0,
        duplicate_webhook_share=0.3,
        reorder_webhook_share=0.3,
        lost_answer_next=1,
    )
    owner = plant.create_company(campaign_rate_limit="60000/minute")
    account = _shop(plant, owner[0], update_shape="list")
    campaign = plant.create_campaign(owner, accounts=[account], first=0, count=30)

    def counts() -> dict[str, int]:
        found: dict[str, int] = plant.progress(owner, campaign).counts
        return found

    plant.until(
        lambda: counts()["delivered"] + counts()["read"] == 29 and counts()["unknown"] == 1,
        "all but the message whose answer was lost are delivered",
    )
    ledger = plant.ledger()
    assert sorted(plant.messages_per_recipient().values()) == [1] * 30
    plant.until(
        lambda: counts()["read"] == sum(each["fate"] == "read" and not each["answer_lost"] for each in ledger),
        "those that were read are known to be",
    )
    # The lost one has been delivered too, and its webhooks came: nothing in them says whose they are.
    (lost,) = [entry for entry in plant.ledger() if entry["answer_lost"]]
    assert lost["statuses"][-1]["webhook_acknowledged_at"] is not None
    assert counts()["unknown"] == 1
    # People answer, and the phone is switched off.
    plant.tell_simulator("POST", "inbound", {"phone_number_id": INSTANCE, "from": "+5511990000000", "text": "SAIR"})
    plant.until(lambda: _count_of(plant, "SELECT count(*) FROM opt_outs") == 1, "who asked to be left alone is")
    plant.tell_simulator("POST", "instances", {"instance": INSTANCE, "state": "close"})
    told = "SELECT count(*) FROM notifications WHERE kind = 'connection_lost'"
    plant.until(lambda: _count_of(plant, told) == 1, "the company is told")
    summary = requests.get(f"{plant.simulator_url}/simulator/summary", timeout=60).json()
    assert summary["by_number"][INSTANCE]["most_sends_at_once"] == 1
    assert (summary["webhooks"]["attempts_refused"], plant.miscounted()) == (0, [])
