"""How the queues stand, read without any change: RQ's own counts clean registries as they count."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis import Redis
from rq import Queue
from rq.utils import utcparse

from jobs import queues
from jobs.rq_extensions import WORKER_TTL_S

SILENT_AFTER = timedelta(seconds=WORKER_TTL_S + 10)


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue: jobs by where they are, and the workers that serve it."""

    name: str
    queued: int
    scheduled: int  # waiting for their exact time
    started: int
    failed: int
    workers: int


def of_queues(connection: Redis) -> list[QueueStatus]:
    """Return the status of every queue."""
    with connection.pipeline(transaction=False) as pipeline:
        for name in queues.NAMES:
            queue = Queue(name, connection=connection)
            pipeline.llen(queue.key)
            pipeline.zcard(queue.scheduled_job_registry.key)
            pipeline.zcard(queue.started_job_registry.key)
            pipeline.zcard(queue.failed_job_registry.key)
            pipeline.smembers(f"rq:workers:{name}")
        found = pipeline.execute()
    fives = [found[at : at + 5] for at in range(0, len(found), 5)]
    return [
        QueueStatus(name, queued, scheduled, started, failed, workers=_alive(connection, keys))
        for name, (queued, scheduled, started, failed, keys) in zip(queues.NAMES, fives, strict=True)
    ]


def _alive(connection: Redis, keys: set[bytes]) -> int:
    """Count the workers that have given a sign of life lately: killed ones stay registered for a while."""
    with connection.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hget(key.decode(), "last_heartbeat")
        beats = pipeline.execute()
    now = datetime.now(UTC)
    return sum(1 for beat in beats if beat is not None and now - utcparse(beat.decode()) < SILENT_AFTER)
