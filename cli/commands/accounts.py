"""WhatsApp accounts."""

import sys
from typing import Any

import click

from campaign_engine.clock import utc_now
from campaign_engine.core import engine, traits_of
from campaign_engine.models import Account
from campaign_engine.providers import REGISTRY
from campaign_engine.services.accounts import accounts, activation
from cli.commands.choosing import chosen_company
from cli.context import ID, json_option, print_json, print_table, transaction, with_engine
from web.schemas.accounts import AccountSchema
from web.schemas.base import loaded

PROVIDERS = [kind.traits.name for kind in REGISTRY]


@click.group()
def account() -> None:
    """The numbers that campaigns are sent from."""


@account.command()
@click.option("--name", required=True, help="What you call it.")
@click.option("--provider", type=click.Choice(PROVIDERS), default=PROVIDERS[0], show_default=True)
@click.option("--phone-number-id", help="Meta's id of the number (WhatsApp manager, API set-up).")
@click.option("--instance", help="The name of the instance, where the provider has such.")
@click.option("--access-token-stdin", is_flag=True, help="Read the access token (or API key) from standard input.")
@click.option("--app-secret-stdin", is_flag=True, help="Read the app secret from standard input, after the token.")
@click.option("--verify-token", help="A word of your choice that Meta repeats when it verifies the webhook.")
@click.option("--base-url", help="The provider's address, where it is not the usual one.")
@click.option("--rate-limit", help="For example 20/minute. Default: WHATSAPP_RATE_LIMIT.")
@click.option("--burst", type=int, help="How many may leave at once within the limit.")
@click.option("--max-in-flight", type=int, help="How many calls at once.")
@click.option("--message-interval-s", type=float, help="Seconds between two messages; 0 leaves it to the limit.")
@click.option("--longer-interval-after", type=int, help="A longer pause after so many messages; 0: none.")
@click.option("--greater-interval-s", type=float, help="That pause, in seconds.")
@json_option
@with_engine
def add(provider: str, access_token_stdin: bool, app_secret_stdin: bool, as_json: bool, **values: Any) -> None:
    """Add an account. Asks for the secrets, which never appear on the command line."""
    given = {name: value for name, value in values.items() if value is not None}
    traits = traits_of(provider)
    given["access_token"] = _secret(traits.token_title, from_stdin=access_token_stdin)
    if "app_secret" not in traits.foreign_fields:
        ask = "App secret (for webhooks; empty for none)"
        given["app_secret"] = _secret(ask, from_stdin=app_secret_stdin, optional=True) or None
    here = engine()
    proposal = accounts.propose(
        loaded(AccountSchema(), {"provider": provider, **given}),
        vault=here.vault,
        providers=here.providers,
    )
    with transaction() as session:
        company = chosen_company(session)
        made = accounts.create(session, proposal, company_id=company.id, vault=here.vault, now=utc_now())
        shown = _shown(made)
    if as_json:
        print_json(shown)
    else:
        click.echo(f"Added account {shown['id']} “{shown['name']}”; the provider says: {shown['health']}.")


@account.command("list")
@json_option
@with_engine
def list_accounts(as_json: bool) -> None:
    """List the accounts."""
    with transaction() as session:
        shown = [_shown(each) for each in accounts.of_company(session, chosen_company(session).id)]
    if as_json:
        print_json({"items": shown})
    else:
        print_table(list(_COLUMNS), [[row[name] for name in _COLUMNS] for row in shown])


@account.command()
@click.argument("account_id", type=ID)
@with_engine
def reactivate(account_id: int) -> None:
    """Let a deactivated account send again."""
    with transaction() as session:
        found = accounts.get(session, chosen_company(session).id, account_id)
        activation.reactivate(session, found, now=utc_now())
    click.echo(f"Account {account_id} sends again, one message first.")


_COLUMNS = ("id", "name", "provider", "status", "status_reason", "health")


def _shown(each: Account) -> dict[str, object]:
    return {
        "id": str(each.id),
        "name": each.name,
        "provider": each.provider,
        "status": each.status,
        "status_reason": each.status_reason,
        "health": (each.health or {}).get("summary"),
    }


def _secret(label: str, *, from_stdin: bool, optional: bool = False) -> str:
    if from_stdin:
        return sys.stdin.readline().strip()
    if optional and not sys.stdin.isatty():
        return ""
    answer: str = click.prompt(label, hide_input=True, default="" if optional else None, show_default=False)
    return answer
