"""A lane is one WhatsApp account at work; its unit of work is a turn.

A turn chooses whose message goes next, charges every limit in one call, claims that many rows, sends them and settles
them, again and again until its time budget is spent or nothing can be sent now. Before all that it confirms opt-outs,
where the account owes that to somebody. What is blocked is deferred to its exact time and the worker takes other work;
nothing is booked ahead, so a pause, a changed rate or a new campaign takes effect at the next message.
"""

import random
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from redis.exceptions import RedisError
from rq import get_current_job
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.logs import bound, get_logger
from campaign_engine.rules import fairness, pacing
from campaign_engine.rules.cool_down import Throttle
from campaign_engine.rules.waiting import OF_A_LIMIT, WaitReason
from campaign_engine.services.accounts import accounts
from campaign_engine.services.messages import claiming, resting, screening, settling
from campaign_engine.services.messages.claiming import Waiting
from campaign_engine.services.messages.planning import Candidate, Line, Plan
from jobs.lane import confirming, waking
from jobs.lane.answers import Settler, others_would_meet
from jobs.lane.calls import Pipeline
from jobs.lane.charging import Charger
from jobs.lane.journal import Journal
from jobs.lane.lease import Lease
from jobs.lane.plans import PlanInHand
from jobs.runtime import Runtime, runtime
from ratelimit import LimiterUnavailable

log = get_logger(__name__)

LONGEST_TURN_S = 60.0
"""How long a turn may go on beyond its budget while no other lane wants its worker."""

LOOK_AHEAD = 200
"""How many rows of a campaign with hours of each recipient are looked at, so as to find those whose hours are open."""

BROKEN_PAUSE_S = 2.0
"""How long a lane rests after a fault of the database broke its turn."""

CROWDED_PAUSE_S = 0.1
"""How long a lane rests when other lanes hold all the rows it could send."""

LIMITER_PAUSE_S = 2.0
"""How long a lane rests while the limiter's Redis is away."""

SHORTEST_WAIT_S = 0.03
"""How long a turn with calls in flight waits for a limit at least: at a high rate many rows then go in one statement.
What is late by this, the limit's margin lets catch up.
"""


def run_turn(account_id: int) -> None:
    """RQ job: one turn of an account's lane. Harmless when run twice or at the same time as another."""
    _run(account_id, Line.FIRST)


def run_retry_turn(account_id: int) -> None:
    """RQ job: one turn for the messages that the first line has given up on, from the account's other queue."""
    _run(account_id, Line.SECOND)


def _run(account_id: int, line: Line) -> None:
    current = runtime()
    job = get_current_job()
    with current.app.app_context(), bound(account_id=account_id, line=line):
        if job is not None:
            waking.turn_began(current.redis, account_id, job.id, line)
        token = uuid.uuid4()
        lease = Lease.take(current.redis, account_id, token, line)
        if lease is None:
            return  # Whoever holds the lane wakes us when it is free.
        with lease:
            try:
                confirming.confirm_opt_outs(current, account_id)
                turn = Turn.begin(current, account_id, token=token, lease=lease, line=line)
                again = turn.run() if turn is not None else None
            except SQLAlchemyError:
                # PostgreSQL went away or chose us to break a deadlock: not worth waiting for the verification.
                waking.arm(current.redis, account_id, at=utc_now() + timedelta(seconds=BROKEN_PAUSE_S), line=line)
                raise
        # The lease is free again: whoever takes the next turn finds the lane open.
        for turned_away in lease.turned_away:
            waking.arm(current.redis, account_id, at=utc_now(), line=turned_away)
        if turn is not None and again is not None:
            again.defer(current, account_id, line, sent=turn.sent)
        elif turn is not None and turn.sent:
            log.info("lane.finished", sent=dict(turn.sent))


@dataclass(frozen=True, slots=True)
class Deferral:
    """Why a lane stops now and when its next turn is."""

    reason: WaitReason
    until: datetime
    campaign_ids: Sequence[int]

    def defer(self, current: Runtime, account_id: int, line: Line, *, sent: Mapping[int, int]) -> None:
        """Schedule the next turn, and tell the log and whoever looks at the progress; `sent` is by campaign."""
        if line is Line.FIRST:
            waking.note_wait(current.redis, account_id, reason=self.reason, until=self.until)
        waking.arm(current.redis, account_id, at=self.until, line=line)
        log.info(
            "lane.deferred",
            reason=self.reason,
            until=self.until.isoformat(),
            campaign_ids=list(self.campaign_ids),
            sent=dict(sent),
        )


