"""Contacts by equivalence key, the lists they are on, and the people who must not be written to."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.orm import Session

from campaign_engine.errors import AlreadyExists, InvalidInput, NotFound, TransitionNotAllowed
from campaign_engine.models import Company, Contact, ListMember
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.people import contacts, opt_outs
from campaign_engine.services.people.contacts import NewContact
from tests import factories
from tests.campaign_engine import cloned, numbered

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

database_url = cloned.database_url


def make(session: Session, of: Company, **values: Any) -> Contact:
    return contacts.create(session, company_id=of.id, values=values, default_region="BR")


def new(number: int, **values: Any) -> NewContact:
    fields = {"name": None, "variables": {}, "tags": [], **values}
    return NewContact(phone=numbered.phone(number), phone_key=numbered.phone_key(number), **fields)


def said(contact: Contact) -> tuple[str | None, dict[str, str], list[str]]:
    return contact.name, contact.variables, sorted(contact.tags)


# --- One contact.


def test_a_number_is_stored_in_one_form_and_a_variable_under_one_name(session: Session, company: Company) -> None:
    made = make(
        session, company, phone="(11) 98765-4321", name="João", variables={"Código": 7, "x": None}, tags=["vip"]
    )
    assert (made.phone, made.phone_key) == ("+5511987654321", "551187654321")
    assert said(made) == ("João", {"codigo": "7"}, ["vip"])


def test_the_same_person_in_another_spelling_is_completed_and_keeps_what_is_not_said(
    session: Session, company: Company
) -> None:
    first = make(session, company, phone="+5511987654321", name="João", variables={"a": "1", "b": "2"}, tags=["vip"])
    again = make(session, company, phone="+551187654321", variables={"b": "3", "c": "4"}, tags=["novo", "vip"])
    assert again.id == first.id
    assert said(again) == ("João", {"a": "1", "b": "3", "c": "4"}, ["novo", "vip"])
    # The number that was known first stays: WhatsApp may know the person by either.
    assert again.phone == "+5511987654321"
    assert said(make(session, company, phone="+5511987654321", name="J."))[0] == "J."


def test_each_company_has_its_own_contact_of_a_person(session: Session, company: Company) -> None:
    mine = make(session, company, phone="+5511987654321", name="João")
    theirs = make(session, factories.company(session), phone="+5511987654321", name="Sr. João")
    assert mine.id != theirs.id
    assert mine.name == "João"
    with pytest.raises(NotFound):
        contacts.get(session, company.id, theirs.id)
    assert contacts.get(session, company.id, mine.id) is mine


@pytest.mark.parametrize("phone", ["", "abc", "123", "+999 123 456 789", "5,5119E+12", "(21) 90000-0402 / 90000-0403"])
def test_a_number_that_is_none_is_refused_by_its_field(session: Session, company: Company, phone: str) -> None:
    before = cloned.row_counts(session)
    known = make(session, company, phone="+5511987654321")
    for attempt in (
        lambda: make(session, company, phone=phone),
        lambda: contacts.update(session, known, values={"phone": phone}, default_region="BR"),
        lambda: opt_outs.add(session, company_id=company.id, phone=phone, source="api", default_region="BR", now=NOW),
        lambda: opt_outs.lift(session, company_id=company.id, phone=phone, default_region="BR", now=NOW),
    ):
        with pytest.raises(InvalidInput) as refusal:
            attempt()
        assert (list(refusal.value.errors), refusal.value.code) == (["phone"], "invalid_phone")
    assert cloned.row_counts(session) == {**before, "contacts": before["contacts"] + 1}


def test_a_change_replaces_what_it_names_and_nothing_else(session: Session, company: Company) -> None:
    made = make(session, company, phone="+5511987654321", name="João", variables={"a": "1"}, tags=["vip"])
    contacts.update(session, made, values={"variables": {"Nova Chave": "x"}}, default_region="BR")
    assert said(made) == ("João", {"nova_chave": "x"}, ["vip"])
    contacts.update(session, made, values={"phone": "21 99876-5432", "name": None, "tags": []}, default_region="BR")
    session.flush()
    session.expire(made)
    assert (made.phone, made.phone_key) == ("+5521998765432", "552198765432")
    assert said(made) == (None, {"nova_chave": "x"}, [])


def test_nobody_gets_the_number_of_another(session: Session, company: Company) -> None:
    other = make(session, company, phone="+5511987654321")
    made = make(session, company, phone="+5521998765432", name="Ana")
    with pytest.raises(AlreadyExists) as refusal:
        contacts.update(session, made, values={"name": "x", "phone": "+551187654321"}, default_region="BR")
    assert list(refusal.value.errors) == ["phone"]
    assert str(other.id) in str(refusal.value)
    assert (made.phone, made.name) == ("+5521998765432", "Ana")
    # One's own number in another spelling is no other's.
    contacts.update(session, made, values={"phone": "+552198765432"}, default_region="BR")


def test_a_deleted_contact_leaves_its_lists(session: Session, company: Company) -> None:
    made = factories.contact(session, company)
    contact_list = factories.contact_list(session, company)
    contacts.add_to_list(session, contact_list, [made.id])
    contacts.delete_contact(session, made)
    assert contacts.member_counts(session, [contact_list.id]) == {}


# --- Many at once.


def test_many_contacts_are_written_in_one_statement_and_counted(session: Session, company: Company) -> None:
    known = make(session, company, phone=numbered.phone(1), name="Known", variables={"a": "1"}, tags=["vip"])
    written = contacts.upsert_many(
        session,
        company_id=company.id,
        contacts=[
            new(3, name="Três", variables={"n": 'aspas " e \\'}, tags=["a,b", "ç"]),
            new(1, variables={"b": "2"}, tags=["novo"]),
            new(2),
        ],
    )
    assert written.created_count == 2
    assert set(written.ids) == {numbered.phone_key(number) for number in (1, 2, 3)}
    session.refresh(known)
    assert said(known) == ("Known", {"a": "1", "b": "2"}, ["novo", "vip"])
    third = contacts.get(session, company.id, written.ids[numbered.phone_key(3)])
    assert said(third) == ("Três", {"n": 'aspas " e \\'}, ["a,b", "ç"])
    again = contacts.upsert_many(session, company_id=company.id, contacts=[new(2), new(3)])
    assert again.created_count == 0
    assert set(again.ids.values()) < set(written.ids.values())
    assert contacts.upsert_many(session, company_id=company.id, contacts=[]).ids == {}


def test_two_writers_of_the_same_people_in_opposite_orders_do_not_wait_for_each_other_in_a_ring(
    session: Session, company: Company, other_session: Callable[[], Session]
) -> None:
    session.commit()
    barrier = threading.Barrier(2, timeout=60)
    created: list[int] = []

    def write(own: Session, people: list[NewContact]) -> None:
        for _ in range(3):
            barrier.wait()
            created.append(contacts.upsert_many(own, company_id=company.id, contacts=people).created_count)
            own.commit()

    people = [new(number) for number in range(2000)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, (other_session(), other_session()), (people, people[::-1])))
    assert len(created) == 6
    assert sum(created) == 2000


# --- Lists.


def test_a_list_is_named_once_in_a_company_and_found_by_its_name(session: Session, company: Company) -> None:
    made = contacts.create_list(session, company_id=company.id, name="  Clientes VIP ")
    assert made.name == "Clientes VIP"
    with pytest.raises(AlreadyExists):
        contacts.create_list(session, company_id=company.id, name="Clientes VIP")
    other = contacts.create_list(session, company_id=factories.company(session).id, name="Clientes VIP")
    assert contacts.ensure_list(session, company_id=company.id, name=" Clientes VIP").id == made.id
    assert contacts.ensure_list(session, company_id=company.id, name="Novos").id not in (made.id, other.id)
    assert contacts.list_named(session, company.id, "Clientes VIP") is made
    with pytest.raises(NotFound):
        contacts.get_list(session, company.id, other.id)


def test_a_list_is_renamed_to_a_free_name(session: Session, company: Company) -> None:
    one, two = (factories.contact_list(session, company, name=name) for name in ("One", "Two"))
    contacts.rename_list(session, one, name=" Three ")
    contacts.rename_list(session, one, name="Three")
    assert one.name == "Three"
    with pytest.raises(AlreadyExists):
        contacts.rename_list(session, two, name="Three")
    assert two.name == "Two"


@pytest.mark.parametrize("name", ["", "   ", "\t\n"])
def test_a_list_without_a_name_is_refused(session: Session, company: Company, name: str) -> None:
    made = factories.contact_list(session, company)
    before = cloned.row_counts(session)
    for attempt in (
        lambda: contacts.create_list(session, company_id=company.id, name=name),
        lambda: contacts.ensure_list(session, company_id=company.id, name=name),
        lambda: contacts.rename_list(session, made, name=name),
    ):
        with pytest.raises(InvalidInput):
            attempt()
    assert cloned.row_counts(session) == before


def test_only_the_companys_own_contacts_get_on_its_list(session: Session, company: Company) -> None:
    contact_list = factories.contact_list(session, company, size=2)
    mine = factories.contact(session, company)
    theirs = factories.contact(session, factories.company(session))
    assert contacts.add_to_list(session, contact_list, [mine.id, theirs.id, 10**12]) == 1
    assert contacts.add_to_list(session, contact_list, [mine.id]) == 0
    assert contacts.member_counts(session, [contact_list.id, 10**12]) == {contact_list.id: 3}
    assert contacts.remove_from_list(session, contact_list, [mine.id, theirs.id]) == 1
    assert contacts.member_counts(session, [contact_list.id]) == {contact_list.id: 2}


def test_contacts_and_lists_are_read_in_pages(session: Session, company: Company) -> None:
    contact_list = factories.contact_list(session, company, size=5)
    outside = factories.contact(session, company).id
    factories.contact_list(session, factories.company(session), size=2)
    members = [each.id for each in contacts.of_company(session, company.id, list_id=contact_list.id)]
    assert len(members) == 5
    assert [each.id for each in contacts.of_company(session, company.id)] == [*members, outside]
    page = contacts.of_company(session, company.id, list_id=contact_list.id, after_id=members[1], limit=2)
    assert [each.id for each in page] == members[2:4]
    assert [each.id for each in contacts.lists_of(session, company.id)] == [contact_list.id]
    assert list(contacts.lists_of(session, company.id, after_id=contact_list.id)) == []


@pytest.mark.parametrize("part", ["list_ids", "exclude_list_ids"])
def test_a_list_of_an_open_campaign_is_not_deleted(session: Session, company: Company, part: str) -> None:
    owner = factories.user(session, company)
    contact_list = factories.contact_list(session, company, size=1)
    other = factories.contact_list(session, company, size=1)
    audience = {"list_ids": [other.id], part: [contact_list.id]}
    campaign = factories.campaign(session, owner, audience=audience, name="Natal")
    with pytest.raises(TransitionNotAllowed, match="Natal") as refusal:
        contacts.delete_list(session, contact_list)
    assert refusal.value.code == "list_in_use"
    lifecycle.cancel(session, campaign, now=NOW)
    members = session.query(ListMember.contact_id).filter_by(list_id=contact_list.id).all()
    contacts.delete_list(session, contact_list)
    assert contacts.list_named(session, company.id, contact_list.name) is None
    assert contacts.get(session, company.id, members[0].contact_id)
