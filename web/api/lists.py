"""Lists of contacts."""

from typing import Any

from sqlalchemy.orm import Session

from campaign_engine.models import ContactList
from campaign_engine.services.people import contacts
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.schemas.base import Ids, PageQuery
from web.schemas.contacts import ListPageSchema, ListSchema, MembershipSchema
from web.transactions import transaction

blueprint = Blueprint("lists", __name__, description="Named sets of contacts.")


@blueprint.route("/lists", methods=["GET"])
@blueprint.arguments(PageQuery, location="query", as_kwargs=True)
@blueprint.response(200, ListPageSchema)
def list_lists(limit: int, cursor: str | None) -> Any:
    """List the lists."""
    with transaction() as session:
        (after_id,) = decode_cursor(cursor, int) or (0,)
        found = contacts.lists_of(session, company_id(), after_id=after_id, limit=limit + 1)
        shown = page(found, limit=limit)
        return {**shown, "items": _shown(session, shown["items"])}


@blueprint.route("/lists", methods=["POST"])
@blueprint.arguments(ListSchema, as_kwargs=True)
@blueprint.response(201, ListSchema)
def create_list(name: str) -> Any:
    """Create an empty list."""
    with transaction() as session:
        made = contacts.create_list(session, company_id=company_id(), name=name)
        return _shown(session, [made])[0]


@blueprint.route("/lists/<id:list_id>", methods=["GET"])
@blueprint.response(200, ListSchema)
def show_list(list_id: int) -> Any:
    """Show a list."""
    with transaction() as session:
        return _shown(session, [contacts.get_list(session, company_id(), list_id)])[0]


@blueprint.route("/lists/<id:list_id>", methods=["PATCH"])
@blueprint.arguments(ListSchema, as_kwargs=True)
@blueprint.response(200, ListSchema)
def rename_list(name: str, list_id: int) -> Any:
    """Rename a list."""
    with transaction() as session:
        found = contacts.get_list(session, company_id(), list_id)
        contacts.rename_list(session, found, name=name)
        return _shown(session, [found])[0]


@blueprint.route("/lists/<id:list_id>", methods=["DELETE"])
@blueprint.response(204)
def delete_list(list_id: int) -> None:
    """Delete a list that no open campaign uses; its contacts stay."""
    with transaction() as session:
        contacts.delete_list(session, contacts.get_list(session, company_id(), list_id))


@blueprint.route("/lists/<id:list_id>/contacts", methods=["POST"])
@blueprint.arguments(Ids, as_kwargs=True)
@blueprint.response(200, MembershipSchema)
def add_contacts(contact_ids: list[int], list_id: int) -> Any:
    """Put contacts on a list; ids that are none of the company's are left out."""
    with transaction() as session:
        found = contacts.get_list(session, company_id(), list_id)
        return _changed(session, found, contacts.add_to_list(session, found, contact_ids))


@blueprint.route("/lists/<id:list_id>/contacts", methods=["DELETE"])
@blueprint.arguments(Ids, as_kwargs=True)
@blueprint.response(200, MembershipSchema)
def remove_contacts(contact_ids: list[int], list_id: int) -> Any:
    """Take contacts off a list."""
    with transaction() as session:
        found = contacts.get_list(session, company_id(), list_id)
        return _changed(session, found, contacts.remove_from_list(session, found, contact_ids))


def _shown(session: Session, lists: list[ContactList]) -> list[dict[str, object]]:
    counts = contacts.member_counts(session, [each.id for each in lists])
    return [
        {
            "id": each.id,
            "name": each.name,
            "contact_count": counts.get(each.id, 0),
            "created_at": each.created_at,
        }
        for each in lists
    ]


def _changed(session: Session, contact_list: ContactList, changed_count: int) -> dict[str, int]:
    counts = contacts.member_counts(session, [contact_list.id])
    return {"changed_count": changed_count, "contact_count": counts.get(contact_list.id, 0)}
