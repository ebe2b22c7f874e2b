"""Accepted messages of which no status comes: the account is warned of, once per silence, and never stopped."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from campaign_engine.db import db, transaction
from campaign_engine.models import Account, Company
from campaign_engine.services.accounts import health, watching
from campaign_engine.services.company import notifications
from tests import factories
from tests.campaign_engine import cloned

NOW = datetime(2026, 11, 20, 12, 5, tzinfo=UTC)  # 09:05 in São Paulo
PATIENCE_S = 300.0

database_url = cloned.database_url


@pytest.fixture
def company(session: Session) -> Company:
    with transaction() as own:
        own.execute(text("UPDATE accounts SET unacknowledged_since = NULL, warned_at = NULL"))
        return factories.company(own, timezone="America/Sao_Paulo")


@pytest.fixture
def account(company: Company) -> Callable[..., int]:
    """Make an account whose accepted messages wait since some minutes before `NOW`; return its id."""

    def make(minutes: float | None, **columns: Any) -> int:
        since = None if minutes is None else NOW - timedelta(minutes=minutes)
        with transaction() as session:
            return factories.account(session, company, unacknowledged_since=since, **columns).id

    return make


def watch(now: datetime = NOW) -> list[int]:
    with transaction() as session:
        return watching.warn_of_silence(session, patience_s=PATIENCE_S, now=now)


def row_of(session: Session, account_id: int) -> Mapping[str, Any]:
    return session.execute(text("SELECT * FROM accounts WHERE id = :id"), {"id": account_id}).mappings().one()


def hear(account_id: int, *, since: datetime | None = None) -> None:
    """Do what a webhook does, and then perhaps a new acceptance."""
    with transaction() as session:
        session.execute(
            text("UPDATE accounts SET unacknowledged_since = :since WHERE id = :id"), {"since": since, "id": account_id}
        )


def test_an_account_that_nothing_acknowledges_is_warned_of_once_in_the_companys_time(
    session: Session, company: Company, account: Callable[..., int]
) -> None:
    account_id = account(5, name="Loja")
    assert watch() == [account_id]
    sentence = "Messages are accepted but no status has come since 09:00: check the webhook set-up."
    row = row_of(session, account_id)
    assert (row["warning"], row["warned_at"], row["status"]) == (sentence, NOW, "active")
    assert watch(NOW + timedelta(hours=1)) == []
    [told] = notifications.of_company(session, company.id)
    assert (told.kind, told.severity, told.text) == ("acknowledgements_missing", "warning", f"Loja: {sentence}")
    assert (told.subject_kind, told.subject_id) == ("account", str(account_id))
    assert health.warnings_of(session.get_one(Account, account_id, populate_existing=True)) == [sentence]


def test_nobody_is_warned_of_before_the_time_or_of_what_does_not_send(
    session: Session, account: Callable[..., int]
) -> None:
    account(4.99)
    account(None)
    account(60, status="deactivated")
    account(60, status="deleted")
    assert watch() == []


def test_the_warning_goes_when_a_status_comes_and_a_later_silence_is_told_again(
    session: Session, company: Company, account: Callable[..., int]
) -> None:
    account_id = account(10)
    watch()
    hear(account_id)
    watch()
    row = row_of(session, account_id)
    assert (row["warning"], row["warned_at"]) == (None, None)
    session.rollback()
    hear(account_id, since=NOW)
    assert watch(NOW + timedelta(seconds=PATIENCE_S)) == [account_id]
    assert len(notifications.of_company(session, company.id)) == 2


def test_a_silence_that_began_after_the_warning_is_another_one(session: Session, account: Callable[..., int]) -> None:
    account_id = account(10)
    watch()
    later = NOW + timedelta(minutes=1)
    hear(account_id, since=later)  # a status and a new acceptance between two looks
    assert watch(later + timedelta(minutes=1)) == []
    assert row_of(session, account_id)["warning"] is None
    session.rollback()
    assert watch(later + timedelta(minutes=5)) == [account_id]


def test_the_statements_do_not_grow_with_the_accounts(session: Session, account: Callable[..., int]) -> None:
    counts = []
    for many in (1, 20):
        for _ in range(many):
            account(30)
        statements: list[str] = []
        note = lambda *given: statements.append(given[2])  # noqa: E731, B023
        event.listen(db.engine, "before_cursor_execute", note)
        assert len(watch()) == many
        event.remove(db.engine, "before_cursor_execute", note)
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 5
