"""`campaign-engine`: everything an operator does at a terminal. Commands are imported when they are asked for."""

import pkgutil
from typing import Any

import click

from cli.context import say_failures

_COMMANDS = {
    "up": "cli.commands.up:up",
    "web": "cli.commands.processes:web",
    "workers": "cli.commands.processes:workers",
    "scheduler": "cli.commands.processes:scheduler",
    "simulator": "simulator.command:simulator",
    "db": "cli.commands.database:db",
    "user": "cli.commands.people:user",
    "token": "cli.commands.people:token",
    "account": "cli.commands.accounts:account",
    "contacts": "cli.commands.contacts:contacts",
    "campaign": "cli.commands.campaigns:campaign",
    "doctor": "cli.commands.doctor:doctor",
}


class _LazyGroup(click.Group):
    """A group whose commands are modules: `--help` of one does not import the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = pkgutil.resolve_name(_COMMANDS[cmd_name])
        return found

    def invoke(self, ctx: click.Context) -> Any:
        return say_failures(super().invoke)(ctx)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="campaign-engine")
@click.option("--company", metavar="NAME", help="The company to work for, where there are several.")
def main(company: str | None) -> None:
    """Send WhatsApp campaigns at a pace that does not get your numbers banned.

    Start with `campaign-engine up`; other commands, in another terminal, find what it runs. Settings are environment
    variables or a .env file; see .env.example.
    """
