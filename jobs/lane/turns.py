"""A lane is one WhatsApp account at work; its unit of work is a turn.

A turn chooses whose message goes next, charges every limit in one call, claims that many rows, sends them and settles
them, again and again until its time budget is spent or nothing can be sent now. Before all that it sends confirmations
of opt-outs that the account owes. What is blocked is deferred to its exact time, and the worker takes other work.
Nothing is booked ahead, so a pause, a changed rate or a new campaign takes effect at the next message.
"""

import time
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from redis import Redis
from redis.exceptions import RedisError
from rq import get_current_job
from sqlalchemy.exc import SQLAlchemyError

from campaign_engine.clock import utc_now
from campaign_engine.logs import bound, get_logger
from campaign_engine.services.messages.planning import Line, Plan
from campaign_engine.services.messages.serving import Deferral, Serving
from jobs import waking
from jobs.lane import confirming
from jobs.lane.answers import Settler, others_would_meet
from jobs.lane.plans import PlanInHand
from jobs.lane.worker import LaneWorker, lane_worker
from jobs.lease import Lease
from jobs.runtime import transaction
from ratelimit import LimiterUnavailable

log = get_logger(__name__)

LONGEST_TURN_S = 60.0
"""How long a turn may go on beyond its budget while no other lane wants its worker."""

BROKEN_PAUSE_S = 2.0
"""How long a lane rests after a fault of the database broke its turn."""

SHORTEST_WAIT_S = 0.03
"""How long a turn with calls in flight waits for a limit at least: at a high rate many rows then go in one statement.
The limit's margin makes up for the lateness.
"""


def run_turn(account_id: int) -> None:
    """RQ job: one turn of an account's lane. Harmless when run twice or at the same time as another."""
    _run(account_id, Line.FIRST)


def run_retry_turn(account_id: int) -> None:
    """RQ job: one turn of the second line, for messages that the first line has given up."""
    _run(account_id, Line.SECOND)


def _run(account_id: int, line: Line) -> None:
    worker, job = lane_worker(), get_current_job()
    current = worker.current
    with current.app.app_context(), bound(account_id=account_id, line=line):
        if job is not None:
            waking.turn_began(current.redis, account_id, job.id, line)
        token = uuid.uuid4()
        lease = Lease.take(current.redis, account_id, token, line)
        if lease is None:
            return  # The turn that holds the lane wakes us when it is free.
        with lease:
            # One budget for both: many confirmations must not keep the worker for twice as long.
            deadline = time.monotonic() + current.config.turn_budget_s
            try:
                confirming.confirm_opt_outs(current, account_id, deadline=deadline)
                plans = PlanInHand.begin(account_id, config=current.config, line=line)
                turn = Turn(worker, plans, token=token, lease=lease, deadline=deadline) if plans is not None else None
                again = turn.run() if turn is not None else None
            except SQLAlchemyError:
                # PostgreSQL went away or chose us to break a deadlock: not worth waiting for the verification.
                waking.arm(current.redis, account_id, at=utc_now() + timedelta(seconds=BROKEN_PAUSE_S), line=line)
                raise
        # The lease is free again, so the next turn finds the lane open.
        for turned_away in lease.turned_away:
            waking.arm(current.redis, account_id, at=utc_now(), line=turned_away)
        if turn is not None and again is not None:
            _defer(current.redis, account_id, line, again, sent=turn.sent)
        elif turn is not None and turn.sent:
            log.info("lane.finished", sent=dict(turn.sent))


def _defer(connection: Redis, account_id: int, line: Line, deferral: Deferral, *, sent: Mapping[int, int]) -> None:
    """Schedule the next turn, and tell the log and whoever looks at the progress; `sent` is by campaign."""
    if line is Line.FIRST:
        waking.note_wait(connection, account_id, reason=deferral.reason, until=deferral.until)
    waking.arm(connection, account_id, at=deferral.until, line=line)
    log.info(
        "lane.deferred",
        reason=deferral.reason,
        until=deferral.until.isoformat(),
        campaign_ids=list(deferral.campaign_ids),
        sent=dict(sent),
    )


