"""Accounts of Evolution API: a session of a phone behind an address, and a secret address for its webhooks."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.orm import Session

from campaign_engine import providers
from campaign_engine.config import Config
from campaign_engine.db import transaction
from campaign_engine.errors import AlreadyExists, InvalidInput
from campaign_engine.models import Account, Company
from campaign_engine.services.accounts import accounts
from campaign_engine.services.webhooks.known_accounts import AccountsBehindTheDoor
from tests import factories
from tests.campaign_engine import cloned
from tests.simulator.running import APIKEY, INSTANCE, Simulator

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NOWHERE = "http://127.0.0.1:9"
CONFIG = Config()
PROVIDERS = providers.build(CONFIG)

database_url = cloned.database_url


def create(of: Company, base_url: str | None = NOWHERE, **values: Any) -> Account:
    fields = {
        "name": "Loja",
        "provider": "evolution",
        "base_url": base_url,
        "instance": INSTANCE,
        "access_token": APIKEY,
        **values,
    }
    proposal = accounts.propose(fields, vault=factories.VAULT, providers=PROVIDERS)
    with transaction() as session:
        return accounts.create(session, proposal, company_id=of.id, vault=factories.VAULT, now=NOW)


def update(account: Account, **values: Any) -> None:
    proposal = accounts.propose(values, account=account, vault=factories.VAULT, providers=PROVIDERS)
    with transaction() as session:
        accounts.update(session, session.merge(account), proposal, vault=factories.VAULT, now=NOW)


def test_an_account_has_one_call_in_flight_and_webhooks_of_its_own(company: Company, simulator: Simulator) -> None:
    made, other = create(company, simulator.url), create(company, name="Other", instance="other")
    assert (made.max_in_flight, made.health) == (1, {"reachable": True, "summary": "connected", "status": "open"})
    assert made.webhook_key and other.webhook_key and made.webhook_key != other.webhook_key
    assert len(made.webhook_key) >= 32
    sender = accounts.sender_of(made, vault=factories.VAULT)
    assert (sender.number, sender.base_url, sender.secret) == (INSTANCE, simulator.url, APIKEY)


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"base_url": None}, ["base_url"]),
        ({"instance": None}, ["instance"]),
        ({"instance": "  "}, ["instance"]),
        ({"access_token": ""}, ["access_token"]),
        ({"max_in_flight": 2}, ["max_in_flight"]),
        ({"phone_number_id": "123"}, ["phone_number_id"]),
        ({"app_secret": "x", "verify_token": "y"}, ["app_secret", "verify_token"]),
    ],
)
def test_what_cannot_be_an_account_is_named(
    session: Session, company: Company, values: dict[str, Any], fields: list[str]
) -> None:
    before = cloned.row_counts(session)
    with pytest.raises(InvalidInput) as refusal:
        create(company, **values)
    assert sorted(refusal.value.errors) == fields
    assert cloned.row_counts(session) == before


@pytest.mark.parametrize(
    ("values", "field"), [({"access_token": "another"}, "access_token"), ({"instance": "nobody"}, "instance")]
)
def test_what_evolution_refuses_is_named(
    company: Company, simulator: Simulator, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        create(company, simulator.url, **values)
    assert list(refusal.value.errors) == [field]
    made = create(company, simulator.url)
    with pytest.raises(InvalidInput) as refusal:
        update(made, **values)
    assert list(refusal.value.errors) == [field]


def test_an_instance_belongs_to_one_account_of_a_company(company: Company) -> None:
    create(company)
    elsewhere = create(company, "http://127.0.0.1:8/", name="Another server")
    for attempt in (
        lambda: create(company, f"{NOWHERE}/", name="The same again"),
        lambda: update(elsewhere, base_url=NOWHERE),
    ):
        with pytest.raises(AlreadyExists) as refusal:
            attempt()
        assert list(refusal.value.errors) == ["instance"]
    update(elsewhere, instance=INSTANCE, base_url="http://127.0.0.1:8")


def test_one_call_in_flight_stays_one(company: Company) -> None:
    made = create(company)
    with pytest.raises(InvalidInput):
        update(made, max_in_flight=2)
    update(made, max_in_flight=None)
    with transaction() as session:
        assert session.get_one(Account, made.id, populate_existing=True).max_in_flight == 1


def known(session: Session, provider: str = "evolution") -> AccountsBehindTheDoor:
    return AccountsBehindTheDoor(session, PROVIDERS[provider].traits, factories.VAULT)


def test_a_webhook_key_is_known_as_a_whole_and_only_while_its_account_is(company: Company) -> None:
    made = create(company)
    key = made.webhook_key or ""
    with transaction() as session:
        assert known(session).with_key(key) == [made.id]
        assert known(session, "cloud_api").with_key(key) == []
        for wrong in (key[:8], key[:-1], key[:-1] + "é", key + "x", key.swapcase(), "", "\0" + key, "%", key[:7] + "_"):
            assert known(session).with_key(wrong) == []
        accounts.delete(session, session.get_one(Account, made.id))
    with transaction() as session:
        assert known(session).with_key(key) == []
