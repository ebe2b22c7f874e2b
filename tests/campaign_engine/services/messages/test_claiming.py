"""Claim, send, settle: the rows' side of it."""

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.models import Account, Campaign, Company
from campaign_engine.providers.base import Accepted, Failure, Lost, NotSent, Refused
from campaign_engine.rules import retry
from campaign_engine.rules.failures import ErrorClass
from campaign_engine.rules.pacing import Pacing
from campaign_engine.rules.states import MessageStatus
from campaign_engine.services.accounts import activation
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.messages import claiming, planning, resting, settling
from campaign_engine.services.messages.claiming import LockedRow
from campaign_engine.services.messages.planning import Line
from campaign_engine.services.outlook import progress
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.numbered import NOW

LATER = NOW + timedelta(seconds=1)


@pytest.fixture
def number(session: Session) -> Account:
    owner = factories.user(session, factories.company(session))
    return numbered.account(session, owner.company)


@pytest.fixture
def campaign(session: Session, number: Account) -> Campaign:
    owner = factories.user(session, _company(session, number))
    made = numbered.running(session, owner, accounts=[number], count=6)
    session.commit()
    return made


def _company(session: Session, number: Account) -> Company:
    return session.get_one(Company, number.company_id)


def _claim(
    session: Session,
    number: Account,
    campaign: Campaign,
    count: int,
    *,
    now: datetime = NOW,
    line: Line = Line.FIRST,
) -> tuple[uuid.UUID, list[LockedRow]]:
    token = uuid.uuid4()
    sequence = [campaign.id] * count
    rows = numbered.claim_next(session, account=number, token=token, sequence=sequence, now=now, line=line)
    session.commit()
    return token, rows


def _settle(
    session: Session, token: uuid.UUID, rows: list[LockedRow], outcome: object, *, now: datetime = LATER
) -> int:
    settled = settling.settle(
        session,
        token=token,
        settlements=[settling.settlement_of(row, outcome, now=now) for row in rows],  # type: ignore[arg-type]
    )
    session.commit()
    return settled


def _states(session: Session) -> dict[str, int]:
    rows = session.execute(text("SELECT status, count(*) AS n FROM messages GROUP BY status"))
    return {row.status: row.n for row in rows}


def _refused(error_class: ErrorClass, **values: object) -> Refused:
    return Refused(Failure(error_class=error_class, code="1", detail="no", **values))  # type: ignore[arg-type]