class Turn:
    """One turn. `run` returns when the lane wants to go on, or None when it has nothing left to do."""

    def __init__(
        self, worker: LaneWorker, plans: PlanInHand, *, token: uuid.UUID, lease: Lease, deadline: float
    ) -> None:
        current, plan = worker.current, plans.latest
        self._current = current
        self._token = token
        self._lease = lease
        self._plans = plans
        self._serving = Serving(token=token, config=current.config, limiter_of=current.limiter)
        self._journal = worker.journal
        self._pipeline = worker.pipeline(plan)
        self._settler = Settler(worker, plan, token=token)
        self._deadline = deadline  # on the monotonic clock
        self.sent: Counter[int] = Counter()  # claimed and handed to the calls, by campaign

    def run(self) -> Deferral | None:
        """Send until nothing can be sent now or the budget is spent."""
        self._journal.begin(self._token, self._plans.latest.account.id)
        try:
            again = self._send_while_possible()
        except BaseException:
            self._settler.abandon(self._plans.latest, self._pipeline.abort())
            raise
        self._journal.end()
        return again

    def _send_while_possible(self) -> Deferral | None:
        """Claim and hand over, settle what is answered, and look at the plan again, so that calls are always in flight.

        What stops us is decided anew after each answer, and when a limit lets the next one through.
        """
        plan: Plan | None = self._plans.latest
        while True:
            stopped = self._hand_over(plan) if plan is not None else None
            if self._pipeline.in_hand:
                if stopped is not None or not self._more_may_go(plan):
                    self._settle(within_s=_until_the_limit(stopped))
            elif plan is None or stopped is not None:
                return stopped
            while not self._has_room():
                self._settle()
            plan = self._plan()

    def _hand_over(self, plan: Plan) -> Deferral | None:
        """Choose who is served, claim their rows and hand them to the calls; or say why nothing may go."""
        now = utc_now()
        if self._plans.stop_what_closes(now):
            return None
        choice = self._serving.choose(plan, now, provider_is_away=self._settler.provider_is_away)
        if isinstance(choice, Deferral):
            return choice
        if self._is_over():
            return Deferral.turn_over(plan, now)
        try:
            with transaction() as session:  # It ends before the calls begin.
                claim = self._serving.claim_next(session, plan, choice, now=now, room=self._pipeline.room)
        except LimiterUnavailable:
            return Deferral.limiter_away(now)  # Nothing was claimed either.
        if not claim.found_count and not self._plans.is_reused:
            self._serving.note_crowded(now)
        self._plans.served(claim)
        self.sent.update(row.campaign_id for row in claim.rows)
        self._pipeline.feed(claim.rows, contents={candidate.campaign_id: candidate.content for candidate in choice})
        return None

    def _settle(self, *, within_s: float | None = None) -> None:
        """Wait for an answer, `within_s` seconds at most. Write what became of the rows answered by then, and do what
        that means for the account and its campaigns.
        """
        sent = self._pipeline.take(within_s=within_s)
        if not sent:
            return
        if any(others_would_meet(each.outcome) for each in sent):
            # The next ones would fail like these. Those that have not begun go back, untried.
            sent += self._pipeline.recall()
            self._plans.mark_stale()
        self._settler.settle(self._plans.latest, sent, at_end=not self._pipeline.in_hand)
        if self._pipeline.fault is not None:
            raise self._pipeline.fault

    def _plan(self) -> Plan | None:
        """Return what can be sent, or None when there is nothing (more) or the lane is somebody else's."""
        plan = self._plans.current() if not self._lease.lost else None
        if plan is not None and not self._plans.is_reused:
            self._settler.planned(plan)
        return plan

    def _more_may_go(self, plan: Plan | None) -> bool:
        """Whether to claim again before the first answer: where a limit decides, which says when."""
        return plan is not None and self._serving.waits_for_a_limit(utc_now()) and not _one_by_one(plan)

    def _has_room(self) -> bool:
        """Whether another claim is worth its statements; where a limit decides, any is."""
        if self._serving.waits_for_a_limit(utc_now()):
            return self._pipeline.room > 0
        return self._pipeline.has_room

    def _is_over(self) -> bool:
        """Say whether the turn should end though it could go on: others want its worker, or the process is to end."""
        if self._current.stopping.is_set():
            return True
        now = time.monotonic()
        if now < self._deadline:
            return False
        if now > self._deadline + LONGEST_TURN_S:
            return True
        try:
            plan = self._plans.latest
            return waking.others_wait(self._current.brief_redis, plan.account.id, plan.line)
        except RedisError:
            return True  # Answers in hand must not wait for a Redis that is away.


def _one_by_one(plan: Plan) -> bool:
    """Whether each message must be answered before the next one is claimed."""
    return plan.account.on_probation or any(candidate.pacing.account_is_paced for candidate in plan.candidates)


def _until_the_limit(stopped: Deferral | None) -> float | None:
    """Return how many seconds to wait for answers at most; None: as long as it takes."""
    if stopped is None or not stopped.is_of_a_limit:
        return None
    return max(SHORTEST_WAIT_S, (stopped.until - utc_now()).total_seconds())
