"""Campaigns, from a draft to the last status."""

import time
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import click
from sqlalchemy.orm import Session

import web.progress
from campaign_engine.clock import utc_now
from campaign_engine.core import engine
from campaign_engine.db import db
from campaign_engine.errors import InvalidInput
from campaign_engine.models import Account, Campaign, Company, Role, User
from campaign_engine.rules.states import CAMPAIGN_IS_OVER
from campaign_engine.services.campaigns import drafts, lifecycle, reading
from campaign_engine.services.campaigns.draft_values import DraftValues
from campaign_engine.services.outlook import progress
from campaign_engine.services.people import contacts
from cli.commands.choosing import chosen_campaign, chosen_company
from cli.commands.preflight import preflight
from cli.commands.test_sends import send_test
from cli.context import ID, json_option, print_fields, print_json, print_table, transaction, with_engine
from cli.progress_view import View, line_of
from web.schemas.base import loaded
from web.schemas.campaigns import CampaignSchema, ProgressesSchema, ProgressSchema


@click.group()
def campaign() -> None:
    """Messages to many people."""


campaign.add_command(preflight)
campaign.add_command(send_test)


@campaign.command()
@click.option("--name", required=True)
@click.option("--account", "account_names", multiple=True, required=True, help="Name or id; repeatable.")
@click.option("--list", "list_names", multiple=True, required=True, help="Name or id; repeatable.")
@click.option("--text", required=True, help="The message; {{name}} and the contact's other variables are filled in.")
@click.option("--at", type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]), help="Start by itself at this time.")
@click.option("--timezone", help="The zone --at is meant in. Default: the company's.")
@click.option("--message-delay-s", type=float, help="Seconds between two messages of this campaign.")
@click.option("--start", "start_now", is_flag=True, help="Start it at once.")
@json_option
@with_engine
def create(
    name: str,
    account_names: tuple[str, ...],
    list_names: tuple[str, ...],
    text: str,
    at: datetime | None,
    timezone: str | None,
    message_delay_s: float | None,
    start_now: bool,
    as_json: bool,
) -> None:
    """Create a campaign."""
    if at is not None and start_now:
        raise click.UsageError("--at and --start contradict each other: give one of them.")
    config = engine().config
    with transaction() as session:
        company = chosen_company(session)
        values: DraftValues = loaded(
            CampaignSchema(),
            {
                "name": name,
                "account_ids": [_account(session, company, given).id for given in account_names],
                "audience": {"list_ids": [_list_id(session, company, given) for given in list_names]},
                "content": {"type": "text", "text": text},
                "timezone": timezone or company.timezone,
                "pacing": {"message_delay_s": message_delay_s},
                "scheduled_at": at.isoformat() if at is not None else None,
            },
        )
        made = drafts.create(
            session,
            company_id=company.id,
            owner_id=_owner(session, company).id,
            values=values,
            default_region=config.default_region,
            default_timezone=company.timezone,
            now=utc_now(),
        )
        if start_now:
            lifecycle.start(session, made, now=utc_now())
        shown = {"id": str(made.id), "name": made.name, "status": made.status}
    if as_json:
        print_json(shown)
    else:
        click.echo(f"Campaign {shown['id']} “{name}” is {shown['status']}.")


@campaign.command("list")
@json_option
@with_engine
def list_campaigns(as_json: bool) -> None:
    """List the campaigns, newest first."""
    with transaction() as session:
        found = reading.of_company(session, chosen_company(session).id)
        shown = progress.read(session, found, config=engine().config, now=utc_now())
    if as_json:
        print_json(ProgressesSchema().dump({"items": shown}))
        return
    print_table(
        ["id", "name", "status", "total", "sent", "delivered", "read", "failed", "pending"],
        [
            [
                row.campaign_id,
                row.name,
                row.status,
                row.total,
                row.funnel.sent,
                row.funnel.delivered,
                row.funnel.read,
                row.counts["failed"],
                row.counts["pending"],
            ]
            for row in shown
        ],
    )


@campaign.command()
@click.argument("campaign_id", type=ID)
@json_option
@with_engine
def show(campaign_id: int, as_json: bool) -> None:
    """Show how far a campaign is."""
    shown, zone = read_progress(campaign_id)
    if as_json:
        print_json(ProgressSchema().dump(shown))
        return
    click.echo(line_of(shown, zone=zone))
    print_fields(
        {
            "name": shown.name,
            "status": shown.status,
            "reason": shown.status_reason,
            "accounts": ", ".join(f"{each.name} ({each.status})" for each in shown.accounts),
            "waiting": "; ".join(wait.text for wait in shown.waiting),
            "started": shown.started_at,
            "finished": shown.finished_at,
        }
    )


@campaign.command()
@click.argument("campaign_id", type=ID)
@with_engine
def watch(campaign_id: int) -> None:
    """Follow a campaign live until it is over."""
    view = View()
    while True:
        shown, zone = read_progress(campaign_id)
        over = shown.status in CAMPAIGN_IS_OVER
        view.show(line_of(shown, zone=zone), last=over)
        if over:
            return
        time.sleep(0.5)


def _verb(name: str, explanation: str, action: Callable[[Session, Campaign], None]) -> None:
    @campaign.command(name, help=explanation)
    @click.argument("campaign_id", type=ID)
    @with_engine
    def command(campaign_id: int) -> None:
        with transaction() as session:
            found = chosen_campaign(session, campaign_id)
            action(session, found)
            status = found.status
        click.echo(f"Campaign {campaign_id} is {status}.")


_verb("start", "Start a campaign now.", lambda s, c: lifecycle.start(s, c, now=utc_now()))
_verb("pause", "Stop sending after the messages in flight.", lifecycle.pause)
_verb("resume", "Go on where a pause stopped.", lambda s, c: lifecycle.resume(s, c, now=utc_now()))
_verb("cancel", "End a campaign for good.", lambda s, c: lifecycle.cancel(s, c, now=utc_now()))


def read_progress(campaign_id: int) -> tuple[progress.Progress, ZoneInfo]:
    """Return the progress of a campaign and the zone its company lives in."""
    with transaction() as session:
        found = chosen_campaign(session, campaign_id)
        company = session.get_one(Company, found.company_id)
        [shown] = web.progress.read_progress(session, [found])
        zone = ZoneInfo(company.timezone)
    db.session.remove()
    return shown, zone


def _number(given: str) -> int | None:
    """Return the id if a number was written; None for a name."""
    return int(given) if given.isascii() and given.isdecimal() and len(given) <= 18 else None


def _owner(session: Session, company: Company) -> User:
    """Return the user on whose limit the command line's campaigns count: the company's first administrator."""
    found = session.query(User).filter(User.company_id == company.id, User.role == Role.ADMIN).order_by(User.id).first()
    if found is None:
        raise InvalidInput.field("user", "The company has no administrator: run `campaign-engine user create`.")
    return found


def _account(session: Session, company: Company, given: str) -> Account:
    query = session.query(Account).filter(Account.company_id == company.id, Account.status != "deleted")
    found = query.filter(Account.name == given).first()
    number = _number(given)
    if found is None and number is not None:
        found = query.filter(Account.id == number).first()
    if found is None:
        raise InvalidInput.field("account", f"There is no account {given}; `campaign-engine account list` shows them.")
    return found


def _list_id(session: Session, company: Company, given: str) -> int:
    found = contacts.list_named(session, company.id, given)
    number = _number(given)
    if found is None and number is not None:
        found = contacts.get_list(session, company.id, number)
    if found is None:
        raise InvalidInput.field(
            "list", f"There is no list {given}; import one with `campaign-engine contacts import`."
        )
    return found.id
