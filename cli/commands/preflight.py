"""`campaign-engine campaign preflight`: what would become of a campaign if it started."""

from datetime import datetime
from zoneinfo import ZoneInfo

import click

from campaign_engine.clock import utc_now
from campaign_engine.rules.hours.local_time import first_instant
from campaign_engine.rules.waiting import clock
from campaign_engine.services.outlook.preflight import launch
from campaign_engine.services.outlook.preflight.senders import AccountBeforeLaunch
from cli.commands.choosing import chosen_campaign
from cli.context import ID, json_option, print_fields, print_json, transaction, with_engine
from web.progress import read_preflight
from web.schemas.preflight import PreflightSchema


@click.command()
@click.argument("campaign_id", type=ID)
@click.option(
    "--must-end-by",
    type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]),
    help="Ask whether it fits before this time of the campaign's time zone.",
)
@json_option
@with_engine
def preflight(campaign_id: int, must_end_by: datetime | None, as_json: bool) -> None:
    """Tell how many would get a campaign, who would not, and when it would end; nothing is started."""
    with transaction() as session:
        campaign = chosen_campaign(session, campaign_id)
        zone = ZoneInfo(campaign.timezone)
        ends_by = first_instant(must_end_by, zone) if must_end_by is not None else None
        found = read_preflight(session, campaign, must_end_by=ends_by)
    if as_json:
        print_json(PreflightSchema().dump(found))
    else:
        _print(found, zone)


def _print(found: launch.Preflight, zone: ZoneInfo) -> None:
    now = utc_now()
    click.echo(f"Campaign {found.campaign_id} {found.summary}.")
    left_out = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in found.left_out.items() if count]
    print_fields(
        {
            "recipients": f"{found.recipients:,} of {found.named:,}",
            "left out": ", ".join(left_out),
            "starts": clock(found.starts_at, now=now, zone=zone),
            "held up by": found.bound.text if found.bound else None,
            **{f"account {each.name}": _account(each) for each in found.accounts},
        }
    )
    for warning in found.warnings:
        click.echo(f"warning: {warning.text}")


def _account(account: AccountBeforeLaunch) -> str:
    if not account.live:
        return account.status
    pace = f", {account.pace}" if account.pace else ""
    return f"{account.messages_per_hour:,} an hour ({account.limit}{pace})"