def test_two_turns_at_once_never_claim_the_same_row(
    session: Session, other_session: Callable[[], Session], number: Account, campaign: Campaign
) -> None:
    claimed: list[list[LockedRow]] = []
    barrier = threading.Barrier(2)

    def claim(own: Session) -> None:
        barrier.wait()
        claimed.append(_claim(own, number, campaign, 4)[1])
        own.commit()

    threads = [threading.Thread(target=claim, args=(other_session(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, two = claimed
    assert sorted((len(one), len(two))) == [2, 4]
    assert not {row.message_id for row in one} & {row.message_id for row in two}
    assert _states(session) == {"sending": 6}
    assert progress.miscounted(session) == []


def test_the_rows_of_each_campaign_come_in_its_order(session: Session, number: Account, campaign: Campaign) -> None:
    owner = factories.user(session, _company(session, number))
    other = numbered.running(session, owner, accounts=[number], count=6, first=100)
    plan = planning.plan(session, number.id, config=Config())
    assert plan is not None
    rows = claiming.next_rows(session, plan=plan, counts={campaign.id: 3, other.id: 2}, now=NOW)
    assert [row.phone for row in rows[campaign.id]] == [numbered.phone(at) for at in range(3)]
    assert [row.phone for row in rows[other.id]] == [numbered.phone(at) for at in range(100, 102)]


def test_a_due_retry_goes_before_a_fresh_message(session: Session, number: Account, campaign: Campaign) -> None:
    session.execute(
        text("UPDATE messages SET next_attempt_at = :now, attempts = 1 WHERE phone = :phone"),
        {"now": NOW, "phone": numbered.phone(5)},
    )
    _, rows = _claim(session, number, campaign, 2)
    assert [row.phone for row in rows] == [numbered.phone(5), numbered.phone(0)]


def test_a_retry_is_not_claimed_before_its_time(session: Session, number: Account, campaign: Campaign) -> None:
    session.execute(text("UPDATE messages SET next_attempt_at = :at, attempts = 1"), {"at": LATER})
    assert _claim(session, number, campaign, 9)[1] == []
    assert len(_claim(session, number, campaign, 9, now=LATER)[1]) == 6


def test_a_claimed_row_carries_the_contact_as_it_is_now(session: Session, number: Account, campaign: Campaign) -> None:
    session.execute(text("UPDATE contacts SET name = 'Renamed' WHERE phone = :phone"), {"phone": numbered.phone(0)})
    session.execute(
        text(
            "INSERT INTO opt_outs (company_id, phone_key, kind, source, opted_out_at)"
            " VALUES (:company, :key, 'held', 'reply', now())"
        ),
        {"company": number.company_id, "key": numbered.phone_key(1)},
    )
    _, rows = _claim(session, number, campaign, 2)
    assert rows[0].variables == {"n": "0", "name": "Renamed", "phone": numbered.phone(0)}
    assert [row.barred for row in rows] == [None, "held"]


def test_an_accepted_message_is_sent(session: Session, number: Account, campaign: Campaign) -> None:
    token, rows = _claim(session, number, campaign, 2)
    assert _settle(session, token, rows, Accepted("wamid.1", None)) == 2
    session.refresh(campaign)
    assert (campaign.sent_count, campaign.sending_count, campaign.funnel_sent_count) == (2, 0, 2)
    assert session.scalar(text("SELECT min(accepted_at) FROM messages WHERE status = 'sent'")) == LATER


def test_a_lost_answer_is_unknown_and_is_never_claimed_again(
    session: Session, number: Account, campaign: Campaign
) -> None:
    token, rows = _claim(session, number, campaign, 6)
    _settle(session, token, rows, Lost("no answer in time"))
    assert _states(session) == {"unknown": 6}
    assert _claim(session, number, campaign, 6, now=NOW + timedelta(days=30))[1] == []


@pytest.mark.parametrize(
    ("outcome", "status", "attempts"),
    [
        (NotSent("connection refused"), MessageStatus.PENDING, 0),
        (_refused(ErrorClass.THROTTLED), MessageStatus.PENDING, 0),
        (_refused(ErrorClass.ACCOUNT), MessageStatus.PENDING, 0),
        (_refused(ErrorClass.TEMPORARY), MessageStatus.PENDING, 1),
        (_refused(ErrorClass.RECIPIENT), MessageStatus.FAILED, 1),
        (_refused(ErrorClass.CAMPAIGN), MessageStatus.FAILED, 1),
        (Lost("cut"), MessageStatus.UNKNOWN, 1),
        (Accepted("wamid", None), MessageStatus.SENT, 1),
    ],
)
def test_what_an_outcome_makes_of_a_row_and_whether_the_attempt_counts(
    session: Session, number: Account, campaign: Campaign, outcome: object, status: str, attempts: int
) -> None:
    token, rows = _claim(session, number, campaign, 1)
    _settle(session, token, rows, outcome)
    row = session.execute(
        text("SELECT status, attempts, account_id FROM messages WHERE id = :id"), {"id": rows[0].message_id}
    ).one()
    assert (row.status, row.attempts) == (status, attempts)
    # A row that waits again is free for any account of the campaign.
    assert row.account_id == (None if status == MessageStatus.PENDING else number.id)
    assert progress.miscounted(session) == []


def test_temporary_failures_are_tried_eight_times_and_then_final(
    session: Session, number: Account, campaign: Campaign
) -> None:
    session.execute(text("DELETE FROM messages WHERE phone <> :phone"), {"phone": numbered.phone(0)})
    now, gaps = NOW, []
    while True:
        line = Line.FIRST if len(gaps) < retry.FIRST_LINE_ATTEMPTS else Line.SECOND
        token, rows = _claim(session, number, campaign, 1, now=now, line=line)
        assert len(rows) == 1
        _settle(session, token, rows, _refused(ErrorClass.TEMPORARY), now=now)
        due = session.scalar(text("SELECT next_attempt_at FROM messages"))
        if due is None:
            break
        gaps.append((due - now).total_seconds())
        now = due
    assert gaps == [2, 4, 30, 60, 120, 240, 480]
    assert _states(session) == {"failed": 1}


def test_a_retry_after_a_fault_that_may_have_let_it_through_waits_for_its_webhook() -> None:
    due = retry.next_attempt_at(1, now=NOW, may_have_left=True)
    assert due == NOW + timedelta(seconds=retry.RECONCILE_S)


def test_the_providers_retry_after_is_honoured() -> None:
    assert retry.next_attempt_at(1, now=NOW, retry_after_s=90.0) == NOW + timedelta(seconds=90)
    assert retry.next_attempt_at(1, now=NOW, retry_after_s=0.5) == NOW + timedelta(seconds=2)


def test_a_refused_row_waits_for_what_the_provider_asks_and_for_a_webhook_that_may_come(
    session: Session, number: Account, campaign: Campaign
) -> None:
    token, rows = _claim(session, number, campaign, 3)
    for row, said in zip(rows, ({}, {"retry_after_s": 90.0}, {"may_have_left": True}), strict=True):
        _settle(session, token, [row], _refused(ErrorClass.TEMPORARY, **said))
    due = session.scalars(text("SELECT next_attempt_at FROM messages WHERE attempts = 1 ORDER BY position")).all()
    assert [(at - LATER).total_seconds() for at in due] == [2, 90, retry.RECONCILE_S]


def test_a_settlement_of_a_turn_that_lost_its_claim_changes_nothing(
    session: Session, number: Account, campaign: Campaign
) -> None:
    _, rows = _claim(session, number, campaign, 2)
    assert _settle(session, uuid.uuid4(), rows, Accepted("wamid", None)) == 0
    assert _states(session) == {"sending": 2, "pending": 4}


def test_a_webhook_that_was_faster_is_not_overwritten(session: Session, number: Account, campaign: Campaign) -> None:
    token, rows = _claim(session, number, campaign, 1)
    session.execute(
        text("UPDATE messages SET status = 'delivered', delivered_at = :at WHERE id = :id"),
        {"at": NOW, "id": rows[0].message_id},
    )
    _settle(session, token, rows, Accepted("wamid.7", None))
    row = session.execute(text("SELECT * FROM messages WHERE id = :id"), {"id": rows[0].message_id}).one()
    assert (row.status, row.provider_message_id, row.accepted_at) == ("delivered", "wamid.7", LATER)


def test_claims_of_a_dead_worker_become_unknown_only_where_the_call_had_begun(
    session: Session, number: Account, campaign: Campaign
) -> None:
    token, rows = _claim(session, number, campaign, 5)
    begun = [row.message_id for row in rows[:2]]
    assert settling.abandon(session, token=token, dispatched=begun) == 5
    assert _states(session) == {"unknown": 2, "pending": 4}
    assert session.scalar(text("SELECT max(attempts) FROM messages WHERE status = 'pending'")) == 0
    assert progress.miscounted(session) == []


def test_abandoning_after_the_claims_expired_still_frees_what_never_left(
    session: Session, number: Account, campaign: Campaign
) -> None:
    token, rows = _claim(session, number, campaign, 3)
    settling.expire_claims(session, token)
    assert _states(session) == {"unknown": 3, "pending": 3}
    settling.abandon(session, token=token, dispatched=[rows[0].message_id])
    assert _states(session) == {"unknown": 1, "pending": 5}


def test_a_turn_that_was_taken_for_dead_heals_what_it_knows(
    session: Session, number: Account, campaign: Campaign
) -> None:
    token, rows = _claim(session, number, campaign, 3)
    settling.expire_claims(session, token)
    _settle(session, token, rows[:1], Accepted("wamid.1", None))
    _settle(session, token, rows[1:2], NotSent("connection refused"))
    assert _states(session) == {"sent": 1, "pending": 4, "unknown": 1}


def test_only_old_claims_are_looked_at(session: Session, number: Account, campaign: Campaign) -> None:
    token, _ = _claim(session, number, campaign, 1)
    assert settling.claims_older_than(session, NOW) == []
    assert settling.claims_older_than(session, LATER) == [(number.id, token)]


def test_a_campaign_completes_once_when_its_last_row_is_settled(
    session: Session, number: Account, campaign: Campaign
) -> None:
    token, rows = _claim(session, number, campaign, 6)
    _settle(session, token, rows[:5], Accepted("wamid", None))
    assert lifecycle.complete_finished(session, [campaign.id], now=LATER) == []
    _settle(session, token, rows[5:], Lost("cut"))
    assert lifecycle.complete_finished(session, [campaign.id], now=LATER) == [campaign.id]
    assert lifecycle.complete_finished(session, [campaign.id], now=LATER) == []
    session.refresh(campaign)
    assert (campaign.status, campaign.finished_at, campaign.unknown_count) == ("completed", LATER, 1)


PACE = Pacing(message_interval_s=20, longer_interval_after=0, greater_interval_s=0, message_delay_s=0)


def test_the_pause_of_an_account_is_booked_by_one_turn_only(session: Session, number: Account) -> None:
    until = NOW + timedelta(seconds=20)
    assert resting.take_pace(session, account=number, pace=PACE, now=NOW)
    assert not resting.take_pace(session, account=number, pace=PACE, now=NOW)
    assert not resting.take_pace(session, account=number, pace=PACE, now=until - timedelta(microseconds=1))
    session.refresh(number)
    assert (number.paced_until, number.series_count) == (until, 1)
    assert resting.take_pace(session, account=number, pace=PACE, now=until)
    session.refresh(number)
    assert (number.paced_until, number.series_count) == (until + timedelta(seconds=20), 2)


def test_a_pause_is_never_shortened(session: Session, number: Account) -> None:
    resting.take_pace(session, account=number, pace=replace(PACE, message_interval_s=60), now=NOW)
    resting.extend_pause(session, account_id=number.id, until=NOW + timedelta(seconds=20))
    session.refresh(number)
    assert number.paced_until == NOW + timedelta(seconds=60)


def test_a_plan_serves_the_least_recently_served_first_and_leaves_out_who_cannot_send(
    session: Session, number: Account, campaign: Campaign
) -> None:
    owner = factories.user(session, _company(session, number))
    second = numbered.running(session, owner, accounts=[number], count=2, first=100)
    paused = numbered.running(session, owner, accounts=[number], count=2, first=200)
    lifecycle.pause(session, paused)
    _claim(session, number, campaign, 1)
    plan = planning.plan(session, number.id, config=Config())
    assert plan is not None
    assert [candidate.campaign_id for candidate in plan.candidates] == [second.id, campaign.id]


def test_a_deactivated_account_has_no_plan(session: Session, number: Account, campaign: Campaign) -> None:
    assert planning.plan(session, number.id, config=Config()) is not None
    assert activation.deactivate(session, number.id, reason="190: expired")
    assert planning.plan(session, number.id, config=Config()) is None


def test_a_campaign_whose_content_is_refused_three_times_pauses_with_the_providers_words(
    session: Session, number: Account, campaign: Campaign
) -> None:
    for count in range(1, 4):
        token, rows = _claim(session, number, campaign, 1)
        _settle(session, token, rows, Refused(Failure(ErrorClass.CAMPAIGN, "132015", "Template is paused")))
        lifecycle.pause_where_content_fails(session, [campaign.id])
        session.refresh(campaign)
        assert campaign.status == ("paused" if count == 3 else "running")
    assert campaign.status_reason == "the provider refuses its content (132015: Template is paused)"


def test_the_campaign_whose_last_message_is_the_longest_ago_is_next(
    session: Session, number: Account, campaign: Campaign
) -> None:
    owner = factories.user(session, _company(session, number))
    other = numbered.running(session, owner, accounts=[number], count=6, first=100)
    sequence = [campaign.id, other.id, campaign.id]
    numbered.claim_next(session, account=number, token=uuid.uuid4(), sequence=sequence, now=NOW)
    plan = planning.plan(session, number.id, config=Config())
    assert plan is not None
    assert [candidate.campaign_id for candidate in plan.candidates] == [other.id, campaign.id]


def test_failures_of_the_content_before_a_resume_count_no_more(
    session: Session, number: Account, campaign: Campaign
) -> None:
    for _ in range(3):
        token, rows = _claim(session, number, campaign, 1)
        _settle(session, token, rows, Refused(Failure(ErrorClass.CAMPAIGN, "132015", "Template is paused")), now=NOW)
    lifecycle.pause_where_content_fails(session, [campaign.id])
    session.refresh(campaign)
    assert campaign.status == "paused"
    lifecycle.resume(session, campaign, now=NOW)
    token, rows = _claim(session, number, campaign, 1)
    _settle(session, token, rows, Refused(Failure(ErrorClass.CAMPAIGN, "132000", "Another")), now=LATER)
    lifecycle.pause_where_content_fails(session, [campaign.id])
    session.refresh(campaign)
    assert campaign.status == "running"


def test_two_lanes_at_closing_time_pause_once(
    session: Session, number: Account, campaign: Campaign, other_session: Callable[[], Session]
) -> None:
    mine = other_session()
    mine.get_one(Campaign, campaign.id)
    lifecycle.pause_at_close(session, campaign.id)
    session.commit()
    lifecycle.pause_at_close(mine, campaign.id)
    assert mine.get_one(Campaign, campaign.id).status_code == "closing_time"
