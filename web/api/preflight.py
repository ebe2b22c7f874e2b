"""Before the launch of a campaign: how many, who is left out, when it ends, what to look at."""

from datetime import datetime
from typing import Any

from campaign_engine.services.campaigns import reading
from web.api.blueprint import Blueprint, company_id
from web.progress import read_preflight
from web.schemas.preflight import PreflightQuery, PreflightSchema
from web.transactions import transaction

blueprint = Blueprint("preflight", __name__, description="What would become of a campaign if it started.")


@blueprint.route("/campaigns/<id:campaign_id>/preflight", methods=["GET"])
@blueprint.arguments(PreflightQuery, location="query", as_kwargs=True)
@blueprint.response(200, PreflightSchema)
def show_preflight(must_end_by: datetime | None, campaign_id: int) -> Any:
    """Tell how many would get a draft or scheduled campaign, who is left out and why, and when it would end."""
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        return read_preflight(session, campaign, must_end_by=must_end_by)
