"""The schema of the database."""

import click

from campaign_engine import config as configuration
from campaign_engine import migrations
from cli.context import fail


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
def upgrade() -> None:
    """Bring the schema to this version; harmless when it is there already."""
    config = configuration.load()
    if config.database_url is None:
        fail("DATABASE_URL is not set, and no embedded server is running; start `campaign-engine up` or set it.")
    migrations.upgrade(config.database_url)
    click.echo("The schema is up to date.")
