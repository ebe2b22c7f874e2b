"""Contacts and the lists they are on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from campaign_engine.db import affected, arrays
from campaign_engine.errors import AlreadyExists, InvalidInput, NotFound, TransitionNotAllowed
from campaign_engine.models import Contact, ContactList, ListMember
from campaign_engine.rules.phone import InvalidPhone, parse_phone
from campaign_engine.rules.texts.content import named_variables

MAX_LIST_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class NewContact:
    """A contact to write, its number already understood."""

    phone: str
    phone_key: str
    name: str | None
    variables: Mapping[str, str]
    tags: Sequence[str]


@dataclass(frozen=True, slots=True)
class Written:
    """What `upsert_many` did: contact ids by equivalence key, and which of them are new."""

    ids: Mapping[str, int]
    created_count: int


# On a repeat the new values win; where the new row has none, the old one stays. Nothing here touches an opt-out.
_UPSERT = text(
    """
    INSERT INTO contacts (company_id, phone, phone_key, name, variables, tags)
    SELECT :company_id, n.phone, n.phone_key, n.name, n.variables::jsonb,
      coalesce((SELECT array_agg(value) FROM jsonb_array_elements_text(n.tags::jsonb)), '{}')
    FROM unnest(CAST(:phones AS text[]), CAST(:keys AS text[]), CAST(:names AS text[]), CAST(:variables AS text[]),
      CAST(:tags AS text[])) AS n(phone, phone_key, name, variables, tags)
    ORDER BY n.phone_key
    ON CONFLICT (company_id, phone_key) DO UPDATE SET
      name = coalesce(excluded.name, contacts.name),
      variables = contacts.variables || excluded.variables,
      tags = (SELECT coalesce(array_agg(DISTINCT tag), '{}') FROM unnest(contacts.tags || excluded.tags) AS tag)
    RETURNING id, phone_key, (xmax = 0) AS created
    """
)


def upsert_many(session: Session, *, company_id: int, contacts: Sequence[NewContact]) -> Written:
    """Write contacts in one statement; equivalence keys must be distinct within the call.

    Rows are written in the order of their keys, so that two imports at once cannot wait for each other in a ring.
    """
    if not contacts:
        return Written(ids={}, created_count=0)
    given = [
        (each.phone, each.phone_key, each.name, json.dumps(dict(each.variables)), json.dumps(list(each.tags)))
        for each in contacts
    ]
    values = arrays(("phones", "keys", "names", "variables", "tags"), given)
    rows = session.execute(_UPSERT, {**values, "company_id": company_id}).all()
    return Written(ids={row.phone_key: row.id for row in rows}, created_count=sum(1 for row in rows if row.created))


class ContactValues(TypedDict, total=False):
    """The fields of `POST /contacts` and `PATCH /contacts/{id}`; the phone as a person wrote it."""

    phone: str
    name: str | None
    variables: Mapping[str, str | None]
    tags: Sequence[str]


def create(session: Session, *, company_id: int, values: ContactValues, default_region: str) -> Contact:
    """Create a contact, or complete the one that has this number.

    Raises:
        InvalidInput: it is not a number.
    """
    phone = understood_phone(values["phone"], field="phone", default_region=default_region)
    new = NewContact(
        phone=phone[0],
        phone_key=phone[1],
        name=values.get("name"),
        variables=named_variables(values.get("variables") or {}),
        tags=values.get("tags") or [],
    )
    written = upsert_many(session, company_id=company_id, contacts=[new])
    return session.get_one(Contact, written.ids[new.phone_key], populate_existing=True)


def understood_phone(given: str, *, field: str, default_region: str) -> tuple[str, str]:
    """Return (E.164, equivalence key) of a number that a person gave.

    Raises:
        InvalidInput: it is not a number; names `field`.
    """
    try:
        phone = parse_phone(given, default_region=default_region)
    except InvalidPhone as error:
        raise InvalidInput.field(field, str(error), code="invalid_phone") from error
    return phone.e164, phone.key


def get(session: Session, company_id: int, contact_id: int) -> Contact:
    """Return a contact of the company; NotFound otherwise."""
    contact = session.get(Contact, contact_id)
    if contact is None or contact.company_id != company_id:
        raise NotFound("contact", contact_id)
    return contact


def update(session: Session, contact: Contact, *, values: ContactValues, default_region: str) -> None:
    """Change a contact.

    Raises:
        InvalidInput: it is not a number.
        AlreadyExists: another contact has the number.
    """
    if "phone" in values:
        phone, key = understood_phone(values["phone"], field="phone", default_region=default_region)
        other = session.scalars(
            select(Contact.id).where(
                Contact.company_id == contact.company_id, Contact.phone_key == key, Contact.id != contact.id
            )
        ).first()
        if other is not None:
            raise AlreadyExists("phone", f"Contact {other} has this number already.")
        contact.phone, contact.phone_key = phone, key
    if "name" in values:
        contact.name = values["name"]
    if "variables" in values:
        contact.variables = named_variables(values["variables"])
    if "tags" in values:
        contact.tags = list(values["tags"])


def of_company(
    session: Session, company_id: int, *, list_id: int | None = None, after_id: int = 0, limit: int = 100
) -> Sequence[Contact]:
    """Return the company's contacts, or those of a list, in the order of their ids, from after `after_id`."""
    query = select(Contact).where(Contact.company_id == company_id, Contact.id > after_id)
    if list_id is not None:
        query = query.join(ListMember, ListMember.contact_id == Contact.id).where(ListMember.list_id == list_id)
    return session.scalars(query.order_by(Contact.id).limit(limit)).all()


