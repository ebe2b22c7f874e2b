"""The worker pool of a host: one preloaded parent, one child per worker, one queue per worker.

The parent builds the application once and forks, with no connection open. Children die with it. A child that dies is
replaced, and what it had in hand is settled at once from its journal: calls that had begun become `unknown`, the others
wait again.
"""

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError
from rq import Queue
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import configure_mappers

from campaign_engine.clock import utc_now
from campaign_engine.config import Config
from campaign_engine.db import db
from campaign_engine.logs import get_logger
from campaign_engine.services.messages import settling
from campaign_engine.services.messages.planning import Line
from jobs import address_books, health_checks, importing, lease, queues, receiving, scheduling, waking
from jobs.lane import journal, turns
from jobs.rq_extensions import Worker, die_with_parent
from jobs.runtime import Runtime, build, transaction

log = get_logger(__name__)

STOP_PATIENCE_S = 40.0
"""How long calls in flight may take after SIGTERM: longer than a provider's slowest answer."""

RESPAWN_PAUSE_S = 0.5

TAKEOVER_S = 1.0
"""How often the pool looks for lanes left behind by workers of other hosts, which may be gone for good."""

SWITCH_INTERVAL_S = 0.05

GC_THRESHOLDS = (10_000, 20, 50)
"""A turn makes some hundred objects a message and no reference cycles, so Python's own rate of looking for them is
wasted work.
"""


WORK = (address_books, health_checks, importing, turns, receiving, scheduling)
"""The modules of all jobs: imported before the fork, they take time and memory once and not in every worker."""


@dataclass(slots=True)
class WorkerProcess:
    """A worker process."""

    queue: str
    pid: int
    started_at: float


class Pool:
    """All workers of this host."""

    def __init__(self, config: Config, *, only: Sequence[str] = ()) -> None:
        self._config = config
        self._wanted = {name: config.workers_of(name) for name in (only or queues.NAMES) if config.workers_of(name) > 0}
        self._runtime = build(config)
        configure_mappers()  # as with the modules: not in each worker
        self._looked_at = 0.0
        self._children: dict[int, WorkerProcess] = {}
        self._stopping = False

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; returns when every worker has ended.

        Side effects: forks; sets the signal handlers of this process.
        """
        signal.signal(signal.SIGTERM, self._request_stop)
        signal.signal(signal.SIGINT, self._request_stop)
        log.info("workers.started", **{name.replace("-", "_"): count for name, count in self._wanted.items()})
        while not self._stopping:
            self._reap()
            self._spawn_missing()
            self._settle_the_dead()
            self._take_over()
            time.sleep(0.2)
        self._stop_all()
        self._settle_the_dead()
        log.info("workers.stopped")

    def _request_stop(self, *_: object) -> None:
        self._stopping = True

    def _spawn_missing(self) -> None:
        for name, count in self._wanted.items():
            alive = sum(1 for child in self._children.values() if child.queue == name)
            for _ in range(count - alive):
                if self._stopping:
                    return
                self._spawn(name)

    def _spawn(self, name: str) -> None:
        parent = os.getpid()
        self._runtime.brief_redis.close()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                die_with_parent(parent)
                status = work(self._runtime, name)
            except BaseException:  # noqa: BLE001 - a child must never return into the parent's loop
                traceback.print_exc()
            finally:
                os._exit(status)
        self._children[pid] = WorkerProcess(queue=name, pid=pid, started_at=time.monotonic())

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is None or self._stopping:
                continue
            log.warning("worker.died", pid=pid, queue=child.queue, status=os.waitstatus_to_exitcode(status))
            if time.monotonic() - child.started_at < 1.0:
                time.sleep(RESPAWN_PAUSE_S)  # A child that cannot start must not become a fork bomb.

    def _settle_the_dead(self) -> None:
        """Settle what dead workers and broken turns of this host had in hand; again while PostgreSQL is away."""
        try:
            settle_testaments(self._runtime)
        except (OperationalError, RedisError) as error:
            log.warning("workers.recovery_waits", error=type(error).__name__)
            time.sleep(0.5)

    def _take_over(self) -> None:
        """Wake the lanes of dead workers of lost hosts, sooner than the verification does."""
        if time.monotonic() < self._looked_at + TAKEOVER_S:
            return
        try:
            wake_abandoned(self._runtime)
        except RedisError as error:
            log.warning("workers.takeover_waits", error=type(error).__name__)
        self._looked_at = time.monotonic()

    def _stop_all(self) -> None:
        """Let calls in flight finish within a bound; then end what is left."""
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)
        give_up_at = time.monotonic() + STOP_PATIENCE_S
        while self._children and time.monotonic() < give_up_at:
            self._reap()
            time.sleep(0.02)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        while self._children:
            self._reap()
            time.sleep(0.02)


def settle_testaments(current: Runtime) -> int:
    """Settle the claims of this host's dead workers and wake their lanes; return how many rows were moved.

    Raises:
        OperationalError, RedisError: a server is away; nothing is lost, call again.
    """
    moved = 0
    for path, testament in journal.testaments(current.journal_dir):
        if testament is not None:
            with current.app.app_context():
                with transaction() as session:
                    count = settling.abandon(session, token=testament.token, dispatched=testament.dispatched)
                moved += count
                lease.release(current.brief_redis, testament.account_id, testament.token)
                for line in Line:
                    waking.arm(current.brief_redis, testament.account_id, at=utc_now(), line=line)
                log.warning(
                    "claims.taken_over",
                    account_id=testament.account_id,
                    rows=count,
                    unknown=len(testament.dispatched),
                )
                db.session.remove()
                db.engine.dispose()
        path.unlink(missing_ok=True)
    return moved


def wake_abandoned(current: Runtime) -> None:
    """Give a turn to every lane whose lease ran out under a dead worker; the verification handles its claims.

    Raises:
        RedisError: Redis is away; the verification wakes the lanes that were found and not woken.
    """
    for account_id in lease.take_abandoned(current.brief_redis):
        log.warning("lane.taken_over", account_id=account_id)
        for line in Line:
            waking.arm(current.brief_redis, account_id, at=utc_now(), line=line)


def work(current: Runtime, queue_name: str) -> int:
    """Be a worker of one queue until told to stop; return the exit status."""
    current.stopping.clear()
    # A thread that has marked its message must not lose the interpreter before it has written to the socket. The others
    # give it up at every network call anyway.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*GC_THRESHOLDS)
    worker = Worker(
        Queue(queue_name, connection=current.redis),
        connection=current.redis,
        name=f"{queue_name}.{current.host}.{os.getpid()}",
        on_stop=current.stopping.set,
    )
    worker.work(logging_level="WARNING")
    return 0
