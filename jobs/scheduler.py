"""The scheduler process: exact promotion, and the passes of rq-scheduler. A second one is a hot standby.

Each tick moves due turns to their queues in one Lua call, which also says when the next turn is due. The next tick is
at that time, but in 50 ms at the latest, because something may be scheduled meanwhile. Each second rq-scheduler's own
pass runs (starts of campaigns, the verification). Then the verification is scheduled if it is missing, so that a Redis
that lost everything has it back a second later.
"""

import signal
import threading
import time

from redis.exceptions import RedisError

from campaign_engine import redis_clients
from campaign_engine.config import Config
from campaign_engine.logs import get_logger
from jobs import queues, start_times
from jobs.rq_extensions import Promoter, Promotion

log = get_logger(__name__)

TICK_S = 0.05
SHORTEST_TICK_S = 0.005
"""The shortest time between two ticks: often enough, however many turns are due one after the other."""


class ExactScheduler:
    """The loop of the scheduler process."""

    def __init__(self, config: Config) -> None:
        self._connection = redis_clients.for_requests(config)
        self._verify_interval_s = config.verify_interval_s
        self._promoter = Promoter(self._connection, queues.NAMES)
        self._starter = start_times.Starter(self._connection)
        self._stop = threading.Event()

    def run(self) -> None:
        """Promote every tick and pass every second, until told to stop. Outlives a Redis that is away."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        signal.signal(signal.SIGINT, lambda *_: self._stop.set())
        away = False
        passed_in = 0  # which second
        tick_s = TICK_S
        while not self._stop.is_set():
            try:
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
        if not away:
            self._starter.end()

    def _pass(self) -> None:
        start_times.ensure_verification(self._connection, interval_s=self._verify_interval_s)
        self._starter.make_pass()


def tick_after(promotion: Promotion) -> float:
    """Return how many seconds to wait before the next look."""
    next_in_s = TICK_S if promotion.next_in_s is None else promotion.next_in_s
    return min(max(next_in_s, SHORTEST_TICK_S), TICK_S)


def run(config: Config) -> None:
    """Run the scheduler in this process until SIGTERM."""
    log.info("scheduler.started", verify_interval_s=config.verify_interval_s)
    ExactScheduler(config).run()
    log.info("scheduler.stopped")
