"""Random kills in the middle of a campaign, with a seed, and the simulator's ledger as the judge."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign_engine import migrations
from cli.embedded.installation import Installation
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis
from tests.end_to_end.plant import Plant

ACCOUNTS = 5
IN_FLIGHT = 16

SIMULATOR = (
    "--latency-ms=50",
    "--failure-share=0.02",
    "--throughput-per-s=0",
    "--lost-answer-share=0.01",
    "--duplicate-webhook-share=0.2",
    "--reorder-webhook-share=0.2",
    "--webhook-retry-ms=200",
    "--webhook-retry-longest-ms=1000",
    "--webhook-attempts=200",
    "--delivered-delay-ms=100-500",
    "--read-delay-ms=100-500",
)


@dataclass(slots=True)
class Verdict:
    """What the ledger and the rows say when it is over."""

    messages: int
    kills: dict[str, int]
    missing: int
    twice: int
    unknown: int
    unknown_at_most: int
    miscounted: list[int]
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether every message arrived exactly once and every row knows it."""
        return not (self.missing or self.twice or self.unknown or self.miscounted)


@dataclass(slots=True)
class Mayhem:
    """One run: `count` messages, a kill every `pause_s` seconds (at random within half of it and one and a half).

    In each of the `rounds` every victim has its turn; then what is left of the campaign goes on in peace.
    """

    folder: Path
    seed: int
    count: int
    pause_s: float
    victims: tuple[str, ...] = ("worker", "worker", "worker", "pool", "scheduler", "web", "redis", "postgres")
    timeout_s: float = 240.0
    rounds: int = 1_000_000
    rate_limit: str = "600000/minute"  # of each account
    verify_interval_s: int = 5
    kills: dict[str, int] = field(default_factory=dict)

    def run(self, told: Callable[[str], object] = print) -> Verdict:
        """Run it and return the verdict; leaves no process behind."""
        rng = random.Random(self.seed)
        began_at = time.monotonic()
        with Installation(self.folder / "servers") as installation:
            postgres, redis = EmbeddedPostgres(installation), EmbeddedRedis(installation)
            postgres.start()
            redis.start()
            migrations.upgrade(postgres.url)
            plant = Plant(
                database_url=postgres.url,
                redis_url=redis.url,
                folder=self.folder,
                VERIFY_INTERVAL_S=str(self.verify_interval_s),
                CAMPAIGN_MESSAGES_WORKERS=str(ACCOUNTS),
                DELIVERY_EVENTS_WORKERS="1",
            )
            try:
                return self._rage(plant, postgres, redis, rng, told, began_at)
            finally:
                plant.stop()
                redis.kill()
                postgres.kill()

    def _rage(
        self,
        plant: Plant,
        postgres: EmbeddedPostgres,
        redis: EmbeddedRedis,
        rng: random.Random,
        told: Callable[[str], object],
        began_at: float,
    ) -> Verdict:
        plant.start_simulator(*SIMULATOR)
        plant.start_web()
        owner = plant.create_company(campaign_rate_limit="6000000/minute")
        accounts = [
            plant.create_account(owner[0], str(100 + at), rate_limit=self.rate_limit, max_in_flight=IN_FLIGHT)
            for at in range(ACCOUNTS)
        ]
        campaign = plant.create_campaign(owner, accounts=accounts, first=0, count=self.count)
        plant.start_engine()
        plant.until(lambda: plant.ledger(), "the first message arrives")
        unknown_at_most = 0
        victims: list[str] = []
        kills_left = self.rounds * len(self.victims)
        while kills_left and plant.accepted() < self.count * 0.95 and time.monotonic() < began_at + self.timeout_s:
            kills_left -= 1
            time.sleep(self.pause_s * rng.uniform(0.5, 1.5))
            if not victims:
                victims = rng.sample(self.victims, len(self.victims))
            self._kill(victims.pop(), plant, postgres, redis, rng, told)
            shown = plant.progress(owner, campaign)
            unknown_at_most = max(unknown_at_most, shown.counts["unknown"])
        give_up_at = began_at + self.timeout_s
        while time.monotonic() < give_up_at:
            shown = plant.progress(owner, campaign)
            unknown_at_most = max(unknown_at_most, shown.counts["unknown"])
            if shown.status == "completed" and shown.counts["unknown"] == 0:
                break
            time.sleep(0.5)
        shown = plant.progress(owner, campaign)
        received = plant.messages_per_recipient()
        return Verdict(
            messages=self.count,
            kills=self.kills,
            missing=self.count - len(received),
            twice=sum(1 for times in received.values() if times > 1),
            unknown=shown.counts["unknown"],
            unknown_at_most=unknown_at_most,
            miscounted=plant.miscounted(),
            seconds=round(time.monotonic() - began_at, 1),
        )

    def _kill(
        self,
        victim: str,
        plant: Plant,
        postgres: EmbeddedPostgres,
        redis: EmbeddedRedis,
        rng: random.Random,
        told: Callable[[str], object],
    ) -> None:
        self.kills[victim] = self.kills.get(victim, 0) + 1
        told(f"  {plant.accepted():>6} accepted; kill -9 {victim}")
        if victim == "worker":
            children = plant.children("workers")
            if children:
                os.kill(rng.choice(children), signal.SIGKILL)
        elif victim == "pool":
            plant.kill("workers")
            plant.start("workers", "cli", "workers")
        elif victim == "scheduler":
            plant.kill("scheduler")
            plant.start("scheduler", "cli", "scheduler")
        elif victim == "web":
            plant.kill("web")
            plant.start("web", "cli", "web")
        else:
            server: Any = redis if victim == "redis" else postgres
            server.kill()
            plant.forget_connections()
            time.sleep(rng.uniform(0.2, 1.5))
            server.start()
