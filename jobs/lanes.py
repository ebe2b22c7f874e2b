"""A lane is one WhatsApp account at work; its unit of work is a turn.

A turn chooses whose message goes next, charges every limit in one call, claims that many rows, sends them and settles
them, again and again until its time budget is spent or nothing can be sent now. What is blocked is deferred to its
exact time and the worker takes other work; nothing is booked ahead, so a pause, a changed rate or a new campaign takes
effect at the next message.
"""

import random
import time
import uuid
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rq import get_current_job
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.logs import bound, get_logger
from campaign_engine.providers.base import Accepted, ErrorClass, NotSent, Outcome, Refused
from campaign_engine.rules import fairness, pacing
from campaign_engine.rules.throttling import Throttle
from campaign_engine.services import accounts, campaigns, limits, sending
from campaign_engine.services.sending import Candidate, Plan, Waiting
from jobs import queues, waking
from jobs.journal import Journal
from jobs.runtime import Runtime, runtime
from jobs.sending import Pipeline, Sent
from ratelimit import CapabilityMissing, Decision, Limit, LimiterUnavailable

log = get_logger(__name__)

UNREACHABLE_PAUSE_S = 5.0
"""How long a lane rests after its provider could not be reached: nothing left, nothing is counted."""

LONGEST_TURN_S = 60.0
"""How long a turn may go on beyond its budget while no other lane wants its worker."""

CROWDED_PAUSE_S = 0.1
"""How long a lane rests when other lanes hold all the rows it could send."""

LIMITER_PAUSE_S = 2.0
"""How long a lane rests while the limiter's Redis is away."""

SETTLE_PATIENCE_S = 60.0
"""How long a turn tries to write what it knows while PostgreSQL is away."""


def run_turn(account_id: int) -> None:
    """RQ job: one turn of an account's lane. Harmless when run twice or at the same time as another."""
    current = runtime()
    job = get_current_job()
    with current.app.app_context(), bound(account_id=account_id):
        if job is not None:
            waking.turn_began(current.redis, account_id, job.id)
        token = uuid.uuid4()
        lease = waking.Lease.take(current.redis, account_id, token)
        if lease is None:
            return
        with lease:
            again = Turn(current, account_id=account_id, token=token, lease=lease).run()
        # The lease is free again: whoever takes the next turn finds the lane open.
        if again is not None:
            again.defer(current, account_id)


@dataclass(frozen=True, slots=True)
class Deferral:
    """Why a lane stops now and when its next turn is."""

    reason: str
    until: datetime
    campaign_ids: Sequence[int]

    def defer(self, current: Runtime, account_id: int) -> None:
        """Schedule the next turn, and tell the log and whoever looks at the progress."""
        waking.note_wait(current.redis, account_id, reason=self.reason, until=self.until)
        waking.arm(current.redis, account_id, at=self.until)
        log.info(
            "lane.deferred",
            reason=self.reason,
            until=self.until.isoformat(),
            campaign_ids=list(self.campaign_ids),
        )


@dataclass(slots=True)
class Blocked:
    """What has been found blocked in this turn, and until when, so that it is not asked for again."""

    account: datetime | None = None
    account_reason: str = ""
    owners: dict[int, datetime] = field(default_factory=dict)


