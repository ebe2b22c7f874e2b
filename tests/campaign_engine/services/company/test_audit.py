"""Notifications and the audit log: read in pages, each company its own."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from campaign_engine.db import Actor, transaction
from campaign_engine.errors import NotFound
from campaign_engine.models import Company
from campaign_engine.services.company import audit, notifications, users
from tests import factories
from tests.campaign_engine import cloned

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

database_url = cloned.database_url


def told(session: Session, company: Company, count: int) -> list[int]:
    """Write so many notifications; return their ids, newest first."""
    made = [
        notifications.notify(session, company_id=company.id, kind="test", severity="info", text=f"number {at}").id
        for at in range(count)
    ]
    return made[::-1]


def test_notifications_are_marked_as_read_once_and_counted_up_to_a_bound(session: Session, company: Company) -> None:
    ids = told(session, company, 5)
    assert notifications.unread_count(session, company.id) == 5
    assert notifications.unread_count(session, company.id, most=3) == 3
    first = notifications.get(session, company.id, ids[0])
    notifications.mark_read(first, now=NOW)
    notifications.mark_read(first, now=NOW + timedelta(hours=1))
    session.flush()
    assert first.read_at == NOW
    assert [each.id for each in notifications.of_company(session, company.id, unread=True)] == ids[1:]
    assert [each.id for each in notifications.of_company(session, company.id, unread=False)] == ids[:1]
    assert [each.id for each in notifications.of_company(session, company.id, before_id=ids[1], limit=2)] == ids[2:4]


def test_what_came_after_the_newest_that_was_seen_stays_unread(session: Session, company: Company) -> None:
    ids = told(session, company, 3)
    other = told(session, factories.company(session), 1)
    assert notifications.mark_all_read(session, company.id, up_to_id=ids[1], now=NOW) == 2
    assert [each.id for each in notifications.of_company(session, company.id, unread=True)] == ids[:1]
    assert notifications.mark_all_read(session, company.id, now=NOW) == 1
    with pytest.raises(NotFound):
        notifications.get(session, company.id, other[0])


def test_an_entry_names_who_did_it_also_when_that_person_is_gone(session: Session, company: Company) -> None:
    factories.user(session, company)
    user = factories.user(session, company, email="gone@example.com", role="operator")
    for actor, action in (
        (factories.actor(user), "account.deleted"),
        (Actor("command line"), "account.created"),
        (None, "account.deactivated"),
    ):
        with transaction(actor=actor):
            audit.record(session, action, company_id=company.id, subject=7)
    users.delete(session, user)
    session.expire_all()
    found = [(each.action, each.actor_id, each.actor) for each in audit.of_company(session, company.id)]
    assert found == [
        ("user.deleted", None, None),
        ("account.deactivated", None, None),
        ("account.created", None, "command line"),
        ("account.deleted", None, "gone@example.com"),
    ]


def test_the_log_is_narrowed_down_by_subject_actor_and_action(session: Session, company: Company) -> None:
    user = factories.user(session, company)
    with transaction(actor=factories.actor(user)):
        for subject, action in (("1", "account.created"), ("2", "account.created"), ("1", "account.deleted")):
            audit.record(session, action, company_id=company.id, subject=subject)
    audit.record(session, "token.revoked", company_id=company.id, subject=1)

    def seen(**narrowed: object) -> list[tuple[str, str]]:
        found = audit.of_company(session, company.id, **narrowed)  # type: ignore[arg-type]
        return [(each.action, each.subject_id) for each in found]

    assert seen(subject=("account", "1")) == [("account.deleted", "1"), ("account.created", "1")]
    assert len(seen(subject=("account", None))) == 3
    assert seen(action="account.created", limit=1) == [("account.created", "2")]
    assert len(seen(actor_id=user.id)) == 3
    assert seen(actor_id=user.id + 10**6) == []
