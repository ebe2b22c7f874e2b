"""How far campaigns are, as the API and the pages show it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.models import Campaign
from campaign_engine.services import campaigns, progress
from jobs.waking import waits_of
from web.runtime import runtime


def read_progress(session: Session, selected: Sequence[Campaign]) -> list[dict[str, Any]]:
    """Return the progress of campaigns in the shape of the contract, times as datetimes, ids as integers.

    Side effects: one call to Redis, for why accounts wait; without it the explanation is missing and nothing else.
    """
    face = runtime()
    used = campaigns.account_ids_of(session, [campaign.id for campaign in selected])
    account_ids = sorted({account_id for ids in used.values() for account_id in ids})
    return progress.read(session, selected, config=face.config, now=utc_now(), waits=waits_of(face.redis, account_ids))
