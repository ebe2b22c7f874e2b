"""Accounts that fall away and come back, and what that means for their campaigns."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.errors import InvalidInput
from campaign_engine.models import Account, AuditEntry, Campaign, Company, Notification, User
from campaign_engine.services.accounts import activation
from campaign_engine.services.campaigns import lifecycle
from tests import factories
from tests.campaign_engine import numbered


def _standing(session: Session, made: Campaign) -> tuple[str, str | None]:
    session.refresh(made)
    return made.status, made.status_code


def _told(session: Session, company: Company) -> list[tuple[str, str | None]]:
    found = session.query(Notification).filter_by(company_id=company.id).order_by(Notification.id)
    return [(each.kind, each.subject_id) for each in found]


def test_a_deactivation_is_told_and_written_down_once(session: Session, company: Company) -> None:
    number = numbered.account(session, company)
    assert activation.deactivate(session, number.id, reason="190: expired")
    assert not activation.deactivate(session, number.id, reason="190: again")
    session.refresh(number)
    assert (number.status, number.status_reason) == ("deactivated", "190: expired")
    assert _told(session, company) == [("account_deactivated", str(number.id))]
    [entry] = session.query(AuditEntry).filter_by(company_id=company.id)
    assert (entry.action, entry.subject_id, entry.actor_id) == ("account.deactivated", str(number.id), None)
    assert entry.details == {"reason": "190: expired"}


def test_a_campaign_pauses_when_its_last_account_falls_away_and_goes_on_when_one_is_back(
    session: Session, company: Company, owner: User
) -> None:
    one, two = (numbered.account(session, company) for _ in range(2))
    both = numbered.running(session, owner, accounts=[one, two], first=0)
    first_only = numbered.running(session, owner, accounts=[one], first=100)
    by_hand = numbered.running(session, owner, accounts=[one], first=200)
    lifecycle.pause(session, by_hand)

    activation.deactivate(session, one.id, reason="131031: locked")
    assert _standing(session, both) == ("running", None)
    assert _standing(session, first_only) == ("paused", "no_account")
    assert first_only.status_reason is not None
    assert "131031: locked" in first_only.status_reason
    activation.deactivate(session, two.id, reason="131031: locked")
    assert _standing(session, both) == ("paused", "no_account")
    assert [kind for kind, _ in _told(session, company)].count("campaign_paused") == 2

    assert activation.reactivate(session, two, now=numbered.NOW) == [both.id]
    assert _standing(session, both) == ("running", None)
    assert _standing(session, first_only) == ("paused", "no_account")
    assert activation.reactivate(session, one, now=numbered.NOW) == [first_only.id]
    assert _standing(session, by_hand) == ("paused", "operator")


def test_a_test_send_that_waits_for_its_account_tells_nobody(session: Session, company: Company, owner: User) -> None:
    number = numbered.account(session, company)
    made = numbered.running(session, owner, accounts=[number])
    made.kind = "test"
    session.flush()
    activation.deactivate(session, number.id, reason="131031: locked")
    assert _standing(session, made) == ("paused", "no_account")
    assert [kind for kind, _ in _told(session, company)] == ["account_deactivated"]


def test_a_campaign_that_runs_without_any_account_is_found(session: Session, company: Company, owner: User) -> None:
    number = numbered.account(session, company)
    made = numbered.running(session, owner, accounts=[number])
    session.execute(text("UPDATE accounts SET status = 'deactivated' WHERE id = :id"), {"id": number.id})
    assert activation.pause_stranded(session) == [made.id]
    assert _standing(session, made) == ("paused", "no_account")
    assert activation.pause_stranded(session) == []


def test_a_reactivated_account_is_on_probation_until_a_message_is_accepted(session: Session, company: Company) -> None:
    number = numbered.account(session, company)
    activation.note_results(session, account_id=number.id, consecutive_failures=5, accepted=False)
    activation.deactivate(session, number.id, reason="190: expired")
    activation.reactivate(session, number, now=numbered.NOW)
    assert (number.status, number.status_reason, number.consecutive_failures) == ("active", None, 0)
    assert number.on_probation
    activation.note_results(session, account_id=number.id, consecutive_failures=0, accepted=True)
    session.refresh(number)
    assert not number.on_probation


def test_only_a_deactivated_account_is_reactivated(session: Session, company: Company) -> None:
    active, deleted = factories.account(session, company), factories.account(session, company, status="deleted")
    for each in (active, deleted):
        assert activation.reactivate(session, each, now=numbered.NOW) == []
        assert not each.on_probation
    assert deleted.status == "deleted"
    assert session.query(AuditEntry).count() == 0


def test_the_wait_for_an_acknowledgement_begins_with_the_first_acceptance(session: Session, company: Company) -> None:
    number: Account = numbered.account(session, company)
    activation.expect_acknowledgement(session, account_id=number.id, now=numbered.NOW)
    activation.expect_acknowledgement(session, account_id=number.id, now=numbered.NOW.replace(hour=13))
    session.refresh(number)
    assert number.unacknowledged_since == numbered.NOW


def test_a_campaign_that_waits_although_an_account_is_active_is_found(
    session: Session, company: Company, owner: User
) -> None:
    one, two = (numbered.account(session, company) for _ in range(2))
    made = numbered.running(session, owner, accounts=[one, two])
    lifecycle.interrupt(session, made, reason="none of its accounts is active", code=activation.NO_ACCOUNT)
    by_hand = numbered.running(session, owner, accounts=[one], first=100)
    lifecycle.pause(session, by_hand)
    activation.deactivate(session, one.id, reason="131031: locked")
    assert activation.resume_what_can_send(session, now=numbered.NOW) == [made.id]
    assert _standing(session, by_hand) == ("paused", "operator")


def test_closing_time_keeps_no_account_from_coming_back(session: Session, company: Company, owner: User) -> None:
    number = numbered.account(session, company)
    made = numbered.running(session, owner, accounts=[number])
    over = {"windows": [{"days": ["mon"], "start": "08:00", "end": "18:00"}], "timezone": "UTC", "at_close": "stop"}
    made.working_hours, made.funnel_sent_count = over, 1
    session.flush()
    activation.deactivate(session, number.id, reason="131031: locked")
    # Its next turn stops it, and says that it is closing time.
    assert activation.reactivate(session, number, now=numbered.NOW) == [made.id]
    assert _standing(session, made) == ("running", None)


def test_nobody_resumes_what_has_no_active_account(session: Session, company: Company, owner: User) -> None:
    number = numbered.account(session, company)
    made = numbered.running(session, owner, accounts=[number])
    activation.deactivate(session, number.id, reason="131031: locked")
    session.refresh(made)
    with pytest.raises(InvalidInput, match="131031: locked"):
        lifecycle.resume(session, made, now=numbered.NOW)
    assert _standing(session, made) == ("paused", "no_account")
