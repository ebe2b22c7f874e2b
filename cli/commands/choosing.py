"""Which company a command works for, and which campaign: the one of that company."""

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from campaign_engine.errors import InvalidInput, NotFound
from campaign_engine.models import Campaign, Company


def chosen_company(session: Session) -> Company:
    """Return the company that this command works for: the one named with --company, or the only one."""
    name = _named()
    found = session.scalars(select(Company).order_by(Company.id)).all()
    if not found:
        raise InvalidInput.field("company", "There is none yet: run `campaign-engine user create` first.")
    if name is None and len(found) == 1:
        return found[0]
    names = ", ".join(f"“{each.name}”" for each in found)
    for company in found:
        if company.name == name:
            return company
    if name is None:
        raise InvalidInput.field("company", f"Say which one: campaign-engine --company NAME ...; there are {names}.")
    raise InvalidInput.field("company", f"There is no company {name}; there are {names}.")


def chosen_campaign(session: Session, campaign_id: int) -> Campaign:
    """Return a campaign of the company that --company names; without the option, of any.

    Whoever is at the terminal operates the installation, so an id is enough; but a company that was named is meant.

    Raises:
        NotFound: there is none.
        InvalidInput: there is no such company.
    """
    found = session.get(Campaign, campaign_id, populate_existing=True)
    if found is None or (_named() is not None and chosen_company(session).id != found.company_id):
        raise NotFound("campaign", campaign_id)
    return found


def _named() -> str | None:
    """Return what --company says; outside a command, as when `up` watches its demonstration, nothing."""
    context = click.get_current_context(silent=True)
    given: str | None = context.find_root().params.get("company") if context is not None else None
    return given
