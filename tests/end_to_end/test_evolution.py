"""A campaign over the session of a phone: Evolution API from the first message to the last webhook."""

from collections.abc import Callable
from typing import Any

import requests
from sqlalchemy import text

from campaign_engine import providers
from campaign_engine.clock import utc_now
from campaign_engine.core import engine
from campaign_engine.db import transaction
from campaign_engine.services import accounts
from tests.end_to_end.plant import Plant

INSTANCE, APIKEY = "shop", "the-apikey-of-the-shop"


def tell(plant: Plant, method: str, path: str, body: dict[str, Any]) -> None:
    requests.request(method, f"{plant.simulator_url}/simulator/{path}", json=body, timeout=5).raise_for_status()


def create_account(plant: Plant, company_id: int, *, update_shape: str) -> int:
    """Make an account of an instance whose webhooks come to the account's own address; return its id."""
    tell(plant, "POST", "instances", {"instance": INSTANCE, "apikey": APIKEY, "update_shape": update_shape})
    with plant.inside(), transaction() as session:
        account = accounts.create(
            session,
            company_id=company_id,
            values={
                "provider": "evolution",
                "name": "Shop",
                "base_url": plant.simulator_url,
                "instance": INSTANCE,
                "access_token": APIKEY,
                "rate_limit": "6000/minute",
                "message_interval_s": 0,
                "longer_interval_after": 0,
            },
            vault=engine().vault,
            providers=providers.build(plant.config),
            config=plant.config,
            now=utc_now(),
        )
        address = f"http://127.0.0.1:{plant.web_port}/webhooks/evolution/{account.webhook_key}"
        account_id = account.id
    tell(plant, "POST", "instances", {"instance": INSTANCE, "webhook_url": address})
    return account_id


def count_of(plant: Plant, query: str) -> int:
    with plant.inside(), transaction() as session:
        found: int = session.execute(text(query)).scalar_one()
        return found


def test_a_campaign_goes_out_one_by_one_and_a_lost_answer_stays_unknown(make_plant: Callable[..., Plant]) -> None:
    plant = make_plant(VERIFY_INTERVAL_S="1")
    plant.start_simulator(
        *("--latency-ms", "40", "--failure-share", "0", "--read-share", "0.5", "--seed", "7"),
        # The first statuses are there before the answer is.
        *("--sent-delay-ms", "0", "--delivered-delay-ms", "0-100", "--read-delay-ms", "0-100"),
        *("--webhook-batch-ms", "0", "--duplicate-webhook-share", "0.3", "--reorder-webhook-share", "0.3"),
    )
    plant.start_web()
    owner = plant.create_company(campaign_rate_limit="60000/minute")
    account = create_account(plant, owner[0], update_shape="list")
    tell(plant, "PATCH", "behaviour", {"lost_answer_next": 1})
    campaign = plant.create_campaign(owner, accounts=[account], first=0, count=30)
    plant.start_engine()

    def counts() -> dict[str, int]:
        found: dict[str, int] = plant.progress(owner, campaign)["counts"]
        return found

    plant.until(
        lambda: counts()["delivered"] + counts()["read"] == 29 and counts()["unknown"] == 1,
        "all but the message whose answer was lost are delivered",
    )
    ledger = plant.ledger()
    assert sorted(plant.messages_per_recipient().values()) == [1] * 30
    plant.until(
        lambda: counts()["read"] == sum(each["fate"] == "read" and not each["answer_lost"] for each in ledger),
        "those that were read are known to be",
    )
    # The lost one has been delivered too, and its webhooks came: nothing in them says whose they are.
    (lost,) = [entry for entry in plant.ledger() if entry["answer_lost"]]
    assert lost["statuses"][-1]["webhook_acknowledged_at"] is not None
    assert counts()["unknown"] == 1
    # People answer, and the phone is switched off.
    tell(plant, "POST", "inbound", {"phone_number_id": INSTANCE, "from": "+5511990000000", "text": "SAIR"})
    plant.until(lambda: count_of(plant, "SELECT count(*) FROM opt_outs") == 1, "who asked to be left alone is")
    tell(plant, "POST", "instances", {"instance": INSTANCE, "state": "close"})
    told = "SELECT count(*) FROM notifications WHERE kind = 'connection_lost'"
    plant.until(lambda: count_of(plant, told) == 1, "the company is told")
    summary = requests.get(f"{plant.simulator_url}/simulator/summary", timeout=5).json()
    assert summary["by_number"][INSTANCE]["most_sends_at_once"] == 1
    assert (summary["webhooks"]["attempts_refused"], plant.miscounted()) == (0, [])
