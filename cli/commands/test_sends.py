"""`campaign-engine campaign test`: one message of a campaign to one number."""

import click
from sqlalchemy import select

from campaign_engine.clock import utc_now
from campaign_engine.core import engine
from campaign_engine.errors import NotFound
from campaign_engine.models import Account
from campaign_engine.services.campaigns import reading, test_sends
from cli.commands.choosing import chosen_campaign
from cli.context import ID, json_option, print_json, transaction, with_engine


@click.command("test")
@click.argument("campaign_id", type=ID)
@click.argument("phone")
@click.option("--name", help="What {{name}} becomes.")
@click.option("--variable", "variables", metavar="NAME=VALUE", multiple=True, help="Repeatable.")
@click.option("--account", "account_name", help="Name or id. Default: the campaign's first active one.")
@json_option
@with_engine
def send_test(
    campaign_id: int, phone: str, name: str | None, variables: tuple[str, ...], account_name: str | None, as_json: bool
) -> None:
    """Send a campaign's message to one number, before or while it runs."""
    config = engine().config
    with transaction() as session:
        found = chosen_campaign(session, campaign_id)
        campaign = reading.get(session, found.company_id, campaign_id)
        accounts = session.execute(select(Account.id, Account.name).where(Account.company_id == campaign.company_id))
        account_ids = {key: row.id for row in accounts for key in (str(row.id), row.name)}
        if account_name is not None and account_name not in account_ids:
            raise NotFound("account", account_name)
        sent = test_sends.send(
            session,
            campaign,
            owner_id=campaign.owner_id,
            values={
                "phone": phone,
                "name": name,
                "variables": dict(_pair(given) for given in variables),
                "account_id": account_ids[account_name] if account_name is not None else None,
            },
            default_region=config.default_region,
            now=utc_now(),
        )
        shown = {"id": str(sent.campaign.id), "message_id": str(sent.message.id), "account_id": str(sent.account_id)}
    if as_json:
        print_json(shown)
    else:
        click.echo(f"A test of campaign {campaign_id} to {sent.message.phone} is under way.")


def _pair(given: str) -> tuple[str, str]:
    name, separator, value = given.partition("=")
    if not separator or not name:
        raise click.BadParameter("write NAME=VALUE", param_hint="--variable")
    return name, value
