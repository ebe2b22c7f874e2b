"""How much of a limit a backlog uses, whether the promise holds as the provider sees it, and what it costs in calls.

A run of the whole engine (RQ workers, scheduler, PostgreSQL, Redis) against the simulator, whose ledger with its own
times of arrival is the judge.
"""

import time
from dataclasses import dataclass
from typing import Any

import redis as redis_package

from ratelimit import Rate
from tests.bench.servers import Servers
from tests.end_to_end.plant import Plant

WINDOW_S = 60.0


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


def measure(servers: Servers, *, limits: list[str], seconds: float) -> dict[str, Any]:
    """Send a backlog from one account per limit, all at once, for `seconds`; return the figures as JSON values."""
    plant = Plant(
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        folder=servers.folder,
        RATELIMIT_REDIS_URL=servers.limits_redis_url,
    )
    limits_redis = redis_package.Redis.from_url(servers.limits_redis_url)
    try:
        plant.start_simulator("--latency-ms", "30", "--throughput-per-s", "0")
        owner = plant.create_company(campaign_rate_limit="100000/minute")
        accounts = {}
        for at, limit in enumerate(limits):
            number = str(100 + at)
            account = plant.create_account(owner[0], number, rate_limit=limit)
            accounts[number] = limit
            rate = Rate.parse(limit)
            backlog = int(rate.count * seconds * 1e6 / rate.period_us) + 200
            plant.create_campaign(owner, accounts=[account], first=at * 1_000_000, count=backlog)
        limits_redis.config_resetstat()
        plant.start_engine()
        plant.until(lambda: len(plant.ledger()) > 0, "the first message arrives")
        time.sleep(seconds + 1)
        calls = limits_redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
        ledger = plant.ledger()
        uses = [
            _use([entry["received_at"] for entry in ledger if entry["phone_number_id"] == number], limit, seconds)
            for number, limit in accounts.items()
        ]
        return {
            "limits": [{name: getattr(use, name) for name in LimitUse.__dataclass_fields__} for use in uses],
            "limiter_calls_per_message": round(calls / len(ledger), 3),
            "messages": len(ledger),
        }
    finally:
        plant.stop()
        limits_redis.close()


def _use(arrivals: list[float], limit: str, seconds: float) -> LimitUse:
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


def table(results: dict[str, Any]) -> str:
    """Return the figures as text."""
    lines = [f"{'limit':<12} {'seconds':>8} {'arrivals':>9} {'use':>8} {'most in a window':>17} {'promise':>8}"]
    for row in results["limits"]:
        kept = "kept" if row["promise_kept"] else "BROKEN"
        lines.append(
            f"{row['limit']:<12} {row['seconds']:>8.0f} {row['arrivals']:>9} {row['use']:>8.2%}"
            f" {row['most_in_a_window']:>17} {kept:>8}"
        )
    lines.append(f"{results['messages']} messages, {results['limiter_calls_per_message']} limiter calls per message")
    return "\n".join(lines)