def delete_contact(session: Session, contact: Contact) -> None:
    """Delete a contact; its messages and an opt-out of the person stay."""
    session.delete(contact)
    session.flush()


def create_list(session: Session, *, company_id: int, name: str) -> ContactList:
    """Create an empty list.

    Raises:
        InvalidInput: the name is empty.
        AlreadyExists: the name is taken.
    """
    contact_list = ContactList(company_id=company_id, name=_free_name(session, company_id, name, besides=None))
    session.add(contact_list)
    session.flush()
    return contact_list


def ensure_list(session: Session, *, company_id: int, name: str) -> ContactList:
    """Return the list of that name; make it when there is none.

    Raises:
        InvalidInput: the name is empty or too long; names `list`.
    """
    name = name.strip()
    if not name or len(name) > MAX_LIST_NAME_CHARS:
        raise InvalidInput.field("list", f"A list needs a name of 1 to {MAX_LIST_NAME_CHARS} characters.")
    session.execute(upsert(ContactList).values(company_id=company_id, name=name).on_conflict_do_nothing())
    found = list_named(session, company_id, name)
    if found is None:
        raise NotFound("list", name)
    return found


def list_named(session: Session, company_id: int, name: str) -> ContactList | None:
    """Return the list of that name."""
    return session.scalars(
        select(ContactList).where(ContactList.company_id == company_id, ContactList.name == name)
    ).first()


def get_list(session: Session, company_id: int, list_id: int) -> ContactList:
    """Return a list of the company; NotFound otherwise."""
    contact_list = session.get(ContactList, list_id)
    if contact_list is None or contact_list.company_id != company_id:
        raise NotFound("list", list_id)
    return contact_list


def rename_list(session: Session, contact_list: ContactList, *, name: str) -> None:
    """Give a list another name.

    Raises:
        InvalidInput: the name is empty.
        AlreadyExists: the name is taken.
    """
    contact_list.name = _free_name(session, contact_list.company_id, name, besides=contact_list.id)
    session.flush()


def _free_name(session: Session, company_id: int, name: str, *, besides: int | None) -> str:
    """Return the name without blanks around it, which no list has but, perhaps, the one with the id `besides`."""
    name = name.strip()
    if not name:
        raise InvalidInput.field("name", "A list needs a name.")
    other = list_named(session, company_id, name)
    if other is not None and other.id != besides:
        raise AlreadyExists("name", f"There is a list called {name} already.")
    return name


def delete_list(session: Session, contact_list: ContactList) -> None:
    """Delete a list; its contacts stay.

    Raises:
        TransitionNotAllowed: a campaign that is not over sends to this list or excludes it.
    """
    in_use = session.scalar(
        text(
            "SELECT min(name) FROM campaigns WHERE company_id = :company_id"
            " AND status NOT IN ('completed', 'cancelled', 'failed')"
            " AND (audience -> 'list_ids' @> to_jsonb(CAST(:id AS bigint))"
            " OR audience -> 'exclude_list_ids' @> to_jsonb(CAST(:id AS bigint)))"
        ),
        {"company_id": contact_list.company_id, "id": contact_list.id},
    )
    if in_use is not None:
        raise TransitionNotAllowed(
            kind="list", verb="be deleted", status=f"part of the campaign “{in_use}”", code="list_in_use"
        )
    session.delete(contact_list)
    session.flush()


def lists_of(session: Session, company_id: int, *, after_id: int = 0, limit: int = 100) -> Sequence[ContactList]:
    """Return the company's lists in the order of their ids, from after `after_id`."""
    return session.scalars(
        select(ContactList)
        .where(ContactList.company_id == company_id, ContactList.id > after_id)
        .order_by(ContactList.id)
        .limit(limit)
    ).all()


def member_counts(session: Session, list_ids: Sequence[int]) -> dict[int, int]:
    """Return how many contacts each list has, in one statement."""
    rows = session.execute(
        text(
            "SELECT list_id, count(*) AS members FROM contact_list_members"
            " WHERE list_id = ANY(CAST(:ids AS bigint[])) GROUP BY list_id"
        ),
        {"ids": list(list_ids)},
    )
    return {row.list_id: row.members for row in rows}


def add_to_list(session: Session, contact_list: ContactList, contact_ids: Sequence[int]) -> int:
    """Put contacts of the same company on the list; return how many were not on it before."""
    result = session.execute(
        text(
            "INSERT INTO contact_list_members (list_id, contact_id)"
            " SELECT :list_id, c.id FROM contacts c WHERE c.company_id = :company_id"
            " AND c.id = ANY(CAST(:ids AS bigint[]))"
            " ORDER BY c.id ON CONFLICT DO NOTHING"
        ),
        {"list_id": contact_list.id, "company_id": contact_list.company_id, "ids": list(contact_ids)},
    )
    return affected(result)


def remove_from_list(session: Session, contact_list: ContactList, contact_ids: Sequence[int]) -> int:
    """Take contacts off the list; return how many were on it."""
    result = session.execute(
        delete(ListMember).where(ListMember.list_id == contact_list.id, ListMember.contact_id.in_(list(contact_ids)))
    )
    return affected(result)


def remember_aliases(session: Session, aliases: Mapping[int, str]) -> None:
    """Store how the provider spells contacts (`wa_id` by contact id), where that differs from what is stored."""
    if aliases:
        session.execute(
            text(
                "UPDATE contacts c SET wa_id = a.wa_id FROM unnest(CAST(:ids AS bigint[]), CAST(:wa_ids AS text[]))"
                " AS a(id, wa_id)"
                " WHERE c.id = a.id AND c.wa_id IS DISTINCT FROM a.wa_id"
            ),
            arrays(("ids", "wa_ids"), sorted(aliases.items())),
        )
