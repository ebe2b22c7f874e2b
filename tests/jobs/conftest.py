"""The pipeline's parts on a real Redis, and where needed a real database."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_package
import requests
from flask import Flask

from campaign_engine.config import Config
from campaign_engine.db import db
from jobs import runtime
from jobs.lane.worker import LaneWorker
from jobs.runtime import Runtime
from tests import factories, outgoing
from tests.simulator.running import Simulator


@pytest.fixture(autouse=True)
def no_request_inside_a_transaction() -> Iterator[None]:
    """Whatever a test does, no transaction is open on a thread that asks a provider."""
    with outgoing.watched() as seen:
        yield
    assert seen == []


@pytest.fixture
def current(
    database_url: str,
    redis_url: str,
    redis_client: redis_package.Redis,
    tmp_path: Path,
    core_of: Callable[[Config], Flask],
) -> Iterator[Runtime]:
    """The runtime of a worker process, inside its application context."""
    addresses = {"database_url": database_url, "redis_url": redis_url}
    built = runtime.build(factories.config(**addresses, VAR_DIR=str(tmp_path)))
    built.app = core_of(factories.config(**addresses))
    with built.app.app_context():
        yield built
        db.session.remove()
    built.kept(LaneWorker).leave_journal()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """A provider that answers in 5 ms and refuses nothing."""
    running = Simulator("--latency-ms", "5", "--failure-share", "0", "--throughput-per-s", "0")
    yield running
    running.stop()


@pytest.fixture
def ledger(simulator: Simulator) -> Simulator:
    """The simulator with an empty ledger and its number."""
    requests.post(f"{simulator.url}/simulator/reset", json={}, timeout=60).raise_for_status()
    simulator.behave(refuse_next=0)
    requests.post(
        f"{simulator.url}/simulator/numbers",
        json={"phone_number_id": "111", "access_token": "token", "app_secret": "s", "webhook_url": None},
        timeout=60,
    ).raise_for_status()
    return simulator
