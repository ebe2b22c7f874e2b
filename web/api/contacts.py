"""Contacts."""

from typing import Any

from campaign_engine.core import engine
from campaign_engine.services.people import contacts
from campaign_engine.services.people.contacts import ContactValues
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.schemas.contacts import ContactPageSchema, ContactQuery, ContactSchema
from web.transactions import transaction

blueprint = Blueprint("contacts", __name__, description="People with a number.")


@blueprint.route("/contacts", methods=["GET"])
@blueprint.arguments(ContactQuery, location="query", as_kwargs=True)
@blueprint.response(200, ContactPageSchema)
def list_contacts(limit: int, cursor: str | None, list_id: int | None) -> Any:
    """List the contacts, all or those on a list."""
    with transaction() as session:
        if list_id is not None:
            contacts.get_list(session, company_id(), list_id)
        (after_id,) = decode_cursor(cursor, int) or (0,)
        found = contacts.of_company(session, company_id(), list_id=list_id, after_id=after_id, limit=limit + 1)
        return page(found, limit=limit)


@blueprint.route("/contacts", methods=["POST"])
@blueprint.arguments(ContactSchema)
@blueprint.response(201, ContactSchema)
def create_contact(values: ContactValues) -> Any:
    """Create a contact, or complete the one that has this number."""
    with transaction() as session:
        return contacts.create(session, company_id=company_id(), values=values, default_region=default_region())


@blueprint.route("/contacts/<id:contact_id>", methods=["GET"])
@blueprint.response(200, ContactSchema)
def show_contact(contact_id: int) -> Any:
    """Show a contact."""
    with transaction() as session:
        return contacts.get(session, company_id(), contact_id)


@blueprint.route("/contacts/<id:contact_id>", methods=["PATCH"])
@blueprint.arguments(ContactSchema(partial=True))
@blueprint.response(200, ContactSchema)
def change_contact(values: ContactValues, contact_id: int) -> Any:
    """Change a contact; `variables` and `tags` are replaced as a whole."""
    with transaction() as session:
        contact = contacts.get(session, company_id(), contact_id)
        contacts.update(session, contact, values=values, default_region=default_region())
        return contact


@blueprint.route("/contacts/<id:contact_id>", methods=["DELETE"])
@blueprint.response(204)
def delete_contact(contact_id: int) -> None:
    """Delete a contact; its messages and an opt-out of the person stay."""
    with transaction() as session:
        contacts.delete_contact(session, contacts.get(session, company_id(), contact_id))


def default_region() -> str:
    """Return the region of numbers without a country code."""
    return engine().config.default_region