class Turn:
    """One turn. `run` returns when the lane wants to go on, or None when it has nothing left to do."""

    def __init__(self, current: Runtime, *, account_id: int, token: uuid.UUID, lease: waking.Lease) -> None:
        self._current = current
        self._config = current.config
        self._account_id = account_id
        self._token = token
        self._lease = lease
        self._blocked = Blocked()
        self._deadline = time.monotonic() + self._config.turn_budget_s
        self._journal = worker_journal(current)
        self._pipeline: Pipeline | None = None
        self._latest: Plan | None = None  # the last one with something to send
        self._paces: dict[int, pacing.Pacing] = {}  # of every campaign this turn has served, by its id
        self._failures = 0  # consecutive account-class failures
        self._has_complained = False  # whether the provider said “too fast” in this turn
        self._looked_for_ends_at = time.monotonic()

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
        """Keep calls in flight while there is something to send; what stops us is decided anew after each answer."""
        while True:
            if self._pipeline is not None and not self._pipeline.has_room:
                self._settle(self._pipeline.take())
                continue
            plan = self._plan()
            stopped = self._feed(plan) if plan is not None else None
            if self._pipeline is not None and self._pipeline.in_hand:
                self._settle(self._pipeline.take())
            elif plan is None or isinstance(stopped, Deferral):
                return stopped

    def _plan(self) -> Plan | None:
        """Return what can be sent, or None when there is nothing (more) or the lane is somebody else's."""
        if self._lease.lost:
            return None
        with transaction() as session:
            plan = sending.plan(session, self._account_id, config=self._config)
        if plan is None or not plan.candidates:
            return None
        if self._pipeline is None:
            self._failures = plan.account.consecutive_failures
            self._pipeline = Pipeline(
                provider=self._current.providers[plan.account.provider],
                sender=accounts.sender_of(plan.account, vault=self._current.vault, config=self._config),
                journal=self._journal,
                threads=self._current.threads(plan.account.max_in_flight),
                max_in_flight=plan.account.max_in_flight,
            )
        self._latest = plan
        self._paces.update({candidate.campaign_id: candidate.pacing for candidate in plan.candidates})
        return plan

    def _feed(self, plan: Plan) -> Deferral | None:
        """Claim and hand over what may go now, so that the calls never run dry; or say why nothing may go."""
        assert self._pipeline is not None  # noqa: S101 - a plan was made
        now = utc_now()
        if self._stop_what_closes(plan, now):
            return None
        choice = self._choose(plan, now)
        if isinstance(choice, Deferral):
            return choice
        if self._is_over():
            return Deferral("its time budget is spent", now, [item.campaign_id for item in plan.candidates])
        try:
            rows = self._claim_next(plan, choice, now, self._pipeline.room)
        except LimiterUnavailable:
            # Fail closed: without its limits nothing is sent. Nothing was claimed either.
            return Deferral("the limiter is away", now + timedelta(seconds=LIMITER_PAUSE_S), [])
        self._pipeline.feed(rows, contents={candidate.campaign_id: candidate.content for candidate in choice})
        return None

    def _is_over(self) -> bool:
        """Say whether the turn should end though it could go on: others want its worker, or the process is to end."""
        if self._current.stopping.is_set():
            return True
        now = time.monotonic()
        if now < self._deadline:
            return False
        nobody_waits = queues.is_empty(self._current.redis, queues.CAMPAIGN_MESSAGES)
        return not nobody_waits or now > self._deadline + LONGEST_TURN_S

    def _abandon(self) -> None:
        """Settle what this turn leaves behind when it breaks: begun calls are unknown, the others wait again."""
        if self._pipeline is not None:
            self._pipeline.abort()
        try:
            with transaction() as session:
                sending.abandon(session, token=self._token, dispatched=self._journal.dispatched())
        except SQLAlchemyError as error:
            # PostgreSQL is away. The notes must outlive this turn: the pool settles them when it is back.
            log.warning("lane.abandon_waits", error=type(error).__name__)
            leave_worker_journal()
        else:
            self._journal.end()

    def _stop_what_closes(self, plan: Plan, now: datetime) -> bool:
        """Pause the campaigns whose hours are over and that are not to go on by themselves; say whether any was."""
        closing = [candidate.campaign_id for candidate in plan.candidates if candidate.stops_now(now)]
        for campaign_id in closing:
            with transaction() as session:
                campaigns.pause_at_close(session, campaign_id)
        return bool(closing)

    def _choose(self, plan: Plan, now: datetime) -> list[Candidate] | Deferral:
        """Return the campaigns to serve now, all of one owner; or why nothing can be sent, and until when."""
        everyone = [candidate.campaign_id for candidate in plan.candidates]
        if plan.account.paced_until is not None and plan.account.paced_until > now:
            return Deferral(_why_paced(plan, now), plan.account.paced_until, everyone)
        if self._blocked.account is not None and self._blocked.account > now:
            return Deferral(self._blocked.account_reason, self._blocked.account, everyone)
        ready: list[Candidate] = []
        waits: list[tuple[datetime, str]] = []
        for candidate in plan.candidates:
            ready_at, waits_for = candidate.ready(now)
            owner_until = self._blocked.owners.get(candidate.owner_id)
            if ready_at > now:
                waits.append((ready_at, waits_for))
            elif owner_until is not None and owner_until > now:
                waits.append((owner_until, f"limit: {limits.OWNER_LIMIT}"))
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
            room=1 if paced else room,
        )
        with transaction() as session:
            rows = sending.next_rows(session, account=plan.account, sequence=sequence, now=now)
            if not rows:
                # Other accounts of the same campaigns have locked what is left; they will have sent it in a moment.
                self._block_account(now + timedelta(seconds=CROWDED_PAUSE_S), "other accounts of the campaign")
                return []
            opted_out = [row for row in rows if row.opted_out]
            sending.skip(session, opted_out, reason="opted_out")
            campaigns.complete_finished(session, {row.campaign_id for row in opted_out}, now=now)
            granted = self._charge(session, plan, ready[0].owner_id, [row for row in rows if not row.opted_out])
            if paced and granted and not self._take_pace(session, plan, by_id[granted[0].campaign_id].pacing, now):
                return []  # Another turn was faster. Its permits are lost to us; the promise is kept all the same.
            sending.claim(session, account=plan.account, token=self._token, rows=granted, now=now)
            self._delay(session, {row.campaign_id for row in granted}, now)
        return granted

    def _delay(self, session: Session, campaign_ids: Collection[int], now: datetime) -> None:
        """Let campaigns with a delay of their own wait for it on this account, from `now` at least."""
        sending.delay_campaigns(
            session,
            account_id=self._account_id,
            until={
                campaign_id: now + timedelta(seconds=delay_s)
                for campaign_id in campaign_ids
                if (delay_s := self._paces[campaign_id].message_delay_s) > 0
            },
        )

    def _charge(self, session: Session, plan: Plan, owner_id: int, rows: Sequence[Waiting]) -> list[Waiting]:
        """Charge the limits for the rows, in order; return those that may go.

        Rows with a limit of their own (a retry, a recipient met lately) are charged one by one, all others in one call.
        """
        granted: list[Waiting] = []
        plain: list[Waiting] = []
        for row in rows:
            own = self._own_limits(plan, row)
            if not own:
                plain.append(row)
                continue
            decision = self._acquire(plan, owner_id, [row], own)
            if decision.granted:
                granted.append(row)
            elif decision.retry_at is not None and decision.blocked_by in {limit.name for limit in own}:
                sending.postpone(session, row, until=decision.retry_at)
            else:
                return granted
        if plain:
            granted += plain[: self._acquire(plan, owner_id, plain, []).granted]
        return granted

    def _own_limits(self, plan: Plan, row: Waiting) -> list[Limit]:
        own = []
        if row.is_retry:
            own.append(limits.of_retry(row.message_id, self._config))
        if row.met_lately and plan.account.provider == "cloud_api":
            own.append(limits.of_pair(plan.account, row.phone_key))
        return own

    def _acquire(self, plan: Plan, owner_id: int, rows: Sequence[Waiting], own: Sequence[Limit]) -> Decision:
        """Charge every limit for the rows, in one call; remember when each shared one lets the next through."""
        shared = limits.of_send(plan.account, owner_id, plan.company, self._config, now=utc_now())
        charged = [*own, *shared]
        needs_members = any(limit.kind == "distinct" for limit in shared)
        decision = self._current.limiter(plan.company.id).acquire(
            charged, count=len(rows), member=[row.phone_key for row in rows] if needs_members else None
        )
        *of_account, of_owner = decision.usage[len(own) :]
        for usage in of_account:
            if usage.next_at is not None:
                self._block_account(usage.next_at, f"limit: {usage.limit.name}")
        if of_owner.next_at is not None:
            self._blocked.owners[owner_id] = of_owner.next_at
        return decision

    def _block_account(self, until: datetime, reason: str) -> None:
        if self._blocked.account is None or until > self._blocked.account:
            self._blocked.account, self._blocked.account_reason = until, reason

    def _take_pace(self, session: Session, plan: Plan, pace: pacing.Pacing, now: datetime) -> bool:
        until, series = pacing.next_after(
            pace, series_count=plan.account.series_count, sent_at=now, chance=random.random()
        )
        return sending.take_pace(session, account=plan.account, until=until, series_count=series, now=now)

    def _settle(self, sent: list[Sent]) -> None:
        """Write what became of the rows; insist while PostgreSQL is away, for what we know is known to nobody else."""
        assert self._pipeline is not None  # noqa: S101 - there was something in hand
        if any(_stops_the_account(each.outcome) for each in sent):
            # The next ones would fail like these. Those that have not begun go back, untried.
            sent += self._pipeline.recall()
        give_up_at = time.monotonic() + SETTLE_PATIENCE_S
        pause_s = 0.1
        while True:
            try:
                self._settle_once(sent)
                break
            except OperationalError:
                if time.monotonic() > give_up_at:
                    raise
                log.warning("lane.settle_waits", rows=len(sent))
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, 2.0)
        self._journal.settled({each.row.message_id for each in sent})
        if self._pipeline.fault is not None:
            raise self._pipeline.fault

    def _settle_once(self, sent: Sequence[Sent]) -> None:
        assert self._latest is not None  # noqa: S101 - a plan was made
        now, plan = utc_now(), self._latest
        outcomes = [each.outcome for each in sent if each.outcome is not None]
        with transaction() as session:
            sending.settle(session, token=self._token, settlements=[each.settlement for each in sent])
            sending.remember_aliases(session, _aliases(sent))
            self._rest_after(session, plan, sent, now)
            self._delay(session, {each.row.campaign_id for each in sent}, now)
            failures = self._count_failures(session, outcomes)
            campaigns.pause_where_content_fails(session, _campaigns_at_fault(sent))
            self._complete(session, now)
        # Only now: a settlement that is tried again must not count the same failures or complaints twice.
        self._failures = failures
        self._has_complained |= any(_is_complaint(outcome) for outcome in outcomes)

    def _complete(self, session: Session, now: datetime) -> None:
        """Complete what this lane's campaigns have finished: at the end, and once a second while it goes on."""
        assert self._pipeline is not None  # noqa: S101 - there was something in hand
        if self._pipeline.in_hand and time.monotonic() < self._looked_for_ends_at + 1.0:
            return
        self._looked_for_ends_at = time.monotonic()
        campaigns.complete_finished(session, sending.campaigns_of(session, self._account_id), now=now)

    def _rest_after(self, session: Session, plan: Plan, sent: Sequence[Sent], now: datetime) -> None:
        """Let the account rest as the pace of what was sent and the provider's answers ask for, from `now` on."""
        called = [each for each in sent if each.outcome is not None]
        outcomes = [each.outcome for each in called if each.outcome is not None]
        rest_s = max((self._paces[each.row.campaign_id].message_interval_s for each in called), default=0.0)
        if any(isinstance(outcome, NotSent) for outcome in outcomes):
            rest_s = max(rest_s, UNREACHABLE_PAUSE_S)
        rest_s = max(rest_s, self._throttle(session, plan, outcomes, now))
        if rest_s > 0:
            sending.extend_pause(session, account_id=self._account_id, until=now + timedelta(seconds=rest_s))

    def _throttle(self, session: Session, plan: Plan, outcomes: Iterable[Outcome], now: datetime) -> float:
        """After a “too fast” slow the account down; return how long it rests, in seconds.

        However many of the calls in flight were refused, and however their answers arrive, it is one complaint a turn.
        """
        complaints = [
            outcome.failure for outcome in outcomes if isinstance(outcome, Refused) and _is_complaint(outcome)
        ]
        if not complaints:
            return 0.0
        throttled = Throttle(plan.account.throttle_step, plan.account.throttled_at)
        if not self._has_complained:
            throttled = throttled.after_complaint(now)
            sending.throttle(session, account_id=plan.account.id, throttled=throttled)
        asked = [failure.retry_after_s for failure in complaints if failure.retry_after_s is not None]
        rest_s = throttled.rest_s(max(asked) if asked else None)
        log.warning("account.throttled", code=complaints[0].code, rest_s=rest_s, rate_halved=throttled.step)
        # The bucket is empty when the rest is over: one message, then the plain rate.
        with suppress(LimiterUnavailable, CapabilityMissing):
            limit = limits.of_account(plan.account, plan.company, self._config, now=now)
            self._current.limiter(plan.company.id).penalize(limit, until=now + timedelta(seconds=rest_s))
        return rest_s

    def _count_failures(self, session: Session, outcomes: Iterable[Outcome]) -> int:
        """Write and return the consecutive account-class failures; one acceptance resets them."""
        failures, reason = self._failures, None
        for outcome in outcomes:
            if isinstance(outcome, Accepted):
                failures = 0
            elif isinstance(outcome, Refused) and outcome.failure.error_class is ErrorClass.ACCOUNT:
                failures += 1
                reason = f"{outcome.failure.code}: {outcome.failure.detail}"
        if failures != self._failures:
            deactivated = accounts.record_results(
                session,
                account_id=self._account_id,
                consecutive_failures=failures,
                reason=reason,
                threshold=self._config.account_failure_threshold,
            )
            if deactivated:
                log.error("account.deactivated", reason=reason, failures=failures)
        return failures


