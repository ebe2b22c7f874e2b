"""Whether equal campaigns on one account get equal shares of it, in any minute."""

import time
from collections import Counter
from collections.abc import Sequence

from tests.bench.figures import Figure, Result
from tests.bench.options import Options
from tests.bench.works import UNOBSTRUCTED, WIDE, Opening

CAMPAIGNS = 5
WINDOW_S = 60.0
STEP_S = 1.0
PROMISED_SPREAD = 0.10
PER_MINUTE = 3_000
BASE = 90_000_000
"""Where the numbers of an audience begin, after country and area code."""

Arrival = tuple[float, int]
"""When a message arrived, in Unix seconds, and whose it was."""


def measure(opening: Opening, options: Options) -> Result:
    """Let five campaigns share an account; compare their shares in every window of the ledger."""
    window_s = 0.5 if options.quick else WINDOW_S
    seconds = options.seconds_or(WINDOW_S + 8, quick=0.8)
    people = int(PER_MINUTE / 60 * (seconds + 15))
    with opening() as plant:
        plant.start_simulator(*UNOBSTRUCTED, "--latency-ms", "30")
        plant.start_others()
        owner = plant.create_company(campaign_rate_limit=WIDE)
        [(account_id, number)] = plant.create_accounts(
            owner[0], 1, rate_limit=f"{PER_MINUTE}/minute", max_in_flight=16
        ).items()
        campaign_ids = []
        for at in range(CAMPAIGNS):
            list_id = plant.create_audience(owner[0], first=at * people, size=people)
            campaign_ids.append(plant.start_campaign(owner, account_ids=[account_id], list_id=list_id))
        plant.wait_until_prepared(campaign_ids)
        accepted = plant.accepted()
        plant.start_senders()
        plant.until(lambda: plant.accepted() > accepted, "the first message arrives")
        time.sleep(seconds)
        arrivals = [
            (entry["received_at"], (int(entry["to"][-8:]) - BASE) // people)
            for entry in plant.ledger()
            if entry["phone_number_id"] == number
        ]
    spreads = _spreads(arrivals, window_s)
    return Result(
        (
            Figure(name=f"windows of {window_s:g} s", value=len(spreads), unit="windows"),
            Figure(
                name=f"largest difference between {CAMPAIGNS} equal campaigns",
                value=max(spreads),
                unit="of the smallest",
                at_most=PROMISED_SPREAD,
            ),
            Figure(name="messages in all", value=len(arrivals), unit="messages"),
        ),
        {
            "limit": f"{PER_MINUTE}/minute",
            "per_campaign": dict(sorted(Counter(whose for _, whose in arrivals).items())),
        },
    )


def _spreads(arrivals: Sequence[Arrival], window_s: float) -> list[float]:
    """Return for each window how much more the largest share is than the smallest, as a part of the smallest."""
    first, last = arrivals[0][0], arrivals[-1][0]
    spreads = []
    begin = first
    while begin + window_s <= last:
        counts = Counter(whose for at, whose in arrivals if begin <= at < begin + window_s)
        least = min(counts[whose] for whose in range(CAMPAIGNS))
        spreads.append((max(counts.values()) - least) / least if least else float("inf"))
        begin += STEP_S
    return spreads
