"""A whole installation in processes of its own, for tests that kill parts of it.

The judge is the simulator's ledger, over HTTP. Everything is started by its command and ended by its process id.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import requests
from cryptography.fernet import Fernet
from flask import Flask

from campaign_engine import providers, redis_clients
from campaign_engine.clock import utc_now
from campaign_engine.config import Config, load
from campaign_engine.core import create_core, engine
from campaign_engine.db import db, transaction
from campaign_engine.models import Account
from campaign_engine.services.accounts import accounts
from campaign_engine.services.accounts.account_values import AccountValues
from campaign_engine.services.campaigns import drafts, lifecycle, reading
from campaign_engine.services.company import users
from campaign_engine.services.outlook import progress
from campaign_engine.services.outlook.progress import Progress
from campaign_engine.services.people import contacts
from campaign_engine.services.people.contacts import NewContact
from jobs import enqueueing


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Plant:
    """Processes and helpers around one database, one Redis and one simulator."""

    def __init__(self, *, database_url: str, redis_url: str, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.web_port = free_port()
        self.simulator_url = f"http://127.0.0.1:{free_port()}"
        self.env = {
            **os.environ,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "ENCRYPTION_KEY": Fernet.generate_key().decode(),
            "SECRET_KEY": "a secret of this test only",
            "VAR_DIR": str(folder / "var"),
            "WEB_PORT": str(self.web_port),
            "LOG_FORMAT": "text",
            "CAMPAIGN_NOTIFICATIONS_WORKERS": "0",
            "MESSAGE_RETRY_WORKERS": "1",
            "CONTACT_SYNC_WORKERS": "0",
            "CAMPAIGN_SCHEDULER_WORKERS": "1",
            **settings,
        }
        self.config: Config = load(self.env)
        self.app: Flask = create_core(self.config)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._companies = count(1)

    # Processes

    def start(self, name: str, *arguments: str) -> None:
        """Start one of our commands in a process group of its own."""
        log = (self.folder / f"{name}.log").open("ab")
        self._processes[name] = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=self.env, stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def start_simulator(self, *options: str) -> None:
        """Start the simulator and wait until it answers."""
        port = self.simulator_url.rpartition(":")[2]
        self.start("simulator", "simulator", "--port", port, *options)
        self.until(lambda: self._answers(f"{self.simulator_url}/simulator/healthz"), "the simulator answers")

    def start_web(self) -> None:
        """Start the web and wait until it answers."""
        self.start("web", "cli", "web")
        self.until(lambda: self._answers(f"http://127.0.0.1:{self.web_port}/healthz"), "the web answers")

    def start_engine(self) -> None:
        """Start workers and scheduler."""
        self.start("workers", "cli", "workers")
        self.start("scheduler", "cli", "scheduler")

    def kill(self, name: str) -> None:
        """Kill a process and all it started with SIGKILL, as a machine that loses its power would."""
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def end(self, name: str, *, within_s: float) -> float:
        """Ask a process to end, as a deploy does; return how many seconds it took."""
        process = self._processes.pop(name)
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"{name} did not end within {within_s:g} s\n{self.log(name)[-3000:]}") from None
        return time.monotonic() - asked_at

    def freeze(self, name: str) -> None:
        """Let a process neither run nor end: its connections stay and nobody answers."""
        os.killpg(self._processes[name].pid, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let a frozen process go on."""
        os.killpg(self._processes[name].pid, signal.SIGCONT)

    def children(self, name: str) -> list[int]:
        """Return the process ids of a process's own children."""
        parent = self._processes[name].pid
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]

    def stop(self) -> None:
        """End everything: asked first, then killed."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._processes.clear()
        self.forget_connections()

    def log(self, name: str) -> str:
        """Return what a process has written so far."""
        return (self.folder / f"{name}.log").read_text()

    @staticmethod
    def _answers(url: str) -> bool:
        try:
            return requests.get(url, timeout=1).ok
        except requests.RequestException:
            return False

    def until(self, claim: Callable[[], object], what: str, *, timeout_s: float = 90) -> None:
        """Wait until a claim is true; fail with what was waited for, and the logs."""
        give_up_at = time.monotonic() + timeout_s
        while not claim():
            if time.monotonic() > give_up_at:
                logs = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self._processes)
                raise AssertionError(f"not within {timeout_s:g} s: {what}\n{logs}")
            time.sleep(0.05)

    # The provider

    def tell_simulator(self, method: str, path: str, body: dict[str, Any]) -> None:
        """Call the simulator's control API."""
        requests.request(method, f"{self.simulator_url}/simulator/{path}", json=body, timeout=60).raise_for_status()

    def renew_simulator(self, **behaviour: Any) -> None:
        """Let the simulator forget everything, and behave as it was started, but for what is said here."""
        self.tell_simulator("POST", "reset", {"numbers": True, "behaviour": True})
        if behaviour:
            self.tell_simulator("PATCH", "behaviour", behaviour)

    # The domain, through the services

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be inside the application, as a command is."""
        with self.app.app_context():
            yield
            db.session.remove()

    def forget_connections(self) -> None:
        """Close the connections to PostgreSQL that `inside` has kept; to be called after the server was killed."""
        with self.app.app_context():
            db.engine.dispose()

    def create_company(self, **settings: Any) -> tuple[int, int]:
        """Make one more company with an administrator; return their ids."""
        name = f"plant{next(self._companies)}"
        with self.inside(), transaction() as session:
            company = users.create_company(session, name.title(), timezone="UTC")
            company.settings = settings
            user = users.create(
                session, company=company, email=f"{name}@example.com", password="a long password", role="admin"
            )
            return company.id, user.id

    def create_account(self, company_id: int, number: str, **values: Any) -> int:
        """Register a number at the simulator and make the account for it; return its id."""
        self.tell_simulator(
            "POST",
            "numbers",
            {
                "phone_number_id": number,
                "access_token": f"token-{number}",
                "app_secret": f"secret-{number}",
                "webhook_url": f"http://127.0.0.1:{self.web_port}/webhooks/cloud",
            },
        )
        fields: Any = {
            "provider": "cloud_api",
            "name": f"number {number}",
            "base_url": self.simulator_url,
            "phone_number_id": number,
            "access_token": f"token-{number}",
            "app_secret": f"secret-{number}",
            "message_interval_s": 0,
            "longer_interval_after": 0,
            **values,
        }
        return self.add_account(company_id, fields).id

    def add_account(self, company_id: int, values: AccountValues) -> Account:
        """Make an account, as every face does: the provider is asked before the transaction."""
        with self.inside():
            vault = engine().vault
            built = providers.build(self.config)
            proposal = accounts.propose(values, vault=vault, providers=built)
            with transaction() as session:
                return accounts.create(session, proposal, company_id=company_id, vault=vault, now=utc_now())

    def create_campaign(
        self, owner: tuple[int, int], *, accounts: list[int], first: int, count: int, start: bool = True
    ) -> int:
        """Make a campaign to `count` people of its own, numbered from `first`, and start it; return its id."""
        company_id, user_id = owner
        with self.inside(), transaction() as session:
            contact_list = contacts.create_list(session, company_id=company_id, name=f"list from {first}")
            written = contacts.upsert_many(
                session,
                company_id=company_id,
                contacts=[
                    NewContact(
                        phone=f"+55119{90000000 + at}",
                        phone_key=f"5511{90000000 + at}",
                        name=f"Person {at}",
                        variables={},
                        tags=[],
                    )
                    for at in range(first, first + count)
                ],
            )
            contacts.add_to_list(session, contact_list, list(written.ids.values()))
            campaign = drafts.create(
                session,
                company_id=company_id,
                owner_id=user_id,
                values={
                    "name": f"from {first}",
                    "account_ids": accounts,
                    "audience": {"list_ids": [contact_list.id]},
                    "content": {"type": "text", "text": "Hello {{name}}"},
                    "pacing": {"message_delay_s": 0},
                },
                default_region="BR",
                default_timezone="UTC",
                now=utc_now(),
            )
            campaign_id = campaign.id
        if start:
            self.start_campaigns(owner, campaign_id)
        return campaign_id

    def start_campaigns(self, owner: tuple[int, int], *campaign_ids: int) -> None:
        """Start campaigns at the same moment."""
        connection = redis_clients.for_requests(self.config)
        with self.inside(), transaction(give=partial(enqueueing.give, connection)) as session:
            for campaign_id in campaign_ids:
                lifecycle.start(session, reading.get(session, owner[0], campaign_id), now=utc_now())

    def progress(self, owner: tuple[int, int], campaign_id: int) -> Progress:
        """Return a campaign's progress."""
        with self.inside(), transaction() as session:
            campaign = reading.get(session, owner[0], campaign_id)
            return progress.read(session, [campaign], config=self.config, now=utc_now())[0]

    def miscounted(self) -> list[int]:
        """Return the campaigns whose counters a recount contradicts."""
        with self.inside(), transaction() as session:
            return progress.miscounted(session)

    # The judge

    def ledger(self) -> list[dict[str, Any]]:
        """Return every message the simulator accepted, in the order of arrival."""
        entries: list[dict[str, Any]] = []
        while True:
            since = entries[-1]["seq"] if entries else 0
            page = requests.get(
                f"{self.simulator_url}/simulator/ledger", params={"since": since, "limit": 1000}, timeout=60
            ).json()["messages"]
            if not page:
                return entries
            entries += page

    def accepted(self) -> int:
        """Return how many messages the simulator has accepted."""
        summary = requests.get(f"{self.simulator_url}/simulator/summary", timeout=60).json()
        count: int = summary["accepted"]
        return count

    def messages_per_recipient(self) -> Counter[str]:
        """Return how many messages each number got."""
        return Counter(entry["to"] for entry in self.ledger())
