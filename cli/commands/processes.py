"""The processes of an installation, each in the foreground until SIGTERM or Ctrl-C."""

import click

from cli.context import load_config
from jobs import queues


@click.command()
def web() -> None:
    """Serve the API, the pages and the webhooks at WEB_HOST:WEB_PORT."""
    from web import server

    server.run(load_config())


@click.command()
@click.option(
    "--queue",
    "names",
    multiple=True,
    type=click.Choice(queues.NAMES),
    help="Only this queue; may be repeated.",
)
def workers(names: tuple[str, ...]) -> None:
    """Run the workers of this host: for each queue as many as its setting says."""
    from jobs.workers import Pool

    Pool(load_config(), only=names).run()


@click.command()
def scheduler() -> None:
    """Start what is scheduled and wake what was deferred. A second one is a hot standby."""
    from jobs import scheduler as process

    process.run(load_config())
