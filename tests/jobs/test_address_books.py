"""Jobs that ask the phone of an account about people, against the simulator."""

import pytest
import redis as redis_package
from rq.job import Job
from sqlalchemy import select

from campaign_engine.db import transaction
from campaign_engine.models import Account, Company, Contact, Notification
from campaign_engine.providers.address_book import AddressBookFault
from campaign_engine.services.people import contact_sync as service
from campaign_engine.services.people import contacts
from jobs import address_books, enqueueing, queues
from jobs.runtime import Runtime
from tests import factories
from tests.campaign_engine import conftest
from tests.simulator.running import APIKEY, INSTANCE, Simulator

running_simulator, simulator = conftest.running_simulator, conftest.simulator


@pytest.fixture
def account(current: Runtime, simulator: Simulator) -> Account:
    with transaction() as session:
        return factories.account(
            session,
            factories.company(session),
            provider="evolution",
            phone_number_id=None,
            instance=INSTANCE,
            base_url=simulator.url,
            access_token=APIKEY,
        )


def list_of(account: Account, name: str = "People") -> int:
    with transaction() as session:
        return contacts.ensure_list(session, company_id=account.company_id, name=name).id


def told() -> list[str]:
    with transaction() as session:
        return list(session.scalars(select(Notification.kind).order_by(Notification.id)))


def test_an_address_book_is_read_onto_a_list_and_the_company_is_told(
    account: Account, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PEOPLE_A_TRANSACTION", 2)
    simulator.register_instance(
        contacts=[{"number": f"+55119876500{at:02d}", "name": f"Person {at}"} for at in range(5)]
    )
    people = list_of(account)
    address_books.sync_account(account.id, people)
    address_books.sync_account(account.id, people)
    with transaction() as session:
        found = contacts.of_company(session, account.company_id, list_id=people)
        assert [contact.name for contact in found] == [f"Person {at}" for at in range(5)]
        first = session.scalars(select(Notification).order_by(Notification.id)).first()
        assert first is not None and "5 people" in first.text and "5 of them new" in first.text
    assert told() == ["contacts_synced"] * 2


def test_numbers_are_checked_in_pieces_that_make_room_for_others(
    account: Account, current: Runtime, redis_client: redis_package.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address_books, "NUMBERS_A_CALL", 2)
    people, absent = list_of(account), list_of(account, service.NOT_ON_WHATSAPP)
    phones = ["+5531987654321", "+5511977131026", "+5511987650001", "+5511977131026"]
    with transaction() as session:
        company = session.get_one(Company, account.company_id)
        made = [factories.contact(session, company, phone=phone).id for phone in phones]
        contacts.add_to_list(session, contacts.get_list(session, company.id, people), made)

    monkeypatch.setattr(address_books, "CHECK_BUDGET_S", 0.0)
    address_books.check_numbers(account.id, people, absent)
    (waiting,) = queues.queue(queues.CONTACT_SYNC, redis_client).jobs
    assert waiting.args == (account.id, people, absent, 0)
    assert told() == []

    monkeypatch.setattr(address_books, "CHECK_BUDGET_S", 20.0)
    address_books.check_numbers(*waiting.args)
    with transaction() as session:
        missing = contacts.of_company(session, account.company_id, list_id=absent)
        assert [contact.phone for contact in missing] == ["+5511977131026"]
        assert session.get_one(Contact, made[0]).wa_id == "553187654321"
    assert told() == ["numbers_checked"]
    assert current.stopping.is_set() is False


def test_a_closed_session_is_told_and_a_server_that_is_away_is_asked_again(
    account: Account,
    simulator: Simulator,
    redis_client: redis_package.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people = list_of(account)
    simulator.register_instance(apikey="another")
    address_books.sync_account(account.id, people)
    assert told() == ["contact_sync_failed"]
    simulator.register_instance()

    with transaction() as session:
        session.get_one(Account, account.id).base_url = "http://127.0.0.1:9"
    enqueueing.enqueue_contact_sync(redis_client, account.id, people)
    job: Job = queues.queue(queues.CONTACT_SYNC, redis_client).jobs[0]
    monkeypatch.setattr(address_books, "get_current_job", lambda: job)
    assert job.retries_left == 2
    with pytest.raises(AddressBookFault):
        address_books.sync_account(*job.args)
    assert told() == ["contact_sync_failed"]
    job.retries_left = 0
    address_books.sync_account(*job.args)
    assert told() == ["contact_sync_failed"] * 2
