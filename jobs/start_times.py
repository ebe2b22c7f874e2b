"""The start of scheduled campaigns by rq-scheduler: no cron, one scheduled job per campaign.

No other module knows rq-scheduler: its release 0.14.0 is the last (`docs/adr/0007-rq-3-and-rq-scheduler.md` has the way
out). It cuts times to whole seconds, so we ask for the next whole second: a campaign starts up to a second after its
time and never before it. Its jobs are written after the commit that schedules a campaign, and again in the hour before
the start by the periodic verification. If they are lost, the verification starts what is due.
"""

import math
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from redis import Redis
from redis.exceptions import LockError
from rq_scheduler import Scheduler

from jobs import queues

VERIFY_JOB_ID = "verify-campaigns"

PASS_S = 1.0
LOCK_S = 3
"""rq-scheduler's own lock outlives a killed holder by its interval and ten seconds, ours by three seconds in all."""


def _scheduler(connection: Redis) -> Scheduler:
    """Return rq-scheduler on our queue; costs nothing."""
    return Scheduler(queues.CAMPAIGN_SCHEDULER, connection=connection, interval=PASS_S)


def _naive_whole_second(at: datetime) -> datetime:
    """Return `at` rounded up to a whole second, naive in UTC: what rq-scheduler reads."""
    return datetime.fromtimestamp(math.ceil(at.timestamp()), UTC).replace(tzinfo=None)


def _job_id(campaign_id: int) -> str:
    return f"start-campaign-{campaign_id}"


def ensure(connection: Redis, starts: Iterable[tuple[int, datetime]]) -> None:
    """Make sure that each campaign has its start job at its time; move the job if the time was moved."""
    rq_scheduler = _scheduler(connection)
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

    A fixed id keeps it one job, whoever asks. `result_ttl=-1` keeps its hash; otherwise it would vanish after the first
    run.
    """
    rq_scheduler = _scheduler(connection)
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


class Starter:
    """rq-scheduler's work in a scheduler process: a pass each `PASS_S`. Only one of several processes makes it."""

    def __init__(self, connection: Redis) -> None:
        self._scheduler = _scheduler(connection)
        self._lock = connection.lock(Scheduler.scheduler_lock_key, timeout=LOCK_S, blocking=False)

    def make_pass(self) -> None:
        """Give a sign of life, and put what is due on the queue, unless another process is doing so."""
        if not self._scheduler.connection.exists(self._scheduler.key):
            self._scheduler.register_birth()  # The first time, and when Redis has forgotten us.
        self._scheduler.heartbeat()
        if self._lock.acquire():
            try:
                self._scheduler.enqueue_jobs()
            finally:
                # After a pass of more than `LOCK_S` seconds it is not ours any more.
                with suppress(LockError):
                    self._lock.release()

    def end(self) -> None:
        """Say that this process works no more."""
        self._scheduler.register_death()


def is_alive(connection: Redis) -> bool:
    """Say whether some scheduler process has given a sign of life in the last seconds."""
    instances = connection.scan_iter(match=f"{Scheduler.redis_scheduler_namespace_prefix}*", count=500)
    return any(not connection.hexists(key, "death") for key in instances)
