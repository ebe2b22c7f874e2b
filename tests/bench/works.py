"""A whole installation for a benchmark: each kind of process apart, so that one sees what each costs.

It is the plant of the end-to-end tests with larger audiences, written set-based, and with a meter on every part.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import psutil
import requests
from sqlalchemy import text

from campaign_engine import redis_clients
from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.rules.hours.working_hours import WEEKDAYS
from campaign_engine.services.campaigns import drafts, lifecycle
from campaign_engine.services.company import users
from jobs import enqueueing
from tests.bench import statements
from tests.bench.servers import Servers, private_servers
from tests.end_to_end.plant import Plant

WIDE = "6000000/minute"
"""A limit that is charged for every message and never binds."""

SENDERS = "senders"
OTHERS = "other workers"
ELSEWHERE = "elsewhere"

UNOBSTRUCTED = ("--throughput-per-s", "0", "--pair-interval-s", "0", "--failure-share", "0")
"""Options of a simulator that refuses nothing."""

_AUDIENCE = text(
    """
    WITH written AS (
      INSERT INTO contacts (company_id, phone, phone_key, name)
      SELECT :company_id, '+55119' || (90000000 + n), '5511' || (90000000 + n), 'Person ' || n
      FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n
      RETURNING id
    )
    INSERT INTO contact_list_members (list_id, contact_id) SELECT :list_id, id FROM written
    """
)


@dataclass(frozen=True, slots=True)
class Moment:
    """Readings taken at one time: CPU seconds by part, messages accepted by the simulator, statuses in the rows."""

    at: float
    cpu_s: Mapping[str, float]
    machine_cpu_s: float
    accepted: int
    accepted_at: float
    applied: int
    log_position: int


class Works(Plant):
    """A plant with its parts apart and metered. Each part is started once, however often it is asked for."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            folder=servers.folder,
            RATELIMIT_REDIS_URL=servers.limits_redis_url,
            LOG_FORMAT="json",
        )
        self.servers = servers
        self._names = count(1)
        self._numbers = count(1000)

    # Processes

    def start(self, name: str, *arguments: str) -> None:
        """Start one of our commands, unless it runs."""
        if name not in self._processes:
            super().start(name, *arguments)

    def start_senders(self) -> None:
        """Start the workers that send, in a pool of their own."""
        self.start(SENDERS, "cli", "workers", "--queue", "campaign-messages")

    def start_others(self) -> None:
        """Start the workers that prepare and verify campaigns and apply webhooks, and the scheduler."""
        self.start(OTHERS, "cli", "workers", "--queue", "campaign-scheduler", "--queue", "delivery-events")
        self.start("scheduler", "cli", "scheduler")

    def parts(self) -> dict[str, psutil.Process]:
        """Return the topmost process of every part that runs."""
        pids = {name: process.pid for name, process in self._processes.items()}
        pids["PostgreSQL"] = self.servers.postgres_pid
        pids["Redis"] = self.servers.redis_pid
        pids["Redis for limits"] = self.servers.limits_redis_pid
        return {name: psutil.Process(pid) for name, pid in pids.items()}

    # The domain

    def create_company(self, **settings: Any) -> tuple[int, int]:
        """Make one more company with an administrator; return their ids."""
        name = f"works{next(self._names)}"
        with self.inside(), transaction() as session:
            company = users.create_company(session, name.title(), timezone="UTC")
            company.settings = settings
            user = users.create(
                session,
                company=company,
                email=f"{name}@example.com",
                password="a long password",
                role="admin",
            )
            return company.id, user.id

    def create_accounts(self, company_id: int, how_many: int, **values: Any) -> dict[int, str]:
        """Make accounts with numbers that nobody has; return the number of each, by the account's id."""
        numbers = [str(next(self._numbers)) for _ in range(how_many)]
        return {self.create_account(company_id, number, **values): number for number in numbers}

    def register(self, number: str, *, access_token: str) -> None:
        """Let the simulator answer for a number of nobody's, or send no webhooks for one of ours."""
        requests.post(
            f"{self.simulator_url}/simulator/numbers",
            json={"phone_number_id": number, "access_token": access_token, "webhook_url": None},
            timeout=5,
        ).raise_for_status()

    def create_audience(self, company_id: int, *, first: int, size: int) -> int:
        """Write a list of `size` people of its own, numbered from `first`; return its id."""
        with self.inside(), transaction() as session:
            list_id: int = session.execute(
                text("INSERT INTO contact_lists (company_id, name) VALUES (:company_id, :name) RETURNING id"),
                {"company_id": company_id, "name": f"people from {first}"},
            ).scalar_one()
            numbers = {"company_id": company_id, "first": first, "last": first + size - 1}
            session.execute(_AUDIENCE, {"list_id": list_id, **numbers})
        # As autovacuum does within a minute: the planner should know that the list is long.
        with self.inside(), transaction() as session:
            session.execute(text("ANALYZE contacts, contact_list_members"))
        return list_id

    def start_campaign(self, owner: tuple[int, int], *, account_ids: Sequence[int], list_id: int, **values: Any) -> int:
        """Make a campaign to a list and start it; return its id."""
        [campaign_id] = self.start_campaigns(owner, 1, account_ids=account_ids, list_id=list_id, **values)
        return campaign_id

    def start_campaigns(
        self, owner: tuple[int, int], how_many: int, *, account_ids: Sequence[int], list_id: int, **values: Any
    ) -> list[int]:
        """Make as many campaigns, all alike, and start them; return their ids."""
        company_id, user_id = owner
        connection = redis_clients.for_requests(self.config)
        started: list[int] = []
        with self.inside(), transaction(give=partial(enqueueing.give, connection)) as session:
            for at in range(how_many):
                campaign = drafts.create(
                    session,
                    company_id=company_id,
                    owner_id=user_id,
                    values={
                        "name": f"Campaign {at}",
                        "account_ids": list(account_ids),
                        "audience": {"list_ids": [list_id]},
                        "content": {"type": "text", "text": "Hello {{name}}"},
                        "pacing": {"message_delay_s": 0},
                        **values,
                    },
                    default_region="BR",
                    default_timezone="UTC",
                    now=utc_now(),
                )
                lifecycle.start(session, campaign, now=utc_now())
                started.append(campaign.id)
        return started

    def wait_until_prepared(self, campaign_ids: Sequence[int], *, timeout_s: float = 60) -> None:
        """Wait until every row of these campaigns is written."""
        self.until(
            lambda: (
                self.number(
                    "SELECT count(*) FROM campaigns WHERE id = ANY(:ids) AND prepared_at IS NULL",
                    ids=list(campaign_ids),
                )
                == 0
            ),
            "the campaigns are prepared",
            timeout_s=timeout_s,
        )

    def number(self, query: str, **parameters: Any) -> float:
        """Return the one number that a query finds; 0 for NULL."""
        with self.inside(), transaction() as session:
            return float(session.execute(text(query), parameters).scalar_one() or 0)

    # Readings

    def simulated(self) -> dict[str, Any]:
        """Return what the simulator has counted."""
        summary: dict[str, Any] = requests.get(f"{self.simulator_url}/simulator/summary", timeout=10).json()
        return summary

    def read(self) -> Moment:
        """Read every meter."""
        applied = self.number("SELECT count(sent_at) + count(delivered_at) + count(read_at) FROM messages")
        summary = self.simulated()
        return Moment(
            at=time.monotonic(),
            cpu_s={name: cpu_s(process) for name, process in self.parts().items()},
            machine_cpu_s=_machine_cpu_s(),
            accepted=summary["accepted"],
            accepted_at=summary["now"],
            applied=int(applied),
            log_position=statements.position(self.servers.postgres_log),
        )

    def statements_of(self, part: str, before: Moment, after: Moment) -> statements.Statements:
        """Count the statements that a part of the works sent to PostgreSQL between two readings."""
        postgres_port = int(self.servers.database_url.rpartition(":")[2].partition("/")[0])
        ports = {
            connection.laddr.port
            for process in _tree(self.parts()[part])
            for connection in process.net_connections("tcp")
            if connection.raddr and connection.raddr.port == postgres_port
        }
        return statements.count(
            self.servers.postgres_log, since=before.log_position, through=after.log_position, ports=ports
        )


