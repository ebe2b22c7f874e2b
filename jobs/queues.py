"""The queues by name, and how a job is put on one.

A job carries ids only and has a constant description (the default would print its arguments into Redis, the log and the
dashboard). It is named by its import path, so that the module that enqueues it need not import the one that does it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis import Redis
from rq import Queue, Retry
from rq.job import Job

CAMPAIGN_MESSAGES = "campaign-messages"
CAMPAIGN_NOTIFICATIONS = "campaign-notifications"
MESSAGE_RETRY = "message-retry"
CAMPAIGN_SCHEDULER = "campaign-scheduler"
DELIVERY_EVENTS = "delivery-events"
CONTACT_SYNC = "contact-sync"


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How the jobs of a queue are treated: the attempts in all, and the pauses between them in seconds."""

    attempts: int
    backoff_s: tuple[int, ...]
    timeout_s: int

    def retry(self) -> Retry | None:
        """Return RQ's form of it (`max` counts the retries after the first attempt)."""
        return Retry(max=self.attempts - 1, interval=list(self.backoff_s)) if self.attempts > 1 else None


POLICIES = {
    CAMPAIGN_MESSAGES: QueuePolicy(attempts=3, backoff_s=(2, 4), timeout_s=180),
    CAMPAIGN_NOTIFICATIONS: QueuePolicy(attempts=2, backoff_s=(2,), timeout_s=60),
    MESSAGE_RETRY: QueuePolicy(attempts=5, backoff_s=(2, 4, 8, 16), timeout_s=180),
    CAMPAIGN_SCHEDULER: QueuePolicy(attempts=3, backoff_s=(2, 4), timeout_s=120),
    DELIVERY_EVENTS: QueuePolicy(attempts=1, backoff_s=(), timeout_s=120),
    CONTACT_SYNC: QueuePolicy(attempts=3, backoff_s=(2, 4), timeout_s=300),
}
NAMES = tuple(POLICIES)

RESULT_TTL_S = 60
FAILURE_TTL_S = 7 * 86400


def queue(name: str, connection: Redis) -> Queue:
    """Return a queue by name; costs nothing."""
    return Queue(name, connection=connection)


def enqueue(connection: Redis, name: str, function: str, *args: Any, description: str, retried: bool = True) -> Job:
    """Put a job at the end of a queue."""
    policy = POLICIES[name]
    return queue(name, connection).enqueue_call(
        function,
        args=args,
        timeout=policy.timeout_s,
        result_ttl=RESULT_TTL_S,
        failure_ttl=FAILURE_TTL_S,
        description=description,
        retry=policy.retry() if retried else None,
    )


def enqueue_at(
    connection: Redis, name: str, function: str, *args: Any, at: datetime, description: str, retried: bool = True
) -> Job:
    """Put a job on a queue at an exact time; until then it waits in RQ's own scheduled registry (see `Promoter`)."""
    policy = POLICIES[name]
    target = queue(name, connection)
    with connection.pipeline() as pipeline:
        job: Job = target.enqueue_at(
            at,
            function,
            args=args,
            job_timeout=policy.timeout_s,
            result_ttl=RESULT_TTL_S,
            failure_ttl=FAILURE_TTL_S,
            description=description,
            retry=policy.retry() if retried else None,
            pipeline=pipeline,
        )
        # RQ has written the whole second.
        pipeline.zadd(target.scheduled_job_registry.key, {job.id: at.timestamp()})
        pipeline.execute()
    return job
