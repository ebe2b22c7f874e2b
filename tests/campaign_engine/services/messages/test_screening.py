"""Who is written to at all, looked at in the moment of sending."""

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.models import Account, Campaign, Company, User
from campaign_engine.services.messages import claiming, planning, screening
from campaign_engine.services.messages.claiming import LockedRow
from campaign_engine.services.messages.planning import Plan
from tests.campaign_engine import numbered

NOW = numbered.NOW
"""A Friday, noon in UTC: 9 o'clock in São Paulo, 8 in Manaus."""


@pytest.fixture
def number(session: Session, company: Company) -> Account:
    return numbered.account(session, company)


def _plan(session: Session, number: Account) -> Plan:
    plan = planning.plan(session, number.id, config=Config())
    assert plan is not None
    return plan


def _sendable(session: Session, number: Account, made: Campaign, *, now: datetime = NOW) -> list[LockedRow]:
    """Return the rows that pass the whole screen."""
    plan = _plan(session, number)
    candidates = {each.campaign_id: each for each in plan.candidates}
    found = claiming.next_rows(session, plan=plan, counts={made.id: 50}, now=now)
    left = screening.sendable(session, found, candidates=candidates, now=now)
    return screening.below_cap(session, left.get(made.id, []), candidates=candidates, now=now)


def _send(session: Session, number: Account, rows: list[LockedRow], *, now: datetime = NOW) -> None:
    claiming.claim(session, account=number, token=uuid.uuid4(), rows=rows, now=now)
    session.execute(text("UPDATE messages SET status = 'sent', accepted_at = claimed_at WHERE status = 'sending'"))


def _reasons(session: Session, made: Campaign) -> dict[str, str | None]:
    rows = session.execute(
        text("SELECT phone, status_reason FROM messages WHERE campaign_id = :id AND status = 'skipped'"),
        {"id": made.id},
    )
    return {row.phone: row.status_reason for row in rows}


def test_a_bar_that_came_after_the_start_leaves_the_person_out_with_its_kind(
    session: Session, company: Company, owner: User, number: Account
) -> None:
    made = numbered.running(session, owner, accounts=[number], count=5)
    for at, kind in enumerate(("opted_out", "blocked", "held")):
        session.execute(
            text(
                "INSERT INTO opt_outs (company_id, phone_key, kind, source, opted_out_at)"
                " VALUES (:company, :key, :kind, 'reply', now())"
            ),
            {"company": company.id, "key": numbered.phone_key(at), "kind": kind},
        )
    assert [row.phone for row in _sendable(session, number, made)] == [numbered.phone(3), numbered.phone(4)]
    reasons = ["opted_out", "blocked", "held_for_review"]
    assert _reasons(session, made) == {numbered.phone(at): reason for at, reason in enumerate(reasons)}


def test_a_campaign_whose_last_people_are_left_out_is_completed(
    session: Session, company: Company, owner: User, number: Account
) -> None:
    made = numbered.running(session, owner, accounts=[number], count=1)
    session.execute(
        text(
            "INSERT INTO opt_outs (company_id, phone_key, source, opted_out_at) VALUES (:company, :key, 'api', now())"
        ),
        {"company": company.id, "key": numbered.phone_key(0), "now": NOW},
    )
    assert _sendable(session, number, made) == []
    session.refresh(made)
    assert made.status == "completed"


def _in_recipients_hours(session: Session, owner: User, number: Account, phones: list[str]) -> Campaign:
    hours: dict[str, Any] = {
        "windows": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "09:00", "end": "18:00"}],
        "timezone": "recipient",
    }
    made = numbered.draft(
        session,
        owner,
        accounts=[number],
        audience={"recipients": [{"phone": phone, "name": "Ana"} for phone in phones]},
        working_hours=hours,
    )
    return numbered.started(session, made)


def test_hours_of_each_recipient_let_those_wait_whose_morning_is_later(
    session: Session, owner: User, number: Account
) -> None:
    sao_paulo, manaus, lisbon = "+5511990000001", "+5592990000001", "+351910000001"
    made = _in_recipients_hours(session, owner, number, [sao_paulo, manaus, lisbon])
    assert [row.phone for row in _sendable(session, number, made)] == [sao_paulo, lisbon]
    [waiting] = session.execute(text("SELECT phone, next_attempt_at FROM messages WHERE next_attempt_at IS NOT NULL"))
    assert tuple(waiting) == (manaus, datetime(2026, 11, 20, 13, 0, tzinfo=UTC))
    _send(session, number, _sendable(session, number, made))
    [candidate] = _plan(session, number).candidates
    assert candidate.ready(NOW) == (waiting.next_attempt_at, "outside_hours")
    session.execute(text("UPDATE messages SET attempts = 1 WHERE status = 'pending'"))
    [retry] = _plan(session, number).candidates
    assert retry.ready(NOW) == (waiting.next_attempt_at, "outside_hours")
    assert [row.phone for row in _sendable(session, number, made, now=waiting.next_attempt_at)] == [manaus]


