"""The scheduler process: rq-scheduler, extended by exact promotion. A second one is a hot standby.

Each tick moves due turns to their queues in one Lua call, which also says when the next one is due: the tick after it
is then, and in 50 ms at the latest, because something may be scheduled meanwhile. Each second rq-scheduler's own pass
runs (starts of campaigns, the verification) and the verification is made sure of, so that a Redis that lost everything
has it back a second later.
"""

import signal
import threading
import time
import uuid

from redis.exceptions import RedisError
from rq_scheduler import Scheduler as RqScheduler

from campaign_engine.config import Config
from campaign_engine.logs import get_logger
from jobs import connections, queues, start_times
from jobs.rq_extensions import Promoter, Promotion

log = get_logger(__name__)

TICK_S = 0.05
SHORTEST_TICK_S = 0.005
"""However many turns are due one after the other, this is often enough."""

PASS_S = 1.0
LOCK_S = 3
"""Stock rq-scheduler's lock outlives a killed holder by its interval and ten seconds; ours by three in all."""


class ExactScheduler(RqScheduler):  # type: ignore[misc]
    """rq-scheduler with a short lock of its own and a loop that promotes exactly."""

    def __init__(self, config: Config) -> None:
        connection = connections.for_requests(config)
        super().__init__(queues.CAMPAIGN_SCHEDULER, connection=connection, interval=PASS_S)
        self._verify_interval_s = config.verify_interval_s
        self._promoter = Promoter(connection, queues.NAMES)
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()

    def acquire_lock(self) -> bool:
        """Take the right to run a pass; False while another scheduler has it."""
        self._lock_acquired = bool(self.connection.set(self.scheduler_lock_key, self._token, ex=LOCK_S, nx=True))
        return self._lock_acquired

    def run(self, burst: bool = False) -> None:
        """Promote every tick and pass every second, until told to stop. Outlives a Redis that is away."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        signal.signal(signal.SIGINT, lambda *_: self._stop.set())
        registered = False
        away = False
        passed_in = 0  # which second
        tick_s = TICK_S
        while not self._stop.is_set():
            try:
                if not registered:
                    self.register_birth()
                    registered = True
                tick_s = tick_after(self._promoter.promote())
                # rq-scheduler knows whole seconds only: what is due in one is started right after it has begun.
                if (second := int(time.time())) != passed_in:
                    self._pass()
                    passed_in = second
                if away:
                    log.info("scheduler.redis_back")
                    away = False
            except RedisError as error:
                if not away:
                    log.warning("scheduler.redis_away", error=type(error).__name__)
                    away = True
                self._stop.wait(0.5)
            self._stop.wait(tick_s)
            if burst:
                break
        if registered and not away:
            self.register_death()

    def _pass(self) -> None:
        if not self.connection.exists(self.key):
            self.register_birth()  # Redis has forgotten us.
        self.heartbeat()
        start_times.ensure_verification(self.connection, interval_s=self._verify_interval_s)
        if self.acquire_lock():
            try:
                self.enqueue_jobs()
            finally:
                self.remove_lock()


def tick_after(promotion: Promotion) -> float:
    """Return how many seconds to wait before the next look."""
    next_in_s = TICK_S if promotion.next_in_s is None else promotion.next_in_s
    return min(max(next_in_s, SHORTEST_TICK_S), TICK_S)


def run(config: Config) -> None:
    """Run the scheduler in this process until SIGTERM."""
    log.info("scheduler.started", verify_interval_s=config.verify_interval_s)
    ExactScheduler(config).run()
    log.info("scheduler.stopped")
