"""Every place where we reach past RQ's public calls, in one module, for one version.

Each override says why RQ 3.0.0 still needs it (read in its source, November 2026). `tests/jobs/test_rq_extensions.py`
checks each reason against RQ itself and fails when RQ no longer gives it. A worker runs its job in its own process, so
that a turn of a lane keeps its connections to the provider alive. What a crash loses is decided in PostgreSQL, not in a
queue.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import FrameType

from redis import Redis
from redis.client import Pipeline
from redis.commands.core import Script
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.version import VERSION

SUPPORTED_RQ = "3.0.0"
if VERSION != SUPPORTED_RQ:
    raise ImportError(f"jobs.rq_extensions was written for rq {SUPPORTED_RQ}, found {VERSION}")

WORKER_TTL_S = 35
"""An idle worker asks for work again after this time less 15 s. It bounds how long a dead worker seems alive."""

MAINTENANCE_INTERVAL_S = 60


def script(connection: Redis, name: str) -> Script:
    """Return one of our Lua scripts, ready to be called on `connection`."""
    return connection.register_script(_source(name))


@cache
def _source(name: str) -> str:
    return files("jobs").joinpath(f"lua/{name}.lua").read_text()


@dataclass(frozen=True, slots=True)
class Promotion:
    """How many jobs were moved, and in how many seconds the next of the others is due (None: there is none)."""

    moved: int
    next_in_s: float | None


class Promoter:
    """Moves what is due from the scheduled registries to the queues. Several may run.

    RQ's registry cuts a time to whole seconds as it is written, and RQ's scheduler cuts the present as it reads: a job
    comes up to a second early. Here the score has its fraction (see `queues.enqueue_at`), and one Lua call moves what
    is due. It stays RQ's registry, so the dashboard shows what waits, and RQ's own retries are promoted too.
    """

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
        # One queue: RQ takes jobs from a single queue with BLMOVE, but from several with BLPOP, and then a worker that
        # is killed between taking and starting loses the job for good.
        self._on_stop = on_stop
        super().__init__(
            [queue],
            name=name,
            connection=connection,
            worker_ttl=WORKER_TTL_S,
            maintenance_interval=MAINTENANCE_INTERVAL_S,
            log_job_description=False,
        )

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Give a sign of life; register again when Redis has forgotten this worker.

        RQ restores only the hash of a worker that forks, during a job, and never its place among its queue's workers.
        """
        if pipeline is None and not self.connection.hexists(self.key, "birth"):
            self.connection.delete(self.key)
            self.register_birth()  # type: ignore[no-untyped-call]
        super().heartbeat(timeout, pipeline)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Finish the job in hand and end; a second signal within a job does not cut calls in flight.

        RQ ends the process at a second signal that comes a second or more after the first.
        """
        if self._on_stop is not None:
            self._on_stop()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def die_with_parent(expected_parent: int) -> None:
    """Let the kernel end this process when its parent dies, however that dies (Linux; elsewhere nothing happens).

    When RQ's pool is killed its workers go on: with those of the next pool there would be too many.
    """
    try:
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):
        return
    if os.getppid() != expected_parent:
        os._exit(1)