class Turn:
    """One turn. `run` returns when the lane wants to go on, or None when it has nothing left to do."""

    def __init__(self, current: Runtime, plans: PlanInHand, *, token: uuid.UUID, lease: Lease) -> None:
        account = plans.latest.account
        self._current = current
        self._plans = plans
        self._line = plans.latest.line
        self._config = current.config
        self._account_id = account.id
        self._token = token
        self._lease = lease
        self._charger = Charger(current)
        self._deadline = time.monotonic() + self._config.turn_budget_s
        self._journal = worker_journal(current)
        self._pipeline = Pipeline(
            provider=current.providers[account.provider],
            sender=accounts.sender_of(account, vault=current.vault, config=current.config),
            journal=self._journal,
            threads=current.call_threads(account.max_in_flight),
            max_in_flight=account.max_in_flight,
            stopping=current.stopping,
        )
        self.sent: Counter[int] = Counter()  # claimed and handed to the calls, by campaign
        self._settler = Settler(current, account_id=account.id, token=token, line=self._line)
        self._settler.planned(plans.latest)

    @classmethod
    def begin(cls, current: Runtime, account_id: int, *, token: uuid.UUID, lease: Lease, line: Line) -> "Turn | None":
        """Read what can be sent and return the turn that sends it; None when there is nothing."""
        plans = PlanInHand.begin(account_id, config=current.config, line=line)
        return cls(current, plans, token=token, lease=lease) if plans is not None else None

    def run(self) -> Deferral | None:
        """Send until nothing can be sent now or the budget is spent."""
        self._journal.begin(self._token, self._account_id)
        try:
            again = self._send_while_possible()
        except BaseException:
            self._abandon()
            raise
        self._journal.end()
        return again

    def _send_while_possible(self) -> Deferral | None:
        """Keep calls in flight while there is something to send; what stops us is decided anew after each answer, and
        when a limit lets the next one through.
        """
        plan: Plan | None = self._plans.latest
        while True:
            stopped = self._feed(plan) if plan is not None else None
            if self._pipeline.in_hand:
                # More may go before the first answer where a limit decides, which says when.
                if plan is None or stopped is not None or not self._charger.by_a_limit() or _one_by_one(plan):
                    self._settle(within_s=_until_the_limit(stopped))
            elif plan is None or stopped is not None:
                return stopped
            while not self._has_room():
                self._settle()
            plan = self._plan()

    def _has_room(self) -> bool:
        """Whether another claim is worth its statements; where a limit decides, any is."""
        return self._pipeline.room > 0 if self._charger.by_a_limit() else self._pipeline.has_room

    def _plan(self) -> Plan | None:
        """Return what can be sent, or None when there is nothing (more) or the lane is somebody else's."""
        plan = self._plans.current() if not self._lease.lost else None
        if plan is not None and not self._plans.is_reused:
            self._settler.planned(plan)
        return plan

    def _feed(self, plan: Plan) -> Deferral | None:
        """Claim and hand over what may go now, so that the calls never run dry; or say why nothing may go."""
        now = utc_now()
        if self._plans.stop_what_closes(now):
            return None
        choice = self._choose(plan, now)
        if isinstance(choice, Deferral):
            # Who is to stop at closing time is looked at then, whatever else is waited for.
            closings = [at for candidate in plan.candidates if (at := candidate.stops_at(now)) is not None]
            return replace(choice, until=min([choice.until, *closings]))
        if self._is_over():
            return Deferral(WaitReason.TURN_OVER, now, [item.campaign_id for item in plan.candidates])
        try:
            rows = self._claim_next(plan, choice, now, self._pipeline.room)
        except LimiterUnavailable:
            # Fail closed: without its limits nothing is sent. Nothing was claimed either.
            return Deferral(WaitReason.LIMITER_AWAY, now + timedelta(seconds=LIMITER_PAUSE_S), [])
        self.sent.update(row.campaign_id for row in rows)
        self._pipeline.feed(rows, contents={candidate.campaign_id: candidate.content for candidate in choice})
        return None

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
            return waking.others_wait(self._current.brief_redis, self._account_id, self._line)
        except RedisError:
            return True  # Answers in hand must not wait for a Redis that is away.

    def _abandon(self) -> None:
        """Settle what this turn leaves behind when it breaks: what was answered; of the rest, begun calls are unknown.

        Claims whose calls had not begun wait again.
        """
        try:
            if known := self._pipeline.abort():
                self._settler.settle(self._plans.latest, known, at_end=False)
                self._journal.settled({each.row.message_id for each in known})
            with transaction() as session:
                settling.abandon(session, token=self._token, dispatched=self._journal.dispatched())
        except SQLAlchemyError as error:
            # PostgreSQL is away. The notes must outlive this turn: the pool settles them when it is back.
            log.warning("lane.abandon_waits", error=type(error).__name__)
            leave_worker_journal()
        else:
            self._journal.end()

    def _choose(self, plan: Plan, now: datetime) -> list[Candidate] | Deferral:
        """Return the campaigns to serve now, all of one owner; or why nothing can be sent, and until when."""
        everyone = [candidate.campaign_id for candidate in plan.candidates]
        if plan.account.paced_until is not None and plan.account.paced_until > now:
            reason = WaitReason.PROVIDER_UNREACHABLE if self._settler.provider_is_away else _why_paced(plan, now)
            return Deferral(reason, plan.account.paced_until, everyone)
        if (block := self._charger.account) is not None and block.until > now:
            return Deferral(block.reason, block.until, everyone)
        ready: list[Candidate] = []
        waits: list[tuple[datetime, WaitReason]] = []
        for candidate in plan.candidates:
            ready_at, waits_for = candidate.ready(now)
            block = self._charger.owners.get(candidate.owner_id)
            if waits_for is not None:
                waits.append((ready_at, waits_for))
            elif block is not None and block.until > now:
                waits.append((block.until, block.reason))
            elif not ready or candidate.owner_id == ready[0].owner_id:
                ready.append(candidate)
        if ready:
            return ready
        until, reason = min(waits)
        return Deferral(reason, until, everyone)

    def _claim_next(self, plan: Plan, ready: Sequence[Candidate], now: datetime, room: int) -> list[Waiting]:
        """Lock the rows that are next, charge every limit for them, and claim as many as all limits allow.

        The rows stay locked while the limiter is asked (a fraction of a millisecond), so that exactly what is charged
        is claimed. No transaction is open when the calls begin.
        """
        by_id = {candidate.campaign_id: candidate for candidate in ready}
        paced = any(candidate.pacing.account_is_paced for candidate in ready)
        waiting = {
            candidate.campaign_id: 1 if candidate.pacing.one_at_a_time else candidate.pending_count
            for candidate in ready
        }
        sequence = fairness.interleave(
            waiting,
            order=list(by_id),
            quantum=self._config.campaign_batch,
            # On probation the one message that goes first decides: its answer is waited for before the next claim.
            room=1 if paced or plan.account.on_probation else room,
        )
        counts = Counter(sequence)
        for campaign_id in counts:
            if (hours := by_id[campaign_id].hours) is not None and hours.per_recipient:
                counts[campaign_id] = max(counts[campaign_id], LOOK_AHEAD)
        with transaction() as session:
            found = claiming.next_rows(session, plan=plan, counts=counts, now=now)
            if sum(map(len, found.values())) < len(sequence):
                self._plans.mark_stale()  # Some campaign has less left than it seemed.
            if not found:
                if not self._plans.is_reused:
                    # Other accounts of the same campaigns have locked what is left; they will have sent it in a moment.
                    self._charger.block_account(now + timedelta(seconds=CROWDED_PAUSE_S), WaitReason.OTHER_ACCOUNTS)
                return []
            sendable = screening.sendable(session, found, candidates=by_id, now=now)
            rows = [sendable[campaign_id].pop(0) for campaign_id in sequence if sendable.get(campaign_id)]
            rows = screening.below_cap(session, rows, candidates=by_id, now=now)
            granted = self._charger.charge(session, plan, ready[0].owner_id, rows)
            if paced and granted and not self._take_pace(session, plan, by_id[granted[0].campaign_id].pacing, now):
                return []  # Another turn was faster. Its permits are lost to us; the promise is kept all the same.
            claiming.claim(session, account=plan.account, token=self._token, rows=granted, now=now)
            self._settler.delay(session, {row.campaign_id for row in granted}, now)
        self._plans.served(granted)
        return granted

    def _take_pace(self, session: Session, plan: Plan, pace: pacing.Pacing, now: datetime) -> bool:
        until, series = pacing.next_after(
            pace, series_count=plan.account.series_count, sent_at=now, chance=random.random()
        )
        return resting.take_pace(session, account=plan.account, until=until, series_count=series, now=now)

    def _settle(self, *, within_s: float | None = None) -> None:
        """Write what became of the rows that are answered by now, and do what it means for the account and its
        campaigns; wait for an answer, for `within_s` seconds at most.
        """
        sent = self._pipeline.take(within_s=within_s)
        if not sent:
            return
        if any(others_would_meet(each.outcome) for each in sent):
            # The next ones would fail like these. Those that have not begun go back, untried.
            sent += self._pipeline.recall()
            self._plans.mark_stale()
        self._settler.settle(self._plans.latest, sent, at_end=not self._pipeline.in_hand)
        self._journal.settled({each.row.message_id for each in sent})
        if self._pipeline.fault is not None:
            raise self._pipeline.fault


