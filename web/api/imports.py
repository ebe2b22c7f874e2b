"""Imports of contacts from files."""

from typing import Any

from flask import Response
from werkzeug.datastructures import FileStorage

from campaign_engine.core import engine
from campaign_engine.errors import InvalidInput
from campaign_engine.models import ContactImport, ImportStatus
from campaign_engine.services.people import imports
from web.api.blueprint import Blueprint, company_id
from web.auth import current_user
from web.bodies import MEBIBYTE, body_limit, import_bytes
from web.downloads import csv_download
from web.schemas.contacts import ImportRequestSchema, ImportSchema
from web.schemas.fields import unstorable
from web.transactions import transaction

blueprint = Blueprint("imports", __name__, description="Contacts from a file, in the background.")


@blueprint.route("/contacts/import", methods=["POST"])
@body_limit(import_bytes)
@blueprint.arguments(ImportRequestSchema, location="multipart")
@blueprint.response(202, ImportSchema)
def create_import(values: dict[str, Any]) -> Any:
    """Store a file of contacts and write them in the background."""
    config = engine().config
    upload: FileStorage = values["file"]
    user = current_user()
    with transaction() as session:
        record = imports.create(
            session,
            company_id=user.company_id,
            user_id=user.id,
            filename=_filename(upload),
            stream=upload.stream,  # type: ignore[arg-type]
            list_name=values["list"],
            mapping=values["mapping"],
            default_region=values["default_region"] or config.default_region,
            max_bytes=config.import_max_mb * MEBIBYTE,
        )
        imports.write_later(session, record)
        return _shown(record)


@blueprint.route("/imports/<id:import_id>", methods=["GET"])
@blueprint.response(200, ImportSchema)
def show_import(import_id: int) -> Any:
    """Show how far an import is."""
    with transaction() as session:
        return _shown(imports.get(session, company_id(), import_id))


@blueprint.route("/imports/<id:import_id>/errors.csv", methods=["GET"])
@blueprint.response(200, {"type": "string"}, content_type="text/csv")
def download_errors(import_id: int) -> Response:
    """Download the rows that were refused or repeated, with the reasons."""
    with transaction() as session:
        imports.get(session, company_id(), import_id)
    return csv_download(
        f"import-{import_id}-errors.csv",
        ["line", "excerpt", "code", "reason"],
        lambda session: (
            (error.line, error.excerpt, error.code, error.reason) for error in imports.errors_of(session, import_id)
        ),
    )


def _shown(record: ContactImport) -> dict[str, object]:
    names = ("id", "status", "failure", "filename", "size_bytes", "list_id", "default_region")
    shown = {name: getattr(record, name) for name in (*names, "created_at", "finished_at")}
    return {**shown, "record": record, "percent": _percent(record)}


def _percent(record: ContactImport) -> int:
    """Return how much of the file is done: 100 only when all is."""
    if record.status == ImportStatus.COMPLETED:
        return 100
    return min(99, record.bytes_done * 100 // record.size_bytes) if record.size_bytes else 0


def _filename(upload: FileStorage) -> str:
    name = upload.filename or "upload"
    if unstorable(name):
        raise InvalidInput.field("file", "The name of the file has characters that cannot be stored.")
    return name
