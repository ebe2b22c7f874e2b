"""Contacts, and the people who do not want to be written to."""

from typing import Any

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.models import OptOut
from campaign_engine.services import contacts
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.runtime import runtime
from web.schemas.base import PageQuery
from web.schemas.contacts import ContactPageSchema, ContactQuery, ContactSchema, OptOutPageSchema, OptOutSchema

blueprint = Blueprint("contacts", __name__, description="People with a number.")
opt_outs = Blueprint("opt-outs", __name__, description="People who must not be written to, whatever is imported.")


@blueprint.route("/contacts", methods=["GET"])
@blueprint.arguments(ContactQuery, location="query")
@blueprint.response(200, ContactPageSchema)
def list_contacts(query: dict[str, Any]) -> Any:
    """List the contacts, all or those on a list."""
    with transaction() as session:
        if query["list_id"] is not None:
            contacts.get_list(session, company_id(), query["list_id"])
        (after_id,) = decode_cursor(query["cursor"], int) or (0,)
        found = contacts.of_company(
            session, company_id(), list_id=query["list_id"], after_id=after_id, limit=query["limit"] + 1
        )
        return page(found, limit=query["limit"], position=lambda contact: [contact.id])


@blueprint.route("/contacts", methods=["POST"])
@blueprint.arguments(ContactSchema)
@blueprint.response(201, ContactSchema)
def create_contact(values: dict[str, Any]) -> Any:
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
def change_contact(values: dict[str, Any], contact_id: int) -> Any:
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


@opt_outs.route("/opt-outs", methods=["GET"])
@opt_outs.arguments(PageQuery, location="query")
@opt_outs.response(200, OptOutPageSchema)
def list_opt_outs(query: dict[str, Any]) -> Any:
    """List who opted out."""
    with transaction() as session:
        (after_key,) = decode_cursor(query["cursor"], str) or ("",)
        found = contacts.opt_outs_of(session, company_id(), after_key=after_key, limit=query["limit"] + 1)
        listed = page(found, limit=query["limit"], position=lambda opted_out: [opted_out.phone_key])
        return {**listed, "items": [_shown(opted_out) for opted_out in listed["items"]]}


@opt_outs.route("/opt-outs", methods=["POST"])
@opt_outs.arguments(OptOutSchema)
@opt_outs.response(201, OptOutSchema)
def create_opt_out(values: dict[str, Any]) -> Any:
    """Note that a person must not be written to; messages that wait are left out when their turn comes."""
    with transaction() as session:
        opted_out = contacts.opt_out(
            session,
            company_id=company_id(),
            phone=values["phone"],
            source="api",
            default_region=default_region(),
            now=utc_now(),
        )
        return _shown(opted_out)


@opt_outs.route("/opt-outs/<phone>", methods=["DELETE"])
@opt_outs.response(204)
def lift_opt_out(phone: str) -> None:
    """Let a person be written to again."""
    with transaction() as session:
        contacts.lift_opt_out(session, company_id=company_id(), phone=phone, default_region=default_region())


def _shown(opted_out: OptOut) -> dict[str, Any]:
    return {
        "phone": f"+{opted_out.phone_key}",
        "source": opted_out.source,
        "opted_out_at": opted_out.opted_out_at,
    }


def default_region() -> str:
    """Return the region of numbers without a country code."""
    return runtime().config.default_region
