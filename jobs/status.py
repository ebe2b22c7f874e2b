"""What the queues look like, without changing anything: RQ's own counts would clean registries as they count."""

from dataclasses import dataclass

from redis import Redis
from rq import Queue

from jobs import queues


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue: jobs by where they are, and the workers that serve it."""

    name: str
    queued: int
    deferred: int  # waiting for their exact time
    started: int
    failed: int
    workers: int


def of_queues(connection: Redis) -> list[QueueStatus]:
    """Return the status of every queue, in one round trip."""
    with connection.pipeline(transaction=False) as pipeline:
        for name in queues.NAMES:
            queue = Queue(name, connection=connection)
            pipeline.llen(queue.key)
            pipeline.zcard(queue.scheduled_job_registry.key)
            pipeline.zcard(queue.started_job_registry.key)
            pipeline.zcard(queue.failed_job_registry.key)
            pipeline.scard(f"rq:workers:{name}")
        counts = pipeline.execute()
    return [QueueStatus(name, *counts[at * 5 : at * 5 + 5]) for at, name in enumerate(queues.NAMES)]


def scheduler_is_alive(connection: Redis) -> bool:
    """Say whether some scheduler process has given a sign of life in the last seconds."""
    return any(
        not connection.hexists(key, "death") for key in connection.scan_iter(match="rq:scheduler_instance:*", count=500)
    )
