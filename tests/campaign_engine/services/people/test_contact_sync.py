"""People of a phone's address book become contacts, and a check of numbers says who is on WhatsApp."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaign_engine import providers
from campaign_engine.config import Config
from campaign_engine.errors import InvalidInput
from campaign_engine.models import Company, Contact, ContactList, OptOut
from campaign_engine.providers.address_book import KnownPerson, NumberCheck
from campaign_engine.services.people import contact_sync, contacts
from tests import factories
from tests.campaign_engine import cloned

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PROVIDERS = providers.build(Config())

database_url = cloned.database_url


@pytest.fixture
def people_list(session: Session, company: Company) -> ContactList:
    return factories.contact_list(session, company)


def members(session: Session, of: ContactList) -> list[tuple[str, str | None, str | None]]:
    return [
        (contact.phone, contact.name, contact.wa_id)
        for contact in contacts.of_company(session, of.company_id, list_id=of.id)
    ]


def test_people_become_contacts_on_the_list_and_a_second_time_changes_nothing(
    session: Session, people_list: ContactList
) -> None:
    people = [KnownPerson("5511987650001", "Ana"), KnownPerson("553187654321", None), KnownPerson("12", "Nobody")]
    first = contact_sync.write_people(session, people_list, people)
    again = contact_sync.write_people(session, people_list, people)
    assert (first.contact_count, first.created_count, first.refused_count) == (2, 2, 1)
    assert (again.contact_count, again.created_count) == (2, 0)
    assert members(session, people_list) == [
        ("+5511987650001", "Ana", "5511987650001"),
        ("+553187654321", None, "553187654321"),
    ]
    assert first.plus(again).contact_count == 4


def test_a_name_on_whatsapp_only_fills_a_gap_and_the_number_stays_as_we_write_it(
    session: Session, company: Company, people_list: ContactList
) -> None:
    factories.contact(session, company, phone="+5531987654321", name="Conceição Lima")
    factories.contact(session, company, phone="+5511987650002", name=None)
    contact_sync.write_people(
        session, people_list, [KnownPerson("553187654321", "✨Ceça✨"), KnownPerson("5511987650002", "Bia")]
    )
    assert members(session, people_list) == [
        ("+5531987654321", "Conceição Lima", "553187654321"),
        ("+5511987650002", "Bia", "5511987650002"),
    ]


def test_two_numbers_of_one_person_are_one_contact(session: Session, people_list: ContactList) -> None:
    people = [KnownPerson("5531987654321", "Ana"), KnownPerson("553187654321", "Ana again")]
    assert contact_sync.write_people(session, people_list, people).contact_count == 1


def test_an_opt_out_outlives_the_sync(session: Session, company: Company, people_list: ContactList) -> None:
    session.add(OptOut(company_id=company.id, phone_key="553187654321", source="reply", opted_out_at=NOW))
    session.flush()
    before = session.execute(text("SELECT * FROM opt_outs")).all()
    contact_sync.write_people(session, people_list, [KnownPerson("553187654321", "Ana")])
    assert session.execute(text("SELECT * FROM opt_outs")).all() == before
    found = session.scalars(select(Contact).where(Contact.company_id == company.id)).one()
    assert found.phone_key == before[0].phone_key, "the opt-out is theirs under the spelling of WhatsApp too"


def test_who_is_not_on_whatsapp_goes_on_a_list_and_comes_off_it_again(
    session: Session, company: Company, people_list: ContactList
) -> None:
    absent = contacts.ensure_list(session, company_id=company.id, name=contact_sync.NOT_ON_WHATSAPP)
    phones = ["+5531987654321", "+5511987650003", "+5511987650004"]
    made = [factories.contact(session, company, phone=phone) for phone in phones]
    contacts.add_to_list(session, people_list, [contact.id for contact in made])
    numbers = contact_sync.numbers_on(session, people_list, after_id=0, limit=10)
    assert [number for _, number in numbers] == phones
    assert contact_sync.numbers_on(session, people_list, after_id=made[0].id, limit=1) == [(made[1].id, phones[1])]

    def write(*checks: NumberCheck) -> int:
        return contact_sync.write_checks(session, absent, numbers=numbers, checks=checks)

    assert write(NumberCheck(phones[0], True, "553187654321"), NumberCheck(phones[1], False, None)) == 1
    assert [phone for phone, _, _ in members(session, absent)] == [phones[1]]
    assert write(NumberCheck(phones[1], True, "5511987650003")) == 0
    assert members(session, absent) == []
    session.expire_all()
    assert [contact.wa_id for contact in made] == ["553187654321", "5511987650003", None]


def test_only_a_provider_with_an_address_book_is_asked(session: Session, company: Company) -> None:
    with pytest.raises(InvalidInput, match="address book"):
        contact_sync.address_book_of(factories.account(session, company), PROVIDERS)
    account = factories.account(session, company, name="Loja", provider="evolution", phone_number_id=None, instance="x")
    assert contact_sync.address_book_of(account, PROVIDERS) is PROVIDERS["evolution"]
    assert contact_sync.sync(session, account, name=None, providers=PROVIDERS).name == "WhatsApp: Loja"
    assert contact_sync.sync(session, account, name="Clients", providers=PROVIDERS).name == "Clients"
