"""Several campaigns at once, on one account and on two."""

import re
from collections.abc import Callable

from tests.end_to_end.plant import Plant

RATE = "1200/minute"  # 20 a second: a short test, and still a limit that is felt


def test_two_campaigns_on_one_account_interleave_and_a_third_on_another_is_not_slowed(
    make_plant: Callable[..., Plant],
) -> None:
    plant = make_plant()
    plant.start_simulator("--latency-ms", "10", "--failure-share", "0")
    plant.start_web()
    owner = plant.create_company(campaign_rate_limit="6000/minute")
    shared = plant.create_account(owner[0], "111", rate_limit=RATE)
    own = plant.create_account(owner[0], "222", rate_limit=RATE)
    first = plant.create_campaign(owner, accounts=[shared], first=0, count=60)
    second = plant.create_campaign(owner, accounts=[shared], first=1000, count=60)
    third = plant.create_campaign(owner, accounts=[own], first=2000, count=60)
    plant.start_engine()

    plant.until(
        lambda: all(plant.progress(owner, each)["status"] == "completed" for each in (first, second, third)),
        "all three campaigns are complete",
    )

    ledger = plant.ledger()
    times = {
        start: [entry["received_at"] for entry in ledger if start <= int(entry["to"][-8:]) - 90000000 < start + 60]
        for start in (0, 1000, 2000)
    }
    assert [len(moments) for moments in times.values()] == [60, 60, 60]
    assert max(plant.messages_per_recipient().values()) == 1
    # The two that share an account overlap from end to end: each of them begins before the other has sent a fifth, and
    # ends after the other has a fifth left. (They are prepared a moment apart.)
    assert times[0][0] < times[1000][12]
    assert times[1000][0] < times[0][12]
    assert times[0][-13] < times[1000][-1]
    assert times[1000][-13] < times[0][-1]
    # Sharing takes them twice as long as the one that is alone, which takes what its own limit allows.
    alone_s = times[2000][-1] - times[2000][0]
    shared_s = max(times[0][-1], times[1000][-1]) - min(times[0][0], times[1000][0])
    assert 2.8 < alone_s < 4.0
    assert 5.8 < shared_s < 7.5
    # Each has counters of its own, and they are true.
    for campaign in (first, second, third):
        shown = plant.progress(owner, campaign)
        assert shown["total"] == 60
        assert shown["funnel"]["sent"] == 60
    assert plant.miscounted() == []
    # The logs tell the story: who starts, whose messages each turn took, why the lane waits and until when, the end.
    log = plant.log("workers")
    for campaign in (first, second, third):
        assert re.search(rf"campaign\.prepared .*campaign_id={campaign} ", log)
        assert re.search(rf"campaign\.finished .*campaign_id={campaign} ", log)
    turns = re.findall(r"lane\.deferred .*reason=account_limit sent=\{(\d+): 1\} until=", log)
    shared = "".join("ab"[int(campaign) == second] for campaign in turns if int(campaign) != third)
    assert "ababab" in shared or "aaabbb" in shared


def test_the_limit_of_an_account_is_kept_and_used_by_its_campaigns_together(
    make_plant: Callable[..., Plant],
) -> None:
    plant = make_plant()
    plant.start_simulator("--latency-ms", "5", "--failure-share", "0")
    owner = plant.create_company(campaign_rate_limit="6000/minute")
    account = plant.create_account(owner[0], "111", rate_limit="600/minute")
    campaigns = [plant.create_campaign(owner, accounts=[account], first=start, count=25) for start in (0, 1000, 2000)]
    plant.start_engine()

    plant.until(
        lambda: all(plant.progress(owner, each)["status"] == "completed" for each in campaigns),
        "all are complete",
    )

    arrivals = sorted(entry["received_at"] for entry in plant.ledger())
    assert len(arrivals) == 75
    # Ten a second, spent evenly: late wake-ups may be caught up with, by 0.15 s at the most (ratelimit: the margin).
    for at in range(len(arrivals) - 10):
        assert arrivals[at + 10] - arrivals[at] >= 0.7, "too many within a second"
    assert arrivals[-1] - arrivals[0] < 7.5 * 1.1, "the limit is not used"
