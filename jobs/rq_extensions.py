"""Every place where we reach past RQ's public calls, in one module, for one version.

RQ's own scheduler and rq-scheduler cut times to whole seconds and fire up to 0.9 s early; deferral here is exact: a
float score in RQ's own scheduled registry (so that the dashboard shows it) and one Lua call that promotes what is
due. A worker runs its job in its own process: a turn of a lane keeps its connections to the provider alive, and what
a crash loses is decided in PostgreSQL, not in a queue.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from types import FrameType
from typing import Any

from redis import Redis
from redis.commands.core import Script
from rq import Queue, SimpleWorker
from rq.job import Job, JobStatus
from rq.version import VERSION

SUPPORTED_RQ = "2.12.0"
if VERSION != SUPPORTED_RQ:
    raise ImportError(f"jobs.rq_extensions was written for rq {SUPPORTED_RQ}, found {VERSION}")

WORKER_TTL_S = 35
"""An idle worker asks for work again after this less 15 s; it bounds how long a dead one seems alive."""

MAINTENANCE_INTERVAL_S = 60


def script(connection: Redis, name: str) -> Script:
    """Return one of our Lua scripts, ready to be called on `connection`."""
    source = files("jobs").joinpath(f"lua/{name}.lua").read_text()
    return connection.register_script(source)


def write_scheduled(queue: Queue, job: Job, connection: Any) -> None:
    """Write a job's hash as a scheduled job of `queue`, without putting it anywhere yet."""
    job.origin = queue.name
    job._status = JobStatus.SCHEDULED
    connection.sadd(queue.redis_queues_keys, queue.key)
    job.save(pipeline=connection)


@dataclass(frozen=True, slots=True)
class Promotion:
    """How many jobs were moved, and in how many seconds the next of the others is due (None: there is none)."""

    moved: int
    next_in_s: float | None


class Promoter:
    """Moves what is due from the scheduled registries to the queues. Several may run."""

    BATCH = 1000

    def __init__(self, connection: Redis, queue_names: tuple[str, ...]) -> None:
        self._script = script(connection, "promote")
        self._keys: list[str] = []
        for name in queue_names:
            queue = Queue(name, connection=connection)
            self._keys += [queue.scheduled_job_registry.key, queue.key]

    def promote(self, *, now_s: float = 0) -> Promotion:
        """Move what is due to its queue. `now_s` is filled by tests only: 0 is the server's clock."""
        moved, next_us = self._script(keys=self._keys, args=[self.BATCH, Job.redis_job_namespace_prefix, repr(now_s)])
        return Promotion(moved=moved, next_in_s=next_us / 1e6 if next_us >= 0 else None)


class Worker(SimpleWorker):
    """A worker of one queue that runs its jobs in its own process.

    `on_stop` is told when the process was asked to end, so that a long job may end early at a good place.
    """

    log_job_description = False

    def __init__(
        self,
        queue: Queue,
        *,
        connection: Redis,
        name: str | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        # One queue: a worker on two takes jobs with BLPOP, and killed between taking and starting it loses the job.
        self._on_stop = on_stop
        super().__init__(
            [queue],
            name=name,
            connection=connection,
            worker_ttl=WORKER_TTL_S,
            maintenance_interval=MAINTENANCE_INTERVAL_S,
            log_job_description=False,
        )

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Give a sign of life; and say again who this is when Redis has forgotten it."""
        if pipeline is None and not self.connection.hexists(self.key, "birth"):
            self.connection.delete(self.key)
            self.register_birth()  # type: ignore[no-untyped-call]
        super().heartbeat(timeout, pipeline)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Finish the job in hand and end; a second signal within a job does not cut calls in flight."""
        if self._on_stop is not None:
            self._on_stop()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def die_with_parent(expected_parent: int) -> None:
    """Let the kernel end this process when its parent dies, however that dies (Linux; elsewhere nothing happens)."""
    try:
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):
        return
    if os.getppid() != expected_parent:
        os._exit(1)
