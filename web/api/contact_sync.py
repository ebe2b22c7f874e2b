"""What the phone of an account knows of people: its address book, and who is on WhatsApp."""

from typing import Any

from campaign_engine.core import engine
from campaign_engine.services.accounts import accounts
from campaign_engine.services.people import contact_sync, contacts
from web.api.blueprint import Blueprint, company_id
from web.schemas.contact_sync import ContactSyncRequestSchema, ContactSyncSchema
from web.transactions import transaction

blueprint = Blueprint("contact sync", __name__, description="People out of the phone of an account, in the background.")


@blueprint.route("/accounts/<id:account_id>/sync-contacts", methods=["POST"])
@blueprint.arguments(ContactSyncRequestSchema)
@blueprint.response(202, ContactSyncSchema)
def sync_contacts(values: dict[str, Any], account_id: int) -> Any:
    """Read the address book of the account's phone onto a list; a notification tells when it is done."""
    with transaction() as session:
        account = accounts.get(session, company_id(), account_id)
        contact_list = contact_sync.sync(session, account, name=values.get("list"), providers=engine().providers)
        return {"account_id": account.id, "list_id": contact_list.id, "list": contact_list.name}


@blueprint.route("/accounts/<id:account_id>/lists/<id:list_id>/check-numbers", methods=["POST"])
@blueprint.response(202, ContactSyncSchema)
def check_numbers(account_id: int, list_id: int) -> Any:
    """Ask the account's phone who of a list is on WhatsApp; the others go on the list that the answer names."""
    with transaction() as session:
        account = accounts.get(session, company_id(), account_id)
        contact_list = contacts.get_list(session, company_id(), list_id)
        absent = contact_sync.check(session, account, contact_list, providers=engine().providers)
        return {"account_id": account.id, "list_id": absent.id, "list": absent.name}
