"""What a large campaign costs before and while it is sent: the time to write its rows, and memory.

Redis holds a job per lane, not per message, and a worker holds what is in flight, not the campaign.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import psutil
import redis as redis_package

from tests.bench.figures import Figure, Result
from tests.bench.options import Options
from tests.bench.works import OTHERS, SENDERS, UNOBSTRUCTED, WIDE, Opening, Works

LARGE, HUGE = 100_000, 1_000_000
PROMISED_PREPARED_S = 5.0
PROMISED_REDIS_MB = 1.0
PROMISED_GROWTH_MB = 20.0
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sending:
    """What a campaign took: seconds until its rows were written, growth in MiB, messages sent in so many seconds."""

    rows: int
    prepared_s: float
    redis_growth_mb: float
    sender_growth_mb: float
    other_growth_mb: float
    largest_worker_mb: float
    sent: int
    seconds: float


def measure(opening: Opening, options: Options) -> Result:
    """Prepare and send a large campaign for a moment and a huge one for longer."""
    seconds = options.seconds_or(45.0, quick=0.1)
    if options.quick:
        large = _send(opening, 200, warm_up_s=0.2, seconds=0.3)
        huge = _send(opening, 300, warm_up_s=0.1, seconds=seconds)
    else:
        large = _send(opening, LARGE, warm_up_s=5, seconds=10)
        huge = _send(opening, HUGE, warm_up_s=15, seconds=seconds)
    return Result(
        (
            Figure(
                name=f"{large.rows:,} recipients: prepared",
                value=large.prepared_s,
                unit="s",
                at_most=PROMISED_PREPARED_S,
            ),
            Figure(
                name=f"{large.rows:,} recipients: growth of Redis",
                value=large.redis_growth_mb,
                unit="MiB",
                at_most=PROMISED_REDIS_MB,
            ),
            Figure(name=f"{huge.rows:,} recipients: prepared", value=huge.prepared_s, unit="s"),
            Figure(name=f"{huge.rows:,} recipients: growth of Redis", value=huge.redis_growth_mb, unit="MiB"),
            *(
                Figure(
                    name=f"{huge.rows:,} recipients: growth of the largest {worker}",
                    value=growth,
                    unit="MiB",
                    at_most=PROMISED_GROWTH_MB,
                )
                for worker, growth in (
                    ("worker that sends", huge.sender_growth_mb),
                    ("worker that does not", huge.other_growth_mb),
                )
            ),
            Figure(name=f"{huge.rows:,} recipients: sent meanwhile", value=huge.sent, unit="messages"),
        ),
        {"campaigns": [asdict(each) for each in (large, huge)]},
    )


def _send(opening: Opening, rows: int, *, warm_up_s: float, seconds: float) -> Sending:
    """Prepare a campaign, send it at full speed from its first chunk on, and watch the memory."""
    with opening() as plant:
        plant.start_simulator(*UNOBSTRUCTED, "--latency-ms", "50")
        plant.start_web()
        plant.start_others()
        plant.start_senders()
        owner = plant.create_company(campaign_rate_limit=WIDE)
        accounts = plant.create_accounts(owner[0], 1, rate_limit=WIDE, max_in_flight=64)
        list_id = plant.create_audience(owner[0], first=0, size=rows)
        time.sleep(min(warm_up_s, 2.0))  # until the workers have said that they are there
        memory = RedisMemory(plant.servers.redis_url, plant.servers.limits_redis_url)
        accepted = plant.accepted()
        started = time.monotonic()
        campaign_id = plant.start_campaign(owner, account_ids=list(accounts), list_id=list_id)
        plant.wait_until_prepared([campaign_id], timeout_s=180)
        prepared_s = time.monotonic() - started
        memory.look()
        _watch(memory, warm_up_s)
        before = _workers_mb(plant)
        watched_from = time.monotonic()
        _watch(memory, seconds)
        after = _workers_mb(plant)
        return Sending(
            rows=rows,
            prepared_s=round(prepared_s, 2),
            redis_growth_mb=round(memory.growth_mb, 3),
            sender_growth_mb=_growth_mb(before[SENDERS], after[SENDERS]),
            other_growth_mb=_growth_mb(before[OTHERS], after[OTHERS]),
            largest_worker_mb=round(max(max(each.values()) for each in after.values()), 1),
            sent=plant.accepted() - accepted,
            seconds=round(time.monotonic() - watched_from, 1),
        )


class RedisMemory:
    """The most memory that Redis servers have used together since this was made, over what they used then."""

    def __init__(self, *urls: str) -> None:
        self._urls = urls
        self._first = self._used()
        self._most = self._first

    def look(self) -> None:
        """Look once."""
        self._most = max(self._most, self._used())

    @property
    def growth_mb(self) -> float:
        """MiB over the first look."""
        return (self._most - self._first) / MEBIBYTE

    def _used(self) -> int:
        used = 0
        for url in self._urls:
            with redis_package.Redis.from_url(url) as client:
                used += int(client.info("memory")["used_memory"])
        return used


def _watch(memory: RedisMemory, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        memory.look()
        time.sleep(min(0.5, seconds))


def _workers_mb(plant: Works) -> dict[str, dict[int, float]]:
    """Return what each worker holds for itself and its share of what its pool shares, in MiB, by pool and process."""
    return {
        pool: {pid: psutil.Process(pid).memory_full_info().pss / MEBIBYTE for pid in plant.children(pool)}
        for pool in (SENDERS, OTHERS)
    }


def _growth_mb(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Return how much larger the largest worker is. The others are small until a turn comes to them, and then alike."""
    return round(max(after.values()) - max(before.values()), 2)
