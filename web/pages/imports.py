"""Imports of contacts: the history, the upload, and one import as it goes on."""

from http import HTTPStatus
from typing import BinaryIO, cast

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from campaign_engine.core import engine
from campaign_engine.errors import InvalidInput
from campaign_engine.models import ImportStatus, Role
from campaign_engine.services.people import imports as service
from web import auth
from web.bodies import MEBIBYTE, body_limit, import_bytes
from web.pages import ledger
from web.pages.blueprint import blueprint
from web.schemas.fields import unstorable
from web.transactions import transaction

IMPORTS_PER_PAGE = 30
ERRORS_SHOWN = 200
MAX_LIST_NAME_CHARS = 200


@blueprint.get("/imports")
@auth.login_required
def imports() -> str:
    """Show the history and the form."""
    return _page(errors={}, list_name="")


@blueprint.post("/imports")
@body_limit(import_bytes)
@auth.role_required(Role.OPERATOR)
def upload_import() -> Response | tuple[str, HTTPStatus]:
    """Store a file to import and follow it; what is wrong with it stands beside its field."""
    list_name = request.form.get("list", "").strip()
    try:
        import_id = _store(list_name)
    except InvalidInput as error:
        return _page(errors=error.errors, list_name=list_name), HTTPStatus.UNPROCESSABLE_ENTITY
    return redirect(url_for("pages.contact_import", import_id=import_id), HTTPStatus.SEE_OTHER)


@blueprint.get("/imports/<id:import_id>")
@auth.login_required
def contact_import(import_id: int) -> str:
    """Show one import: its counts, and the rows it did not take."""
    with transaction() as session:
        record = service.get(session, auth.current_user().company_id, import_id)
        row_errors = list(service.errors_of(session, record.id, limit=ERRORS_SHOWN + 1))
        names = ledger.list_names(session, [record])
    return render_template(
        "import.html",
        record=record,
        list_name=names.get(record.list_id or 0),
        percent=record.bytes_done * 100 // record.size_bytes if record.size_bytes else 0,
        over=record.status in (ImportStatus.COMPLETED, ImportStatus.FAILED),
        row_errors=row_errors[:ERRORS_SHOWN],
        errors_cut=len(row_errors) > ERRORS_SHOWN,
    )


def _store(list_name: str) -> int:
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        raise InvalidInput.field("file", "Choose a file.")
    for name, given in (("file", upload.filename), ("list", list_name)):
        if unstorable(given):
            raise InvalidInput.field(name, "The name has characters that cannot be stored.")
    if len(list_name) > MAX_LIST_NAME_CHARS:
        raise InvalidInput.field("list", f"A name has at most {MAX_LIST_NAME_CHARS} characters.")
    config, user = engine().config, auth.current_user()
    with transaction() as session:
        record = service.create(
            session,
            company_id=user.company_id,
            user_id=user.id,
            filename=upload.filename,
            stream=cast(BinaryIO, upload.stream),
            list_name=list_name or None,
            mapping=None,
            default_region=config.default_region,
            max_bytes=config.import_max_mb * MEBIBYTE,
        )
        service.write_later(session, record)
    return record.id


def _page(*, errors: dict[str, list[str]], list_name: str) -> str:
    before = ledger.cursor(request.args.get("before"))
    with transaction() as session:
        found, names = ledger.imports(
            session, auth.current_user().company_id, before=before, limit=IMPORTS_PER_PAGE + 1
        )
    records = found[:IMPORTS_PER_PAGE]
    return render_template(
        "imports.html",
        records=records,
        list_names=names,
        newest_page=before is None,
        older=records[-1].id if len(found) > IMPORTS_PER_PAGE else None,
        errors=errors,
        list_name=list_name,
        max_mb=engine().config.import_max_mb,
    )
