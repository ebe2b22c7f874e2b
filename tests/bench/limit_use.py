"""How much of a limit a backlog uses, whether the promise holds as the provider sees it, and what it costs in calls.

A run of the whole engine (RQ workers, scheduler, PostgreSQL, Redis) against the simulator, whose ledger with its own
times of arrival is the judge.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import redis as redis_package

from ratelimit import Rate
from tests.bench.figures import Figure, Result
from tests.bench.options import Options
from tests.bench.works import UNOBSTRUCTED, WIDE, Opening

PROMISED_USE = 0.99
LIMITS = ("20/minute", "600/minute")


@dataclass(frozen=True, slots=True)
class LimitUse:
    """The use of one account's limit.

    `use` is arrivals over what the limit allows in `seconds`; `most_in_a_window` the most arrivals in any window of the
    limit's period.
    """

    limit: str
    seconds: float
    arrivals: int
    use: float
    most_in_a_window: int
    promise_kept: bool


def measure(opening: Opening, options: Options) -> Result:
    """Send a backlog from one account per limit, all at once, for a while."""
    seconds = options.seconds_or(120.0, quick=1.0)
    with opening() as plant:
        limits_redis = redis_package.Redis.from_url(plant.servers.limits_redis_url)
        plant.start_simulator(*UNOBSTRUCTED, "--latency-ms", "30")
        plant.start_others()
        owner = plant.create_company(campaign_rate_limit=WIDE)
        accounts = {}
        campaign_ids = []
        first = 0
        for limit in LIMITS:
            [(account_id, number)] = plant.create_accounts(owner[0], 1, rate_limit=limit).items()
            accounts[number] = limit
            rate = Rate.parse(limit)
            backlog = int(rate.count * seconds * 1e6 / rate.period_us) + 200
            list_id = plant.create_audience(owner[0], first=first, size=backlog)
            first += backlog
            campaign_ids.append(plant.start_campaign(owner, account_ids=[account_id], list_id=list_id))
        plant.wait_until_prepared(campaign_ids)
        accepted = plant.accepted()
        with limits_redis:
            limits_redis.config_resetstat()
            plant.start_senders()
            plant.until(lambda: plant.accepted() > accepted, "the first message arrives")
            time.sleep(seconds + 1)
            calls = limits_redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
        ledger = [entry for entry in plant.ledger() if entry["phone_number_id"] in accounts]
    uses = [
        _use([entry["received_at"] for entry in ledger if entry["phone_number_id"] == number], limit, seconds)
        for number, limit in accounts.items()
    ]
    figures = []
    for use in uses:
        most = Rate.parse(use.limit).count
        figures += [
            Figure(name=f"use of {use.limit}", value=use.use, unit="of what it allows", at_least=PROMISED_USE),
            Figure(name=f"{use.limit}: most in a window", value=use.most_in_a_window, unit="messages", at_most=most),
        ]
    figures.append(Figure(name="calls of the limiter", value=calls / len(ledger), unit="per message"))
    return Result(tuple(figures), {"limits": [asdict(use) for use in uses], "messages": len(ledger)})


def _use(arrivals: Sequence[float], limit: str, seconds: float) -> LimitUse:
    rate = Rate.parse(limit)
    period_s = rate.period_us / 1e6
    within = [moment for moment in arrivals if moment < arrivals[0] + seconds]
    allowed = rate.count * seconds / period_s
    most, first = 0, 0
    for last, moment in enumerate(arrivals):
        while arrivals[first] <= moment - period_s:
            first += 1
        most = max(most, last - first + 1)
    return LimitUse(
        limit=limit,
        seconds=seconds,
        arrivals=len(within),
        use=round(len(within) / allowed, 4),
        most_in_a_window=most,
        promise_kept=most <= rate.count,
    )
