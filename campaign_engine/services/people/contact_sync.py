"""Contacts from a phone's own address book, and the check which contacts are on WhatsApp.

Only providers with an address book can be asked (`providers.address_book`). Their answers are written in chunks, one
transaction each. Opt-outs stay: an opt-out belongs to the number, and nothing here touches it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaign_engine import following
from campaign_engine.errors import InvalidInput
from campaign_engine.models import Account, Contact, ContactList, ListMember
from campaign_engine.providers.address_book import AddressBook, KnownPerson, NumberCheck
from campaign_engine.providers.base import Provider
from campaign_engine.rules.phone import InvalidPhone, parse_phone
from campaign_engine.services.people import contacts
from campaign_engine.services.people.contacts import NewContact

PEOPLE_A_TRANSACTION = 1_000
NOT_ON_WHATSAPP = "Not on WhatsApp"
"""A check of numbers puts contacts without WhatsApp on this list, so that campaigns can leave it out."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What became of the people in an address book."""

    contact_count: int = 0
    created_count: int = 0
    refused_count: int = 0  # people whose number cannot be written to

    def plus(self, other: "Synced") -> "Synced":
        """Return both together."""
        return Synced(
            self.contact_count + other.contact_count,
            self.created_count + other.created_count,
            self.refused_count + other.refused_count,
        )


def address_book_of(account: Account, providers: Mapping[str, Provider]) -> AddressBook:
    """Return the provider of an account, as the address book it is.

    Raises:
        InvalidInput: the account's provider has none.
    """
    provider = providers[account.provider]
    if not isinstance(provider, AddressBook):
        raise InvalidInput.field("account", f"{provider.traits.title} has no address book to read.")
    return provider


def sync(session: Session, account: Account, *, name: str | None, providers: Mapping[str, Provider]) -> ContactList:
    """Let the people of an account's address book be read after the commit, onto the list that is returned.

    The list is made when there is none of that name.

    Raises:
        InvalidInput: the account's provider has no address book, or the name cannot be one; names `list`.
    """
    address_book_of(account, providers)
    chosen = name or f"WhatsApp: {account.name}"[: contacts.MAX_LIST_NAME_CHARS]
    contact_list = contacts.ensure_list(session, company_id=account.company_id, name=chosen)
    following.note(session, following.SyncContacts(account.id, contact_list.id))
    return contact_list


def check(
    session: Session, account: Account, contact_list: ContactList, *, providers: Mapping[str, Provider]
) -> ContactList:
    """Let an account's phone be asked after the commit who of a list is on WhatsApp; return the list of the others.

    Raises:
        InvalidInput: the account's provider has no address book.
    """
    address_book_of(account, providers)
    absent = contacts.ensure_list(session, company_id=account.company_id, name=NOT_ON_WHATSAPP)
    following.note(session, following.CheckNumbers(account.id, contact_list.id, absent.id))
    return absent


def write_people(session: Session, contact_list: ContactList, people: Sequence[KnownPerson]) -> Synced:
    """Write people as contacts and put them on the list.

    People choose their own name on WhatsApp, so it is taken only where the contact has none. Numbers that reach the
    same person become one contact.
    """
    found: dict[str, tuple[NewContact, KnownPerson]] = {}
    refused_count = 0
    for person in people:
        try:
            phone = parse_phone(f"+{person.wa_id}", default_region=None)
        except InvalidPhone:
            refused_count += 1
            continue
        new = NewContact(phone=phone.e164, phone_key=phone.key, name=person.name, variables={}, tags=())
        found.setdefault(phone.key, (new, person))
    company_id = contact_list.company_id
    named = session.scalars(
        text(
            "SELECT phone_key FROM contacts WHERE company_id = :id AND phone_key = ANY(CAST(:keys AS text[]))"
            " AND name <> ''"
        ),
        {"id": company_id, "keys": list(found)},
    )
    keeping = set(named)
    written = contacts.upsert_many(
        session,
        company_id=company_id,
        contacts=[replace(new, name=None) if key in keeping else new for key, (new, _) in found.items()],
    )
    contacts.add_to_list(session, contact_list, list(written.ids.values()))
    contacts.remember_aliases(session, {written.ids[key]: person.wa_id for key, (_, person) in found.items()})
    return Synced(contact_count=len(written.ids), created_count=written.created_count, refused_count=refused_count)


def numbers_on(session: Session, contact_list: ContactList, *, after_id: int, limit: int) -> Sequence[tuple[int, str]]:
    """Return (contact id, E.164) of the contacts on a list, in the order of their ids, from after `after_id`."""
    rows = session.execute(
        select(Contact.id, Contact.phone)
        .join(ListMember, ListMember.contact_id == Contact.id)
        .where(ListMember.list_id == contact_list.id, Contact.id > after_id)
        .order_by(Contact.id)
        .limit(limit)
    )
    return [(row.id, row.phone) for row in rows]


def write_checks(
    session: Session, absent: ContactList, *, numbers: Sequence[tuple[int, str]], checks: Sequence[NumberCheck]
) -> int:
    """Store how WhatsApp spells the numbers it has, and put the others on the list `absent`; return how many those are.

    A contact that is on WhatsApp (again) comes off that list. A number without an answer changes nothing.
    """
    by_number = {check.number: check for check in checks}
    answered = [(contact_id, by_number[phone]) for contact_id, phone in numbers if phone in by_number]
    present = {contact_id: check for contact_id, check in answered if check.exists}
    contacts.remember_aliases(
        session, {contact_id: check.wa_id for contact_id, check in present.items() if check.wa_id is not None}
    )
    contacts.remove_from_list(session, absent, list(present))
    missing = [contact_id for contact_id, check in answered if not check.exists]
    contacts.add_to_list(session, absent, missing)
    return len(missing)