Opening = Callable[[], AbstractContextManager[Works]]
"""Gives a benchmark the works to measure, and ends them after it."""


@contextmanager
def fresh_works() -> Iterator[Works]:
    """Have works on servers of their own, and stop everything at the end."""
    with private_servers() as servers:
        plant = Works(servers)
        try:
            yield plant
        finally:
            plant.stop()


def closed_hours() -> dict[str, Any]:
    """Return working hours that begin in three hours, whatever the time is."""
    opens = utc_now() + timedelta(hours=3)
    window = {"days": list(WEEKDAYS), "start": f"{opens:%H}:00", "end": f"{opens + timedelta(hours=1):%H}:00"}
    return {"timezone": "UTC", "windows": [window]}


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds of a process, its descendants, and those it has already buried."""
    total = 0.0
    for each in _tree(process):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _machine_cpu_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def cores(before: Moment, after: Moment) -> dict[str, float]:
    """Return how many cores each part used between two readings, and how many everything else on the machine did."""
    seconds = after.at - before.at
    used = {name: (now - before.cpu_s.get(name, now)) / seconds for name, now in after.cpu_s.items()}
    elsewhere = (after.machine_cpu_s - before.machine_cpu_s) / seconds - sum(used.values())
    return {**used, ELSEWHERE: max(0.0, elsewhere)}