def test_a_person_who_has_had_the_cap_of_all_campaigns_is_left_out(
    session: Session, company: Company, owner: User, number: Account
) -> None:
    first = numbered.running(session, owner, accounts=[number], count=2)
    _send(session, number, _sendable(session, number, first))
    company.settings = {**company.settings, "frequency_cap": "1/7 days"}
    session.flush()
    second = _to_the_same_people(session, owner, number, count=3)
    assert [row.phone for row in _sendable(session, number, second)] == [numbered.phone(2)]
    assert set(_reasons(session, second).values()) == {"frequency_cap"}
    assert set(_reasons(session, second)) == {numbered.phone(0), numbered.phone(1)}


@pytest.mark.parametrize(
    ("own", "passed", "people"),
    [
        ("none", timedelta(0), 2),
        ("2/7 days", timedelta(0), 2),
        (None, timedelta(days=6), 0),
        (None, timedelta(days=7, seconds=1), 2),
    ],
)
def test_a_campaigns_own_cap_goes_before_the_companys_and_a_cap_is_over_after_its_time(
    session: Session, company: Company, owner: User, number: Account, own: str | None, passed: timedelta, people: int
) -> None:
    company.settings = {**company.settings, "frequency_cap": "1/7 days"}
    first = numbered.running(session, owner, accounts=[number], count=2)
    _send(session, number, _sendable(session, number, first))
    second = _to_the_same_people(session, owner, number, count=2)
    second.frequency_cap = own
    session.flush()
    assert len(_sendable(session, number, second, now=NOW + passed)) == people


def test_what_failed_or_was_left_out_does_not_count_towards_the_cap(
    session: Session, company: Company, owner: User, number: Account
) -> None:
    first = numbered.running(session, owner, accounts=[number], count=2)
    _send(session, number, _sendable(session, number, first))
    session.execute(text("UPDATE messages SET status = 'failed'"))
    company.settings = {**company.settings, "frequency_cap": "1/7 days"}
    session.flush()
    assert len(_sendable(session, number, _to_the_same_people(session, owner, number, count=2))) == 2


def test_two_campaigns_in_one_claim_each_go_by_their_own_cap(
    session: Session, company: Company, owner: User, number: Account
) -> None:
    first = numbered.running(session, owner, accounts=[number], count=1)
    _send(session, number, _sendable(session, number, first))
    free, strict, loose = (_to_the_same_people(session, owner, number, count=1) for _ in range(3))
    free.frequency_cap, strict.frequency_cap, loose.frequency_cap = "none", "1/7 days", "5/7 days"
    session.flush()
    plan = _plan(session, number)
    candidates = {each.campaign_id: each for each in plan.candidates}
    found = claiming.next_rows(session, plan=plan, counts=dict.fromkeys(candidates, 1), now=NOW)
    rows = [row for campaign in (loose, strict, free) for row in found[campaign.id]]
    left = screening.below_cap(session, rows, candidates=candidates, now=NOW)
    assert [row.campaign_id for row in left] == [loose.id, free.id]
    assert set(_reasons(session, strict).values()) == {"frequency_cap"}
    assert _reasons(session, loose) == _reasons(session, free) == {}


def test_two_accounts_that_are_about_to_write_to_one_person_count_each_others_message(
    session: Session, company: Company, owner: User, number: Account, other_session: Callable[[], Session]
) -> None:
    company.settings = {**company.settings, "frequency_cap": "1/7 days"}
    other_number = numbered.account(session, company)
    numbered.running(session, owner, accounts=[number], count=5)
    _to_the_same_people(session, owner, other_number, count=5)
    session.commit()
    claimed: list[int] = []
    together = threading.Barrier(2)

    def turn(account_id: int) -> None:
        mine = other_session()
        account = mine.get_one(Account, account_id)
        [campaign_id] = [each.campaign_id for each in _plan(mine, account).candidates]
        together.wait()
        rows = _sendable(mine, account, mine.get_one(Campaign, campaign_id))
        claiming.claim(mine, account=account, token=uuid.uuid4(), rows=rows, now=NOW)
        mine.commit()
        claimed.append(len(rows))

    threads = [threading.Thread(target=turn, args=(each.id,)) for each in (number, other_number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claimed) == 5
    twice = text("SELECT contact_id FROM messages WHERE status = 'sending' GROUP BY contact_id HAVING count(*) > 1")
    assert session.execute(twice).all() == []


def _to_the_same_people(session: Session, owner: User, number: Account, *, count: int) -> Campaign:
    recipients = [{"phone": numbered.phone(at), "name": "Ana"} for at in range(count)]
    made = numbered.draft(session, owner, accounts=[number], audience={"recipients": recipients})
    return numbered.started(session, made)
