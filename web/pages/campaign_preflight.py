"""What the page of a campaign that has not started says about its launch: how many, who not, until when."""

from flask import request
from sqlalchemy.orm import Session

from campaign_engine.models import Campaign
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services.campaigns import audience_sizes
from web.pages.at_hand import instant_of
from web.progress import read_preflight

COUNTED_AT_ONCE = 20_000
"""An audience up to about this size is counted whenever the page is opened, a bigger one when somebody asks."""


def shown(session: Session, campaign: Campaign) -> dict[str, object]:
    """Return what the template of this section needs."""
    if campaign.status not in (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED):
        return {"preflight": None}
    given = request.args.get("must_end_by", "")
    must_end_by = instant_of(given)
    size = audience_sizes.estimated(session, [campaign.id])[campaign.id]
    wanted = "check" in request.args or size <= COUNTED_AT_ONCE
    return {
        "preflight": {
            "size": size,
            "must_end_by": given if must_end_by is not None else "",
            "found": read_preflight(session, campaign, must_end_by=must_end_by) if wanted else None,
        }
    }
