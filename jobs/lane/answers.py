"""What the answers of a turn mean: for the rows, for the account and its pace, and for the campaigns."""

import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.logs import get_logger
from campaign_engine.providers.base import Accepted, Failure, NotSent, Outcome, Refused
from campaign_engine.rules.cool_down import Throttle
from campaign_engine.rules.failures import Blame
from campaign_engine.rules.pacing import Pacing
from campaign_engine.rules.retry import FIRST_LINE_ATTEMPTS
from campaign_engine.services.accounts import activation
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.company import limits
from campaign_engine.services.messages import planning, resting, settling
from campaign_engine.services.messages.planning import Line, Plan
from campaign_engine.services.people import contacts, opt_outs
from jobs import waking
from jobs.lane.calls import Sent
from jobs.lane.worker import LaneWorker
from jobs.runtime import transaction
from ratelimit import CapabilityMissing, LimiterUnavailable

log = get_logger(__name__)

UNREACHABLE_PAUSE_S = 5.0
"""How long a lane rests after its provider could not be reached: nothing left, nothing is counted."""

PATIENCE_S = 60.0
"""How long a turn tries to write its results while PostgreSQL is away."""

COMPLETION_S = 1.0
"""How often a turn that goes on looks for campaigns it has finished."""


class Settler:
    """Writes what became of a turn's rows. Used by the turn's own thread."""

    def __init__(self, worker: LaneWorker, plan: Plan, *, token: uuid.UUID) -> None:
        self._worker = worker
        self._current = worker.current
        self._account_id = plan.account.id
        self._token = token
        self._line = plan.line
        self._paces: dict[int, Pacing] = {}  # of every campaign this turn has served, by its id
        self._failures = plan.account.consecutive_failures  # of the account class
        self._complaint: Throttle | None = None  # what the provider's “too fast” in this turn has led to
        self._looked_for_ends_at = time.monotonic()
        self.provider_is_away = False
        """Whether the latest requests could not be handed to the provider at all."""
        self.planned(plan)

    def planned(self, plan: Plan) -> None:
        """Take note of the paces of a new plan's campaigns."""
        self._paces.update({candidate.campaign_id: candidate.pacing for candidate in plan.candidates})

    def settle(self, plan: Plan, sent: Sequence[Sent], *, at_end: bool) -> None:
        """Write what became of the rows; keep trying while PostgreSQL is away, because nobody else knows it.

        Args:
            plan: the latest plan, by which they were sent.
            sent: the rows with their answers.
            at_end: nothing else is in hand, so campaigns may have ended.

        Side effects: everything that follows from the answers; wakes the second line for rows that the first gave up.

        Raises:
            OperationalError: PostgreSQL stayed away for too long.
        """
        give_up_at = time.monotonic() + PATIENCE_S
        pause_s = 0.1
        while True:
            try:
                self._settle(plan, sent, at_end=at_end)
                break
            except OperationalError:
                if time.monotonic() > give_up_at:
                    raise
                log.warning("lane.settle_waits", rows=len(sent))
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, 2.0)
        self._worker.journal.settled({each.row.message_id for each in sent})
        self._wake_second_line(sent)

    def abandon(self, plan: Plan, known: Sequence[Sent]) -> None:
        """Settle what a broken turn leaves behind: what was answered; of the rest, begun calls are unknown.

        Claims whose calls had not begun wait again.

        Side effects: ends the notes in the journal; or leaves them to the pool while PostgreSQL is away.
        """
        try:
            if known:
                self.settle(plan, known, at_end=False)
            with transaction() as session:
                settling.abandon(session, token=self._token, dispatched=self._worker.journal.dispatched())
        except SQLAlchemyError as error:
            log.warning("lane.abandon_waits", error=type(error).__name__)
            self._worker.leave_journal()
        else:
            self._worker.journal.end()

    def _settle(self, plan: Plan, sent: Sequence[Sent], *, at_end: bool) -> None:
        now = utc_now()
        outcomes = [each.outcome for each in sent if each.outcome is not None]
        with transaction() as session:
            settling.settle(session, token=self._token, settlements=[each.settlement for each in sent])
            contacts.remember_aliases(session, _aliases(sent))
            opt_outs.note_refused(session, _refusing_marketing(sent), now=now)
            complaint = self._rest_after(session, plan, sent, now)
            paces = {each.row.campaign_id: self._paces[each.row.campaign_id] for each in sent}
            resting.delay_campaigns(session, account_id=self._account_id, paces=paces, now=now)
            failures = self._count_failures(session, plan, outcomes, now)
            lifecycle.pause_where_content_fails(session, _campaigns_at_fault(sent))
            if at_end or time.monotonic() >= self._looked_for_ends_at + COMPLETION_S:
                self._looked_for_ends_at = time.monotonic()
                lifecycle.complete_finished(session, planning.drained_campaigns(session, self._account_id), now=now)
        # Only now: a settlement that is tried again must not count the same failures or complaints twice.
        self._failures = failures
        self._complaint = complaint
        if outcomes:
            self.provider_is_away = all(isinstance(outcome, NotSent) for outcome in outcomes)

    def _wake_second_line(self, sent: Iterable[Sent]) -> None:
        """Arm the second line's turn for the rows that the first line has given up."""
        given_up = [
            each.settlement.next_attempt_at
            for each in sent
            if each.settlement.next_attempt_at is not None and each.attempts_made >= FIRST_LINE_ATTEMPTS
        ]
        if given_up and self._line is Line.FIRST:
            with suppress(RedisError):  # The verification does it a little later.
                waking.arm(self._current.redis, self._account_id, at=min(given_up), line=Line.SECOND)

    def _rest_after(self, session: Session, plan: Plan, sent: Iterable[Sent], now: datetime) -> Throttle | None:
        """Let the account rest from `now` on, as its pace and the provider's answers require."""
        called = [(each.row.campaign_id, each.outcome) for each in sent if each.outcome is not None]
        rest_s = max((self._paces[campaign_id].message_interval_s for campaign_id, _ in called), default=0.0)
        if any(isinstance(outcome, NotSent) for _, outcome in called):
            rest_s = max(rest_s, UNREACHABLE_PAUSE_S)
        complaints = [
            outcome.failure
            for _, outcome in called
            if isinstance(outcome, Refused) and outcome.meaning.blames is Blame.PACE
        ]
        complaint = self._complaint
        if complaints:
            complaint = self._throttle(session, plan, now)
            rest_s = max(rest_s, self._cool_down(plan, complaint, complaints, now))
        if rest_s > 0:
            resting.extend_pause(session, account_id=self._account_id, until=now + timedelta(seconds=rest_s))
        return complaint

    def _throttle(self, session: Session, plan: Plan, now: datetime) -> Throttle:
        """Halve the account's rate after a “too fast”, and return how often it is halved now.

        It is one complaint a turn, however many calls in flight were refused and whenever their answers arrive.
        """
        if self._complaint is not None:
            return self._complaint
        throttled = Throttle(plan.account.throttle_step, plan.account.throttled_at).after_complaint(now)
        resting.throttle(session, account_id=plan.account.id, throttled=throttled)
        return throttled

    def _cool_down(self, plan: Plan, throttled: Throttle, complaints: Sequence[Failure], now: datetime) -> float:
        """Empty the account's bucket for as long as it rests; return how long that is, in seconds."""
        asked = [failure.retry_after_s for failure in complaints if failure.retry_after_s is not None]
        rest_s = throttled.rest_s(max(asked) if asked else None)
        log.warning("account.throttled", code=complaints[0].code, rest_s=rest_s, rate_halved=throttled.step)
        # The bucket is empty when the rest is over: one message, then the plain rate.
        with suppress(LimiterUnavailable, CapabilityMissing):
            limit = limits.of_account(plan.account, plan.company, self._current.config)
            self._current.limiter(plan.company.id).penalize(limit, until=now + timedelta(seconds=rest_s))
        return rest_s

    def _count_failures(self, session: Session, plan: Plan, outcomes: Sequence[Outcome], now: datetime) -> int:
        """Write and return the consecutive account-class failures; one acceptance resets them."""
        failures, reason, accepted = self._failures, "", False
        for outcome in outcomes:
            if isinstance(outcome, Accepted):
                failures, accepted = 0, True
            elif isinstance(outcome, Refused) and outcome.meaning.blames is Blame.ACCOUNT:
                failures += 1
                reason = f"{outcome.failure.code}: {outcome.failure.detail}"
        if accepted and plan.account.unacknowledged_since is None:
            activation.expect_acknowledgement(session, account_id=self._account_id, now=now)
        if failures != self._failures or (accepted and plan.account.on_probation):
            activation.note_results(
                session, account_id=self._account_id, consecutive_failures=failures, accepted=accepted
            )
        threshold = 1 if plan.account.on_probation and not accepted else self._current.config.account_failure_threshold
        if reason and failures >= threshold:
            activation.deactivate(session, self._account_id, reason=reason)
        return failures


def others_would_meet(outcome: Outcome | None) -> bool:
    """Whether the next messages, from the same account or of the same campaign, would fail in the same way."""
    return isinstance(outcome, NotSent | Refused) and outcome.meaning.others_would_meet_it


def _aliases(sent: Iterable[Sent]) -> dict[int, str]:
    """Return how the provider spells contacts, by contact id, where it differs from what was sent."""
    return {
        each.row.contact_id: each.outcome.wa_id
        for each in sent
        if each.row.contact_id is not None
        and isinstance(each.outcome, Accepted)
        and each.outcome.wa_id
        and each.outcome.wa_id != each.row.phone[1:]
    }


def _refusing_marketing(sent: Iterable[Sent]) -> dict[uuid.UUID, str]:
    """Return the messages whose people have switched our marketing off, with the code each failed with."""
    return {
        each.row.message_id: each.outcome.failure.code
        for each in sent
        if isinstance(each.outcome, Refused) and each.outcome.failure.person_refuses_marketing
    }


def _campaigns_at_fault(sent: Iterable[Sent]) -> set[int]:
    return {
        each.row.campaign_id
        for each in sent
        if isinstance(each.outcome, Refused) and each.outcome.meaning.blames is Blame.CAMPAIGN
    }
