"""People who must not be written to: who asked for it, and the company's own blocklist."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.models import OptOut
from campaign_engine.services.people import opt_outs, persons
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.api.contacts import default_region
from web.schemas.opt_outs import OptOutPageSchema, OptOutQuery, OptOutSchema
from web.transactions import transaction

blueprint = Blueprint("opt-outs", __name__, description="People who must not be written to, whatever is imported.")


@blueprint.route("/opt-outs", methods=["GET"])
@blueprint.arguments(OptOutQuery, location="query", as_kwargs=True)
@blueprint.response(200, OptOutPageSchema)
def list_opt_outs(limit: int, cursor: str | None, kind: str | None) -> Any:
    """List who opted out, who is blocked, and whose wish is to be decided."""
    with transaction() as session:
        (after_key,) = decode_cursor(cursor, str) or ("",)
        found = opt_outs.of_company(session, company_id(), kind=kind, after_key=after_key, limit=limit + 1)
        listed = page(found, limit=limit, position=lambda opted_out: [opted_out.phone_key])
        return {**listed, "items": _shown(session, listed["items"])}


@blueprint.route("/opt-outs", methods=["POST"])
@blueprint.arguments(OptOutSchema)
@blueprint.response(201, OptOutSchema)
def create_opt_out(values: dict[str, Any]) -> Any:
    """Note that a person must not be written to; messages that wait are left out when their turn comes."""
    with transaction() as session:
        opted_out = opt_outs.add(
            session,
            company_id=company_id(),
            phone=values["phone"],
            kind=values["kind"],
            note=values.get("note"),
            default_region=default_region(),
            now=utc_now(),
        )
        [shown] = _shown(session, [opted_out])
        return shown


@blueprint.route("/opt-outs/<phone>", methods=["DELETE"])
@blueprint.response(204)
def lift_opt_out(phone: str) -> None:
    """Let a person be written to again."""
    with transaction() as session:
        opt_outs.lift(session, company_id=company_id(), phone=phone, default_region=default_region(), now=utc_now())


def _shown(session: Session, found: Sequence[OptOut]) -> list[dict[str, object]]:
    names = ("kind", "source", "note", "campaign_id", "opted_out_at")
    phones = persons.phones_of(session, company_id(), [opted_out.phone_key for opted_out in found])
    return [
        {"phone": phones[opted_out.phone_key], **{name: getattr(opted_out, name) for name in names}}
        for opted_out in found
    ]
