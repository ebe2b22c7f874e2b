"""Lanes with running campaigns against a running simulator, for tests that run turns in their own process."""

from typing import Any

import requests
from sqlalchemy import text

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from tests import factories
from tests.campaign_engine import numbered
from tests.simulator.running import Simulator


def received(simulator: Simulator) -> list[dict[str, Any]]:
    """Return what the provider has accepted, in order."""
    page = requests.get(f"{simulator.url}/simulator/ledger", params={"limit": 1000}, timeout=60).json()
    messages: list[dict[str, Any]] = page["messages"]
    return messages


def lane(simulator: Simulator, *, count: int = 5, campaigns: int = 1, **columns: Any) -> tuple[int, list[int]]:
    """Make an account with running campaigns; return its id and theirs."""
    with transaction() as session:
        owner = factories.user(session, factories.company(session))
        owner.company.settings = {"campaign_rate_limit": "60000/minute"}
        fields = {"rate_limit": "60000/minute", "burst": 500, **columns}
        number = numbered.account(
            session, owner.company, phone_number_id="111", base_url=simulator.url, access_token="token", **fields
        )
        made = [
            numbered.running(session, owner, accounts=[number], count=count, first=at * 1000, now=utc_now())
            for at in range(campaigns)
        ]
        return number.id, [each.id for each in made]


def states() -> dict[str, int]:
    """Return how many messages are in each state."""
    with transaction() as session:
        rows = session.execute(text("SELECT status, count(*) AS n FROM messages GROUP BY status"))
        return {row.status: row.n for row in rows}
