"""A campaign whose servers are cut off in the middle, and the simulator's ledger as the judge.

The workers, the scheduler and the web reach PostgreSQL, Redis and the limiter's Redis through proxies that can be cut;
the test itself reaches them past the proxies, to see what happens meanwhile.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.end_to_end.plant import Plant
from tests.end_to_end.proxy import Proxy

IN_FLIGHT = 16
VERIFY_INTERVAL_S = 5

SIMULATOR = (
    "--failure-share=0",
    "--no-magic-numbers",
    "--throughput-per-s=0",
    "--webhook-retry-ms=200",
    "--webhook-retry-longest-ms=1000",
    "--webhook-attempts=200",
    "--delivered-delay-ms=100-500",
    "--read-share=0",
)


class Server(StrEnum):
    """What can be cut off."""

    POSTGRES = "postgres"
    REDIS = "redis"
    LIMITER = "limiter"
    PROVIDER = "provider"


class Manner(StrEnum):
    """How it is cut off."""

    REFUSED = "refused"  # connections break, and new ones are refused
    FROZEN = "frozen"  # nothing answers


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ledger and the rows say. Times are in seconds from the return of the server."""

    left: int  # messages that were left to send at the return
    pace: float  # messages a second before the outage
    first_send_s: float
    worst_stall_s: float
    completed_s: float
    unknown_at_most: int
    unknown: int
    missing: int
    twice: int
    miscounted: list[int]

    @property
    def rest_s(self) -> float:
        """How long what was left takes at the pace from before the outage."""
        return self.left / self.pace


class Site:
    """An installation with one number and one campaign, and ways to its servers that can be cut."""

    def __init__(
        self, folder: Path, *, database_url: str, redis_url: str, count: int, latency_ms: int = 50, **settings: str
    ) -> None:
        self.count = count
        self._ways = {
            Server.POSTGRES: Proxy(database_url),
            Server.REDIS: Proxy(redis_url),
            Server.LIMITER: Proxy(redis_url),
        }
        self.plant = Plant(
            database_url=database_url,
            redis_url=redis_url,
            folder=folder,
            **{"VERIFY_INTERVAL_S": str(VERIFY_INTERVAL_S), "CAMPAIGN_MESSAGES_WORKERS": "2", **settings},
        )
        self.plant.env.update(
            DATABASE_URL=self._ways[Server.POSTGRES].url,
            REDIS_URL=self._ways[Server.REDIS].url,
            RATELIMIT_REDIS_URL=self._ways[Server.LIMITER].url,
        )
        self._simulator = (*SIMULATOR, f"--latency-ms={latency_ms}", f"--state-dir={folder / 'simulator'}")
        self.owner = (0, 0)
        self.campaign = 0

    def close(self) -> None:
        """End every process and every proxy."""
        self.plant.stop()
        for way in self._ways.values():
            way.close()

    def start(self) -> None:
        """Start everything and a campaign."""
        self.plant.start_simulator(*self._simulator)
        self.plant.start_web()
        self.owner = self.plant.create_company(campaign_rate_limit="6000000/minute")
        account = self.plant.create_account(self.owner[0], "111", rate_limit="600000/minute", max_in_flight=IN_FLIGHT)
        self.campaign = self.plant.create_campaign(self.owner, accounts=[account], first=0, count=self.count)
        self.plant.start_engine()

    def until_accepted(self, count: int) -> None:
        """Wait until the provider has accepted `count` messages."""
        self.plant.until(lambda: self.plant.accepted() >= count, f"{count} messages are accepted")

    def cut(self, server: Server, manner: Manner) -> None:
        """Cut a server off."""
        if server is not Server.PROVIDER:
            way = self._ways[server]
            way.refuse() if manner is Manner.REFUSED else way.freeze()
        elif manner is Manner.REFUSED:
            self.plant.end("simulator", within_s=5)
        else:
            self.plant.freeze("simulator")

    def restore(self, server: Server, manner: Manner) -> None:
        """End what `cut` began."""
        if server is not Server.PROVIDER:
            self._ways[server].restore()
        elif manner is Manner.REFUSED:
            self.plant.start_simulator(*self._simulator)
        else:
            self.plant.thaw("simulator")

    def counts(self) -> dict[str, int]:
        """Return how many messages are in which state."""
        found: dict[str, int] = self.plant.progress(self.owner, self.campaign).counts
        return found

    def until_delivered(self, count: int) -> None:
        """Wait until the webhooks have told of `count` deliveries."""
        self.plant.until(
            lambda: self.plant.progress(self.owner, self.campaign).funnel.delivered == count,
            f"{count} messages are delivered",
        )

    def suffer(self, server: Server, manner: Manner, *, for_s: float, until_s: float) -> Verdict:
        """Cut a server off for a time, and wait until the campaign has completed and every row is known."""
        cut_at = time.time()
        self.cut(server, manner)
        try:
            time.sleep(for_s)
        finally:
            self.restore(server, manner)
        return self.judge(cut_at=cut_at, returned_at=time.time(), until_s=until_s)

    def judge(self, *, cut_at: float, returned_at: float, until_s: float) -> Verdict:
        """Wait until the campaign has completed and all that arrived is known, and look at everything.

        Gives up waiting `until_s` seconds after the return: what is wrong then is in the verdict.
        """
        unknown_at_most, completed_at = 0, 0.0
        while time.time() < returned_at + until_s:
            shown = self.plant.progress(self.owner, self.campaign)
            unknown_at_most = max(unknown_at_most, shown.counts["unknown"])
            if not completed_at and shown.status == "completed":
                completed_at = time.time()
            if completed_at and shown.counts["unknown"] == self.count - self.plant.accepted():
                break  # No webhook will tell of these: they never arrived.
            time.sleep(0.1)
        shown = self.plant.progress(self.owner, self.campaign)
        sent_at = sorted(entry["received_at"] for entry in self.plant.ledger())
        before = [at for at in sent_at if at < cut_at]
        after = [at for at in sent_at if at > returned_at]
        received = self.plant.messages_per_recipient()
        stalls = [later - earlier for earlier, later in zip([returned_at, *after], after, strict=False)]
        return Verdict(
            left=len(after),
            pace=len(before) / (cut_at - before[0]),
            first_send_s=round(stalls[0], 2) if stalls else 0.0,
            worst_stall_s=round(max(stalls, default=0.0), 2),
            completed_s=round(completed_at - returned_at, 2) if completed_at else float("inf"),
            unknown_at_most=unknown_at_most,
            unknown=shown.counts["unknown"],
            missing=self.count - len(received),
            twice=sum(1 for times in received.values() if times > 1),
            miscounted=self.plant.miscounted(),
        )


@contextmanager
def running_site(
    folder: Path, *, database_url: str, redis_url: str, count: int, latency_ms: int = 50, **settings: str
) -> Iterator[Site]:
    """Return a site whose campaign has begun; nothing is left of it afterwards."""
    site = Site(folder, database_url=database_url, redis_url=redis_url, count=count, latency_ms=latency_ms, **settings)
    try:
        site.start()
        yield site
    finally:
        site.close()