def _one_by_one(plan: Plan) -> bool:
    """Whether the answer to each message is waited for before the next one is claimed."""
    return plan.account.on_probation or any(candidate.pacing.account_is_paced for candidate in plan.candidates)


def _until_the_limit(stopped: Deferral | None) -> float | None:
    """Return for how many seconds answers may be waited for; None: as long as it takes."""
    if stopped is None or stopped.reason not in OF_A_LIMIT:
        return None
    return max(SHORTEST_WAIT_S, (stopped.until - utc_now()).total_seconds())


def _why_paced(plan: Plan, now: datetime) -> WaitReason:
    throttled = Throttle(plan.account.throttle_step, plan.account.throttled_at)
    if throttled.step_at(now) and not any(candidate.pacing.account_is_paced for candidate in plan.candidates):
        return WaitReason.COOL_DOWN
    return WaitReason.PACING


_journal: Journal | None = None


def leave_worker_journal() -> None:
    """Leave the journal of this worker process to the pool; the next turn has a new one."""
    global _journal
    if _journal is not None:
        _journal.leave()
        _journal = None


def worker_journal(current: Runtime) -> Journal:
    """Return the journal of this worker process, made at its first turn."""
    global _journal
    if _journal is None:
        _journal = Journal(current.journal_dir)
    return _journal
