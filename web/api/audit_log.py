"""The audit log: who did what, for administrators."""

from typing import Any

from campaign_engine.models import Role
from campaign_engine.services.company import audit
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.schemas.notices import AuditEntryPageSchema, AuditQuery
from web.transactions import transaction

blueprint = Blueprint("audit-log", __name__, reads=Role.ADMIN, description="Who did what, in the company's name.")


@blueprint.route("/audit-log", methods=["GET"])
@blueprint.arguments(AuditQuery, location="query", as_kwargs=True)
@blueprint.response(200, AuditEntryPageSchema)
def list_audit_entries(
    limit: int, cursor: str | None, subject: str | None, actor: int | None, action: str | None
) -> Any:
    """List what was done, newest first."""
    with transaction() as session:
        (before_id,) = decode_cursor(cursor, int) or (None,)
        found = audit.of_company(
            session,
            company_id(),
            subject=_subject(subject),
            actor_id=actor,
            action=action,
            before_id=before_id,
            limit=limit + 1,
        )
        return page(found, limit=limit)


def _subject(given: str | None) -> tuple[str, str | None] | None:
    if given is None:
        return None
    kind, _, identity = given.partition(":")
    return kind, identity or None
