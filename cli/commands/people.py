"""Users and their tokens."""

import sys

import click

from campaign_engine.core import engine
from campaign_engine.errors import NotFound
from campaign_engine.services.company import users
from cli.context import json_option, print_json, transaction, with_engine


@click.group()
def user() -> None:
    """People who sign in."""


@user.command("create")
@click.option("--email", required=True, help="The address to sign in with.")
@click.option("--role", type=click.Choice(["admin", "operator", "viewer"]), required=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@click.option("--company", help="The company; made when there is none of that name. Default: the first one.")
@json_option
@with_engine
def create_user(email: str, role: str, password_stdin: bool, company: str | None, as_json: bool) -> None:
    """Create a user."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    with transaction() as session:
        tenant = users.ensure_company(session, company, timezone=engine().config.default_timezone)
        made = users.create(session, company=tenant, email=email, password=password, role=role)
        shown = {"id": str(made.id), "email": made.email, "role": made.role, "company": tenant.name}
    if as_json:
        print_json(shown)
    else:
        click.echo(f"Created {role} {email} of {tenant.name}.")


@click.group()
def token() -> None:
    """Tokens for programs that use the API."""


@token.command("create")
@click.option("--email", required=True, help="The user whose rights the token has.")
@click.option("--name", default="command line", help="What it is for; shown in the list of tokens.")
@with_engine
def create_token(email: str, name: str) -> None:
    """Make a token and print it, once, alone on standard output."""
    with transaction() as session:
        owner = users.by_email(session, email)
        if owner is None:
            raise NotFound("user", email)
        made = users.create_token(session, owner, name=name)
    click.echo(made.secret)
