"""Accounts: their credentials are asked about before they are kept, and never seen again."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine import providers
from campaign_engine.config import Config
from campaign_engine.db import transaction
from campaign_engine.errors import AlreadyExists, InvalidInput, NotFound
from campaign_engine.models import Account, Company
from campaign_engine.services.accounts import accounts
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.vault import SecretUnreadable, Vault
from tests import factories
from tests.campaign_engine import cloned
from tests.campaign_engine.providers.wire import answering, response, serving
from tests.simulator import running
from tests.simulator.running import Simulator

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NUMBER, TOKEN = running.PHONE_NUMBER_ID, running.TOKEN
NOWHERE = "http://127.0.0.1:9"
CONFIG = Config(cloud_api_url="https://graph.invalid")
PROVIDERS = providers.build(CONFIG)

database_url = cloned.database_url


def create(of: Company, base_url: str = NOWHERE, **values: Any) -> Account:
    """Do what every face does: ask the provider, and then open one transaction."""
    fields = {
        "name": "Loja",
        "provider": "cloud_api",
        "base_url": base_url,
        "phone_number_id": NUMBER,
        "access_token": TOKEN,
        **values,
    }
    proposal = accounts.propose(fields, vault=factories.VAULT, providers=PROVIDERS)
    with transaction() as session:
        return accounts.create(session, proposal, company_id=of.id, vault=factories.VAULT, now=NOW)


def update(account: Account, **values: Any) -> None:
    proposal = accounts.propose(values, account=account, vault=factories.VAULT, providers=PROVIDERS)
    with transaction() as session:
        accounts.update(session, account, proposal, vault=factories.VAULT, now=NOW)


def stored(session: Session, account: Account) -> dict[str, Any]:
    row = session.execute(text("SELECT * FROM accounts WHERE id = :id"), {"id": account.id}).mappings().one()
    return dict(row)


# --- Creating.


def test_an_account_is_kept_with_what_the_provider_says_of_it(
    session: Session, company: Company, simulator: Simulator
) -> None:
    made = create(company, simulator.url, rate_limit="30/minute", burst=5, message_interval_s=0)
    row = stored(session, made)
    assert (row["name"], row["provider"], row["phone_number_id"], row["status"]) == (
        "Loja",
        "cloud_api",
        NUMBER,
        "active",
    )
    assert (row["rate_limit"], row["burst"], row["max_in_flight"], row["message_interval_s"]) == ("30/minute", 5, 16, 0)
    assert (row["longer_interval_after"], row["greater_interval_s"]) == (None, None)
    assert (row["health"]["reachable"], row["health"]["summary"]) == (True, "connected")
    assert row["health"]["quality_rating"] == "GREEN"
    assert row["health_checked_at"] == NOW


def test_secrets_are_encrypted_in_the_row_and_shown_nowhere(
    session: Session, company: Company, simulator: Simulator
) -> None:
    secrets = {"access_token": TOKEN, "app_secret": "the app secret", "verify_token": "the verify token"}
    made = create(company, simulator.url, **secrets)
    row = stored(session, made)
    sender = accounts.sender_of(made, vault=factories.VAULT)
    for name, secret in secrets.items():
        assert factories.VAULT.decrypt(row[f"{name}_encrypted"]) == secret
        for shown in (row, made, vars(made), sender):
            assert secret not in repr(shown)
    assert sender.secret == TOKEN


def test_a_secret_that_was_written_with_another_key_is_said_to_be_unreadable(
    session: Session, company: Company
) -> None:
    made = create(company)
    other = Vault([factories.Fernet.generate_key().decode()])
    with pytest.raises(SecretUnreadable, match="ENCRYPTION_KEY"):
        accounts.sender_of(made, vault=other)


@pytest.mark.parametrize(
    ("values", "field"),
    [({"access_token": "another-token"}, "access_token"), ({"phone_number_id": "999999999999999"}, "phone_number_id")],
)
def test_what_the_provider_refuses_is_named_and_nothing_is_kept(
    session: Session, company: Company, simulator: Simulator, values: dict[str, str], field: str
) -> None:
    before = cloned.row_counts(session)
    with pytest.raises(InvalidInput) as refusal:
        create(company, simulator.url, **values)
    assert list(refusal.value.errors) == [field]
    assert refusal.value.errors[field][0].startswith("The provider refuses it: ")
    assert "another-token" not in str(refusal.value)
    assert cloned.row_counts(session) == before


def test_a_provider_that_cannot_be_reached_is_no_reason_to_refuse(session: Session, company: Company) -> None:
    made = create(company, NOWHERE)
    assert stored(session, made)["health"] == {
        "reachable": False,
        "summary": "The provider cannot be reached: connection refused or host unreachable",
    }


def test_a_provider_that_is_out_of_order_is_no_reason_to_refuse(session: Session, company: Company) -> None:
    with serving(answering(response(503, b"<html>"))) as server:
        made = create(company, server.url)
    assert stored(session, made)["health"]["reachable"] is True


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"provider": "telegram"}, "provider"),
        ({"provider": ""}, "provider"),
        ({"access_token": ""}, "access_token"),
        ({"phone_number_id": ""}, "phone_number_id"),
        ({"rate_limit": "many"}, "rate_limit"),
        ({"rate_limit": "0/minute"}, "rate_limit"),
        ({"rate_limit": "1/1000 days"}, "rate_limit"),
        ({"rate_limit": "20/minute", "burst": 20}, "burst"),
        ({"rate_limit": "1/minute", "burst": 2}, "burst"),
        ({"max_in_flight": 257}, "max_in_flight"),
    ],
)
def test_values_that_do_not_go_together_are_named_before_anybody_is_asked(
    session: Session, company: Company, values: dict[str, Any], field: str
) -> None:
    before = cloned.row_counts(session)
    with pytest.raises(InvalidInput) as refusal:
        create(company, **values)
    assert list(refusal.value.errors) == [field]
    assert len(refusal.value.errors[field]) == 1
    assert cloned.row_counts(session) == before


def test_all_faults_are_said_at_once(session: Session, company: Company) -> None:
    with pytest.raises(InvalidInput) as refusal:
        create(company, access_token=None, phone_number_id="", rate_limit="20/minute", burst=20, max_in_flight=257)
    assert set(refusal.value.errors) == {"access_token", "phone_number_id", "burst", "max_in_flight"}


@pytest.mark.parametrize(
    "values",
    [
        {"rate_limit": "1/minute", "burst": 1},
        {"rate_limit": "20/minute", "burst": 19},
        {"rate_limit": None, "burst": None, "max_in_flight": None},
        {"burst": 50},  # the limit is the company's, and the burst is cut to it
        {"base_url": None},
        {"base_url": "http://127.0.0.1:9/some/path/"},
        {"message_interval_s": 0, "longer_interval_after": 0, "greater_interval_s": 86400, "max_in_flight": 256},
    ],
)
def test_what_can_be_used_is_used(session: Session, company: Company, values: dict[str, Any]) -> None:
    made = create(company, **values)
    row = stored(session, made)
    assert (row["burst"], row["max_in_flight"]) == (values.get("burst") or 1, values.get("max_in_flight") or 16)


# --- Names.


def test_a_name_is_used_once_in_a_company_and_by_any_other(session: Session, company: Company) -> None:
    made = create(company)
    before = cloned.row_counts(session)
    with pytest.raises(AlreadyExists) as refusal:
        create(company)
    assert list(refusal.value.errors) == ["name"]
    assert cloned.row_counts(session) == before
    assert create(factories.company(session)).name == made.name
    with transaction() as own:
        accounts.delete(own, made)
    assert create(company).id != made.id


def test_a_number_belongs_to_one_account_for_it_would_get_its_limit_twice(session: Session, company: Company) -> None:
    create(company, name="One")
    other = create(company, name="Two", phone_number_id="2222")
    for attempt in (lambda: create(company, name="Three"), lambda: update(other, phone_number_id=NUMBER)):
        with pytest.raises(AlreadyExists) as caught:
            attempt()
        assert list(caught.value.errors) == ["phone_number_id"]
    update(other, phone_number_id="2222", name="Still two")
    assert len(accounts.of_company(session, company.id)) == 2


def test_an_account_takes_a_free_name_and_keeps_its_own(session: Session, company: Company) -> None:
    one, two = create(company, name="One"), create(company, name="Two", phone_number_id="2222")
    with pytest.raises(AlreadyExists):
        update(two, name="One")
    assert stored(session, two)["name"] == "Two"
    update(one, name="One")
    update(one, name="Three")
    update(two, name="One")
    assert [each.name for each in accounts.of_company(session, company.id)] == ["Three", "One"]


# --- Changing.


def test_a_token_is_rotated_when_the_provider_takes_the_new_one(
    session: Session, company: Company, simulator: Simulator
) -> None:
    made = create(company, simulator.url, app_secret="old secret", verify_token="word")
    before = stored(session, made)
    with pytest.raises(InvalidInput) as refusal:
        update(made, access_token="rotated-token", rate_limit="1/minute")
    assert list(refusal.value.errors) == ["access_token"]
    assert stored(session, made) == before

    simulator.register(access_token="rotated-token")
    update(made, access_token="rotated-token", app_secret="new secret", verify_token=None)
    row = stored(session, made)
    assert factories.VAULT.decrypt(row["access_token_encrypted"]) == "rotated-token"
    assert factories.VAULT.decrypt(row["app_secret_encrypted"]) == "new secret"
    assert row["verify_token_encrypted"] is None
    assert {name: row[name] for name in ("name", "phone_number_id", "base_url", "burst")} == {
        name: before[name] for name in ("name", "phone_number_id", "base_url", "burst")
    }


def test_a_number_that_the_provider_does_not_know_is_not_taken(
    session: Session, company: Company, simulator: Simulator
) -> None:
    made = create(company, simulator.url)
    before = stored(session, made)
    with pytest.raises(InvalidInput) as refusal:
        update(made, phone_number_id="999999999999999")
    assert list(refusal.value.errors) == ["phone_number_id"]
    assert stored(session, made) == before


def test_the_provider_is_asked_only_about_credentials(session: Session, company: Company) -> None:
    with serving(answering(response(200, {"id": NUMBER}))) as server:
        made = create(company, server.url)
        update(made, rate_limit="5/minute", burst=2, message_interval_s=1, name="Other", app_secret="x")
        assert len(server.requests) == 1
        update(made, access_token="another-token")
        assert len(server.requests) == 2
        assert server.requests[1].headers["authorization"] == "Bearer another-token"
        assert server.requests[1].line.startswith(f"GET /{CONFIG.cloud_api_version}/{NUMBER}?fields=")


def test_what_was_said_of_credentials_that_changed_meanwhile_is_not_kept(session: Session, company: Company) -> None:
    with serving(answering(response(200, {"id": NUMBER}))) as server:
        made = create(company, server.url)
        slow = accounts.propose({"access_token": "slow"}, account=made, vault=factories.VAULT, providers=PROVIDERS)
        update(made, base_url=NOWHERE)
    with transaction() as own:
        accounts.update(own, made, slow, vault=factories.VAULT, now=NOW)
    row = stored(session, made)
    assert (row["health"], row["health_checked_at"], row["base_url"]) == (None, None, NOWHERE)
    assert factories.VAULT.decrypt(row["access_token_encrypted"]) == "slow"


def test_an_account_that_is_deleted_while_its_provider_is_asked_does_not_change(company: Company) -> None:
    made = create(company)
    proposal = accounts.propose({"name": "Late"}, account=made, vault=factories.VAULT, providers=PROVIDERS)
    with transaction() as own:
        accounts.delete(own, made)
    with pytest.raises(NotFound), transaction() as own:
        accounts.update(own, made, proposal, vault=factories.VAULT, now=NOW)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"access_token": None}, "access_token"),
        ({"phone_number_id": None}, "phone_number_id"),
        ({"burst": 20}, "burst"),
        ({"rate_limit": "3/minute"}, "burst"),  # the burst it has would be the whole of it
        ({"rate_limit": "fast"}, "rate_limit"),
        ({"max_in_flight": 1000}, "max_in_flight"),
    ],
)
def test_a_bad_change_changes_nothing(session: Session, company: Company, values: dict[str, Any], field: str) -> None:
    made = create(company, rate_limit="20/minute", burst=5)
    before = stored(session, made)
    with pytest.raises(InvalidInput) as refusal:
        update(made, **values)
    assert list(refusal.value.errors) == [field]
    assert stored(session, made) == before


def test_null_goes_back_to_the_default(session: Session, company: Company) -> None:
    made = create(company, rate_limit="20/minute", burst=5, max_in_flight=3, message_interval_s=7)
    update(made, rate_limit=None, burst=None, max_in_flight=None, message_interval_s=None)
    row = stored(session, made)
    assert (row["rate_limit"], row["burst"], row["max_in_flight"], row["message_interval_s"]) == (None, 1, 16, None)


# --- Ending, and coming back.


def test_an_account_in_use_is_not_deleted_and_its_campaign_is_named(session: Session, company: Company) -> None:
    made = create(company)
    campaign = factories.campaign(session, factories.user(session, company), accounts=[made], name="Natal")
    session.commit()
    with pytest.raises(InvalidInput, match="Natal") as refusal, transaction() as own:
        accounts.delete(own, made)
    assert list(refusal.value.errors) == ["account"]
    assert accounts.get(session, company.id, made.id).status == "active"
    with transaction() as own:
        lifecycle.cancel(own, campaign, now=NOW)
        accounts.delete(own, made)
    with pytest.raises(NotFound):
        accounts.get(session, company.id, made.id)
    assert stored(session, made)["status"] == "deleted"  # its messages speak of it
    assert accounts.of_company(session, company.id) == []


def test_another_companys_account_does_not_exist(session: Session, company: Company) -> None:
    theirs = factories.account(session, factories.company(session))
    mine = [factories.account(session, company).id for _ in range(3)]
    for account_id in (theirs.id, 10**12):
        with pytest.raises(NotFound):
            accounts.get(session, company.id, account_id)
    assert [each.id for each in accounts.of_company(session, company.id)] == mine
    assert [each.id for each in accounts.of_company(session, company.id, after_id=mine[0], limit=1)] == mine[1:2]


@pytest.mark.parametrize(
    ("base_url", "used"),
    [
        (None, ""),
        ("", ""),
        ("http://host:8800/", "http://host:8800"),
        ("http://host/path", "http://host/path"),
    ],
)
def test_a_sender_goes_to_the_accounts_address_or_where_its_provider_is(
    session: Session, company: Company, base_url: str | None, used: str
) -> None:
    made = factories.account(session, company, base_url=base_url)
    sender = accounts.sender_of(made, vault=factories.VAULT)
    assert (sender.base_url, sender.number, sender.account_id) == (used, made.phone_number_id, made.id)
