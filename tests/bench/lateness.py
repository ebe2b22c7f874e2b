"""How late a deferred turn begins: never early, and at most a few tens of milliseconds after its time.

Many paced accounts send one message each second or so. After each message the lane is deferred to an exact time, which
its log names; RQ notes when the job of the turn began, and the simulator when the message arrived.
"""

import json
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import redis as redis_package
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError
from rq.job import Job

from jobs import waking
from tests.bench.figures import Figure, Result
from tests.bench.options import Options
from tests.bench.works import SENDERS, UNOBSTRUCTED, WIDE, Opening, Works

PROMISED_P99_MS = 60.0
NEVER_EARLY_MS = 0.0

Times = Mapping[int, Sequence[float]]
"""Unix seconds by account id, in order."""

Deferrals = Mapping[int, Sequence[tuple[float, float]]]
"""When a lane was deferred, and until when, by account id, in order."""


def measure(opening: Opening, options: Options) -> Result:
    """Let the paced accounts send for a while; compare each deferral with the turn that followed it."""
    seconds = options.seconds_or(30.0, quick=1.0)
    accounts_count, interval_s = (3, 0.2) if options.quick else (20, 1.1)
    with opening() as plant:
        plant.start_simulator(*UNOBSTRUCTED, "--latency-ms", "30")
        owner = plant.create_company(campaign_rate_limit=WIDE)
        numbers = plant.create_accounts(
            owner[0], accounts_count, rate_limit=WIDE, max_in_flight=1, message_interval_s=interval_s
        )
        count = int(2 * accounts_count * (seconds + 2) / interval_s)
        list_id = plant.create_audience(owner[0], first=0, size=count)
        plant.start_others()
        plant.start_senders()
        campaign_id = plant.start_campaign(owner, account_ids=list(numbers), list_id=list_id)
        plant.wait_until_prepared([campaign_id])
        # While rows are written the lanes are woken early, and rightly so.
        since = time.time()
        plant.until(lambda: len(_deferrals(plant, numbers, since)) == accounts_count, "every lane has been deferred")
        time.sleep(seconds)
        deferrals = _deferrals(plant, numbers, since)
        begun = _turns(plant, numbers)
        arrivals = _arrivals(plant, numbers)
    late_ms = _lateness_ms(deferrals, begun)
    arrival_ms = _lateness_ms(deferrals, arrivals)
    return Result(
        (
            Figure(name="deferred turns", value=len(late_ms), unit="turns"),
            Figure(name="earliest begin", value=min(late_ms), unit="ms after its time", at_least=NEVER_EARLY_MS),
            Figure(name="begin, median", value=_quantile(late_ms, 0.5), unit="ms after its time"),
            Figure(
                name="begin, 99 of 100",
                value=_quantile(late_ms, 0.99),
                unit="ms after its time",
                at_most=PROMISED_P99_MS,
            ),
            Figure(name="latest begin", value=max(late_ms), unit="ms after its time"),
            Figure(
                name="arrival of its message, 99 of 100", value=_quantile(arrival_ms, 0.99), unit="ms after its time"
            ),
        ),
        {"accounts": accounts_count, "interval_s": interval_s},
    )


def _deferrals(plant: Works, numbers: Mapping[int, str], since: float) -> Deferrals:
    """Return when and until when each lane was deferred, as the workers' log says."""
    found = defaultdict(list)
    for line in plant.log(SENDERS).splitlines():
        if "lane.deferred" in line and line.startswith("{"):
            entry = json.loads(line)
            at = _seconds(entry["timestamp"])
            if entry["account_id"] in numbers and at > since and "budget" not in entry["reason"]:
                found[entry["account_id"]].append((at, _seconds(entry["until"])))
    return found


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _turns(plant: Works, numbers: Mapping[int, str]) -> Times:
    """Return when each lane's turns began, as RQ has kept it for a minute."""
    found = defaultdict(list)
    with redis_package.Redis.from_url(plant.servers.redis_url) as connection:
        for key in connection.scan_iter(match="rq:job:turn-*", count=1000):
            try:
                job = Job.fetch(key.decode().removeprefix("rq:job:"), connection=connection)
            except (NoSuchJobError, RedisError):
                continue
            if job.func_name == waking.TURN and job.started_at is not None and job.args[0] in numbers:
                found[job.args[0]].append(job.started_at.replace(tzinfo=UTC).timestamp())
    return {account_id: sorted(times) for account_id, times in found.items()}


def _arrivals(plant: Works, numbers: Mapping[int, str]) -> Times:
    found = defaultdict(list)
    account_of = {number: account_id for account_id, number in numbers.items()}
    for entry in plant.ledger():
        if entry["phone_number_id"] in account_of:
            found[account_of[entry["phone_number_id"]]].append(entry["received_at"])
    return found


def _lateness_ms(deferrals: Deferrals, times: Times) -> list[float]:
    """Return how long after its time came what followed each deferral, in order; negative is early."""
    late = []
    for account_id, told in deferrals.items():
        moments = times.get(account_id, [])
        for at, until in told:
            following = bisect_right(moments, at)
            if following < len(moments):
                late.append(1000 * (moments[following] - until))
    return sorted(late)


def _quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]
