"""How far campaigns are, and what would become of one, as every face shows it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.core import engine
from campaign_engine.models import Campaign
from campaign_engine.services.campaigns import reading
from campaign_engine.services.outlook import progress
from campaign_engine.services.outlook.preflight import launch
from jobs.waking import waits_of


def read_progress(session: Session, selected: Sequence[Campaign]) -> list[progress.Progress]:
    """Return the progress of campaigns.

    Side effects: one call to Redis, for why accounts wait, and a few for each account with a limit of 24 hours. If
    Redis is away, the explanation is missing and the ETA knows less.
    """
    here = engine()
    used = reading.account_ids_of(session, [campaign.id for campaign in selected])
    account_ids = sorted({account_id for ids in used.values() for account_id in ids})
    return progress.read(
        session,
        selected,
        config=here.config,
        now=utc_now(),
        waits=waits_of(here.redis, account_ids),
        limiter_of=here.limiter,
    )


def read_preflight(session: Session, campaign: Campaign, *, must_end_by: datetime | None = None) -> launch.Preflight:
    """Return what would become of a campaign that has not started, as `launch.check` does.

    Side effects: calls to Redis, like the progress.
    """
    here = engine()
    account_ids = reading.account_ids_of(session, [campaign.id])[campaign.id]
    return launch.check(
        session,
        campaign,
        config=here.config,
        now=utc_now(),
        must_end_by=must_end_by,
        waits=waits_of(here.redis, account_ids),
        limiter_of=here.limiter,
    )
