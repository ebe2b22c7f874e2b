"""Accounts: the numbers a company sends from."""

from typing import Any

from campaign_engine.clock import utc_now
from campaign_engine.core import engine
from campaign_engine.models import Account, Role
from campaign_engine.services.accounts import accounts, activation, health
from campaign_engine.services.accounts.account_values import AccountValues
from campaign_engine.services.accounts.accounts import Proposal
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.schemas.accounts import AccountPageSchema, AccountSchema
from web.schemas.base import PageQuery
from web.transactions import transaction

blueprint = Blueprint(
    "accounts", __name__, writes=Role.ADMIN, description="WhatsApp accounts: the numbers a company sends from."
)


@blueprint.route("/accounts", methods=["GET"])
@blueprint.arguments(PageQuery, location="query", as_kwargs=True)
@blueprint.response(200, AccountPageSchema)
def list_accounts(limit: int, cursor: str | None) -> Any:
    """List the accounts."""
    with transaction() as session:
        (after_id,) = decode_cursor(cursor, int) or (0,)
        found = accounts.of_company(session, company_id(), after_id=after_id, limit=limit + 1)
        return page(found, limit=limit)


@blueprint.route("/accounts", methods=["POST"])
@blueprint.arguments(AccountSchema)
@blueprint.response(201, AccountSchema)
def create_account(values: AccountValues) -> Any:
    """Create an account; the provider is asked whether it knows the number and the token."""
    proposal = _proposed(values)
    with transaction() as session:
        return accounts.create(session, proposal, company_id=company_id(), vault=engine().vault, now=utc_now())


@blueprint.route("/accounts/<id:account_id>", methods=["GET"])
@blueprint.response(200, AccountSchema)
def show_account(account_id: int) -> Any:
    """Show an account."""
    with transaction() as session:
        return accounts.get(session, company_id(), account_id)


@blueprint.route("/accounts/<id:account_id>", methods=["PATCH"])
@blueprint.arguments(AccountSchema(partial=True, exclude=("provider",)))
@blueprint.response(200, AccountSchema)
def change_account(values: AccountValues, account_id: int) -> Any:
    """Change an account; limits and pacing take effect at the next message."""
    with transaction() as session:
        account = accounts.get(session, company_id(), account_id)
    proposal = _proposed(values, account)
    with transaction() as session:
        accounts.update(session, account, proposal, vault=engine().vault, now=utc_now())
        return account


@blueprint.route("/accounts/<id:account_id>", methods=["DELETE"])
@blueprint.response(204)
def delete_account(account_id: int) -> None:
    """Take an account out of use; the history of its messages stays."""
    with transaction() as session:
        accounts.delete(session, accounts.get(session, company_id(), account_id))


@blueprint.route("/accounts/<id:account_id>/health-check", methods=["POST"])
@blueprint.response(200, AccountSchema)
def check_account(account_id: int) -> Any:
    """Ask the provider about the account, or share an answer of the last seconds (`health_checked_at`)."""
    here = engine()
    with transaction() as session:
        accounts.get(session, company_id(), account_id)
    health.check(account_id, vault=here.vault, providers=here.providers, config=here.config)
    with transaction() as session:
        account = accounts.get(session, company_id(), account_id)
        session.refresh(account)
        return account


@blueprint.route("/accounts/<id:account_id>/reactivate", methods=["POST"])
@blueprint.response(200, AccountSchema)
def reactivate_account(account_id: int) -> Any:
    """Let a deactivated account send again, one message first; campaigns that waited for it go on."""
    with transaction() as session:
        account = accounts.get(session, company_id(), account_id)
        activation.reactivate(session, account, now=utc_now())
        return account


def _proposed(values: AccountValues, account: Account | None = None) -> Proposal:
    """Return the values with the provider's answer; no transaction is open while it is asked."""
    here = engine()
    return accounts.propose(values, account=account, vault=here.vault, providers=here.providers)