def _is_complaint(outcome: Outcome) -> bool:
    return isinstance(outcome, Refused) and outcome.failure.error_class is ErrorClass.THROTTLED


def _stops_the_account(outcome: Outcome | None) -> bool:
    if isinstance(outcome, NotSent):
        return True
    return isinstance(outcome, Refused) and outcome.failure.error_class in (ErrorClass.THROTTLED, ErrorClass.ACCOUNT)


def _aliases(sent: Iterable[Sent]) -> dict[int, str]:
    """Return how the provider spells contacts, by contact id, where it differs from what was sent."""
    return {
        each.row.contact_id: each.outcome.wa_id
        for each in sent
        if each.row.contact_id is not None
        and isinstance(each.outcome, Accepted)
        and each.outcome.wa_id
        and each.outcome.wa_id != each.row.phone.removeprefix("+")
    }


def _campaigns_at_fault(sent: Iterable[Sent]) -> set[int]:
    return {each.row.campaign_id for each in sent if each.settlement.error_class is ErrorClass.CAMPAIGN}


def _why_paced(plan: Plan, now: datetime) -> str:
    throttled = Throttle(plan.account.throttle_step, plan.account.throttled_at)
    if throttled.step_at(now) and not any(candidate.pacing.account_is_paced for candidate in plan.candidates):
        return "cool-down: the provider said too fast"
    return "pacing of the account"


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
