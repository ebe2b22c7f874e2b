"""Contacts from a file."""

import time
from pathlib import Path

import click

from campaign_engine.core import engine
from campaign_engine.db import db
from campaign_engine.models import ContactImport, ImportStatus
from campaign_engine.services.people import imports
from cli.commands.choosing import chosen_company
from cli.context import fail, json_option, print_json, transaction, with_engine
from jobs import importing

SHOWN_ERRORS = 20


@click.group()
def contacts() -> None:
    """The people you write to."""


@contacts.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--list", "list_name", required=True, help="The list they are put on; made when there is none.")
@click.option(
    "--map", "mapping", multiple=True, metavar="FIELD=COLUMN", help="A column under another name; repeatable."
)
@click.option("--region", help="Country of numbers without a country code, for example BR. Default: DEFAULT_REGION.")
@json_option
@with_engine
def import_file(file: Path, list_name: str, mapping: tuple[str, ...], region: str | None, as_json: bool) -> None:
    """Import a CSV file; rows that cannot be used are listed with the reason, the others are imported."""
    config = engine().config
    with transaction() as session, file.open("rb") as stream:
        record = imports.create(
            session,
            company_id=chosen_company(session).id,
            user_id=None,
            filename=file.name,
            stream=stream,
            list_name=list_name,
            mapping=dict(map(_pair, mapping)) or None,
            default_region=region or config.default_region,
            max_bytes=config.import_max_mb << 20,
        )
        import_id = record.id
    began_at = time.monotonic()
    importing.write_all(import_id, told=None if as_json else _show_progress)
    with transaction() as session:
        done = session.get_one(ContactImport, import_id, populate_existing=True)
        errors = [
            {"line": row.line, "code": row.code, "reason": row.reason}
            for row in imports.errors_of(session, import_id, limit=None if as_json else SHOWN_ERRORS)
        ]
        summary = {
            "id": str(done.id),
            "status": done.status,
            "rows": done.row_count,
            "created": done.created_count,
            "updated": done.updated_count,
            "duplicates": done.duplicate_count,
            "errors": done.error_count,
            "refused": errors,
        }
        failure = done.failure
    db.session.remove()
    if as_json:
        print_json(summary)
    else:
        click.echo(
            f"{summary['rows']} rows in {time.monotonic() - began_at:.1f} s: {summary['created']} new contacts,"
            f" {summary['updated']} known, {summary['duplicates']} repeated, {summary['errors']} refused."
        )
        for error in errors:
            click.echo(f"  line {error['line']}: {error['reason']}")
        hidden = done.error_count + done.duplicate_count - len(errors)
        if hidden > 0:
            click.echo(f"  and {hidden} more; --json lists all.")
    if summary["status"] == ImportStatus.FAILED:
        fail(str(failure))


def _pair(given: str) -> tuple[str, str]:
    field, separator, column = given.partition("=")
    if not separator:
        raise click.UsageError(f"--map {given}: write FIELD=COLUMN, for example phone=Celular.")
    return field, column


def _show_progress(rows: int) -> None:
    if rows % 10_000 == 0 and rows:
        click.echo(f"  {rows} rows ...", err=True)
