"""The start of scheduled campaigns by rq-scheduler: no cron, one scheduled job per campaign.

rq-scheduler cuts times to whole seconds, so the next whole second is asked for: a campaign starts up to a second after
its time and never before it. Its jobs are written after the commit that schedules, and again within the hour by the
periodic verification, which starts whatever is due should they be lost.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from redis import Redis
from rq_scheduler import Scheduler

from jobs import queues

VERIFY_JOB_ID = "verify-campaigns"


def scheduler(connection: Redis) -> Scheduler:
    """Return rq-scheduler on our queue; costs nothing."""
    return Scheduler(queues.CAMPAIGN_SCHEDULER, connection=connection)


def _naive_whole_second(at: datetime) -> datetime:
    """Return `at` rounded up to a whole second, naive in UTC: what rq-scheduler reads."""
    return datetime.fromtimestamp(math.ceil(at.timestamp()), UTC).replace(tzinfo=None)


def _job_id(campaign_id: int) -> str:
    return f"start-campaign-{campaign_id}"


def ensure(connection: Redis, starts: Iterable[tuple[int, datetime]]) -> None:
    """Make sure that each campaign has its start job, at its time; one that was moved is moved."""
    rq_scheduler = scheduler(connection)
    for campaign_id, at in starts:
        if connection.zscore(rq_scheduler.scheduled_jobs_key, _job_id(campaign_id)) == math.ceil(at.timestamp()):
            continue
        rq_scheduler.enqueue_at(
            _naive_whole_second(at),
            "jobs.scheduling.start_campaign",
            campaign_id,
            job_id=_job_id(campaign_id),
            job_result_ttl=queues.RESULT_TTL_S,
            job_description="start campaign",
            timeout=queues.POLICIES[queues.CAMPAIGN_SCHEDULER].timeout_s,
        )


def ensure_verification(connection: Redis, *, interval_s: int) -> None:
    """Make sure that the verification is scheduled, every `interval_s` seconds from now on.

    A fixed id keeps it one job, whoever asks; `result_ttl=-1` keeps its hash, without which it would vanish after the
    first run.
    """
    rq_scheduler = scheduler(connection)
    if connection.zscore(rq_scheduler.scheduled_jobs_key, VERIFY_JOB_ID) is not None and connection.exists(
        f"rq:job:{VERIFY_JOB_ID}"
    ):
        return
    rq_scheduler.schedule(
        scheduled_time=(datetime.now(UTC) + timedelta(seconds=1)).replace(tzinfo=None),
        func="jobs.scheduling.verify_campaigns",
        interval=interval_s,
        result_ttl=-1,
        id=VERIFY_JOB_ID,
        description="verify campaigns",
        timeout=queues.POLICIES[queues.CAMPAIGN_SCHEDULER].timeout_s,
    )
