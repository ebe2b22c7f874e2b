"""What is stuck and what needs a person, read from the rows."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine import providers
from campaign_engine.config import Config
from campaign_engine.db import transaction
from campaign_engine.models import Campaign, User
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.outlook import diagnosis
from tests import factories
from tests.campaign_engine import cloned, numbered

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

PROVIDERS = providers.build(Config())

database_url = cloned.database_url


@pytest.fixture
def owner(session: Session) -> User:
    with transaction() as own:
        return factories.user(own, factories.company(own))


def named(troubles: Sequence[diagnosis.Trouble]) -> list[tuple[str, str]]:
    return [(each.name, each.reason) for each in troubles]


def test_accounts_that_need_a_person_are_named_with_the_reason(session: Session, owner: User) -> None:
    def account(name: str, **columns: Any) -> None:
        numbered.account(session, owner.company, name=name, **columns)

    red = {"reachable": True, "summary": "connected", "warnings": ["The quality is RED."]}
    account("well", health={"reachable": True, "summary": "connected"})
    account("off", status="deactivated", status_reason="190: expired", warning="said before")
    account("gone", status="deleted", warning="said before")
    account("silent", warning="No status has come.")
    account("red", health=red)
    account("both", warning="No status has come.", health=red)
    account("deaf", app_secret_encrypted=None)
    account("phone", provider="evolution", app_secret_encrypted=None, webhook_key="key")
    account("deaf phone", provider="evolution")
    found = diagnosis.troubles(session, providers=PROVIDERS, now=NOW)
    assert named(found.deactivated_accounts) == [("off", "190: expired")]
    assert named(found.warned_accounts) == [
        ("silent", "No status has come."),
        ("red", "The quality is RED."),
        ("both", "No status has come. The quality is RED."),
    ]
    assert named(found.accounts_without_webhook) == [
        ("deaf", "it has no app_secret to know webhooks by"),
        ("deaf phone", "it has no webhook_key to know webhooks by"),
    ]


def test_campaigns_that_the_engine_holds_are_named_and_those_of_people_not(session: Session, owner: User) -> None:
    number = numbered.account(session, owner.company)

    def paused(first: int, **why: Any) -> Campaign:
        made = numbered.running(session, owner, accounts=[number], first=first)
        lifecycle.interrupt(session, made, **{"reason": "paused by an operator", "code": "operator", **why})
        return made

    paused(0)
    stranded = paused(10, reason="none of its accounts is active", code="no_account")
    members = numbered.people(session, owner.company, count=1)
    missed = numbered.draft(session, owner, accounts=[number], lists=[members])
    missed.status_code, missed.status_reason = "missed_start", "its time passed while nothing ran"
    numbered.draft(session, owner, accounts=[number], lists=[members])
    found = diagnosis.troubles(session, providers=PROVIDERS, now=NOW).waiting_campaigns
    assert [str(each) for each in found] == [
        f"{stranded.id} “{stranded.name}”: none of its accounts is active",
        f"{missed.id} “{missed.name}”: its time passed while nothing ran",
    ]


def test_campaigns_that_stopped_at_closing_time_need_nobody_and_say_when_they_open(
    session: Session, owner: User
) -> None:
    number = numbered.account(session, owner.company)
    window = {"days": ["fri"], "start": "10:00", "end": "18:00"}
    stopping = {
        "windows": [window],
        "at_close": "stop",
        "timezone": "America/Sao_Paulo",
    }  # where it is nine on a Friday
    away = [f"{date:%Y-%m-%d}" for date in (NOW + timedelta(weeks=week) for week in range(60))]
    for at, hours in enumerate(
        (
            stopping,
            {**stopping, "timezone": "Asia/Tokyo"},
            {**stopping, "timezone": "UTC"},
            {**stopping, "holidays": away},
            None,
        )
    ):
        made = numbered.running(session, owner, accounts=[number], first=10 * at)
        lifecycle.pause_at_close(session, made.id)
        made.working_hours = hours
    session.flush()
    found = diagnosis.troubles(session, providers=PROVIDERS, now=NOW)
    assert found.waiting_campaigns == []
    assert [each.reason for each in found.closed_campaigns] == [
        "its hours open at 2026-11-20 10:00 (America/Sao_Paulo)",
        "its hours open at 2026-11-27 10:00 (Asia/Tokyo)",
        "its hours are open and it can be resumed",
        "its hours do not open within a year",
        "it has no working hours any more and can be resumed",
    ]


def test_unknown_messages_are_overdue_after_the_grace_until_somebody_decides(session: Session, owner: User) -> None:
    number = numbered.account(session, owner.company)
    made = numbered.running(session, owner, accounts=[number], count=4)
    for person, claimed_at, reason in (
        (0, NOW - timedelta(seconds=60), None),
        (1, NOW - timedelta(seconds=60), "dismissed"),
        (2, NOW - timedelta(seconds=59), None),
    ):
        session.execute(
            text(
                "UPDATE messages SET status = 'unknown', claimed_at = :at, status_reason = :reason"
                " WHERE campaign_id = :id AND phone_key = :phone_key"
            ),
            {"at": claimed_at, "reason": reason, "id": made.id, "phone_key": numbered.phone_key(person)},
        )
    found = diagnosis.standing(session, unknown_grace_s=60, now=NOW + timedelta(milliseconds=1))
    assert (found.unknown_messages, found.overdue_unknown) == (3, 1)
