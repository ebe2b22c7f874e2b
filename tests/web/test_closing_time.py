"""Campaigns that stop at closing time, while their hours are over: a click that would come to nothing is refused."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.models import Campaign, Role, User
from campaign_engine.rules.hours.working_hours import WEEKDAYS
from campaign_engine.services.campaigns import lifecycle
from tests import factories
from tests.web.conftest import Caller, problem
from tests.web.visitor import flashes, move, person, running, signed_in

Database = Callable[[], AbstractContextManager[Session]]


def _opens_at() -> datetime:
    """Return midnight in UTC of the day, within a week, that was yesterday."""
    return (utc_now() + timedelta(days=6)).replace(hour=0, minute=0, second=0, microsecond=0)


def _over() -> dict[str, Any]:
    """Return hours of yesterday's weekday."""
    window = {"days": [WEEKDAYS[_opens_at().weekday()]], "start": "00:00", "end": "00:01"}
    return {"windows": [window], "timezone": "UTC", "at_close": "stop"}


def _said() -> str:
    return f"This campaign stops outside its working hours; they open at {_opens_at():%Y-%m-%d %H:%M} (UTC)."


@pytest.fixture
def made(call: Caller, database: Database) -> int:
    """A paused campaign to three people, one of whom has got it; the message to another failed."""
    with database() as session:
        owner = session.get_one(User, call.user_id)
        account = factories.account(session, owner.company)
        campaign = running(session, owner, accounts=[account], size=3, working_hours=_over())
        move(session, campaign.id, 1, "pending", "sent", accepted_at=utc_now())
        move(session, campaign.id, 1, "pending", "failed", error_class="recipient", failed_at=utc_now())
        lifecycle.pause_at_close(session, campaign.id)
        return campaign.id


@pytest.fixture
def standing(database: Database, made: int) -> Callable[[], tuple[str, str | None, int]]:
    """Return status, status code and how many messages failed."""

    def standing() -> tuple[str, str | None, int]:
        with database() as session:
            found = session.get_one(Campaign, made, populate_existing=True)
            return found.status, found.status_code, found.failed_count

    return standing


def test_resuming_over_the_api_is_refused_with_the_time_they_open(
    call: Caller, made: int, standing: Callable[[], tuple[str, str | None, int]]
) -> None:
    answer = call("POST", f"/campaigns/{made}/resume")
    body = problem(answer, 409)
    assert (body["code"], body["detail"]) == ("outside_hours", _said())
    seconds = (_opens_at() - utc_now()).total_seconds()
    assert abs(int(answer.headers["Retry-After"]) - seconds) < 60
    assert standing() == ("paused", "closing_time", 1)


def test_resuming_on_the_page_is_refused_in_a_sentence(
    app: Flask, database: Database, call: Caller, made: int, standing: Callable[[], tuple[str, str | None, int]]
) -> None:
    with database() as session:
        visitor = signed_in(app, person(session, session.get_one(User, call.user_id).company, Role.OPERATOR))
    assert visitor.press(f"/campaigns/{made}/resume").status_code == 303
    assert flashes(visitor.see(f"/campaigns/{made}")) == [_said()]
    assert standing() == ("paused", "closing_time", 1)


def test_after_a_change_of_its_hours_it_goes_on(call: Caller, made: int) -> None:
    always = {"windows": [{"days": [*WEEKDAYS], "start": "00:00", "end": "24:00"}], "at_close": "stop"}
    assert call("PATCH", f"/campaigns/{made}", json={"working_hours": always}).status_code == 200
    assert call("POST", f"/campaigns/{made}/resume").json["status"] == "running"


def test_what_failed_is_not_tried_again_by_a_completed_campaign(
    call: Caller, database: Database, made: int, standing: Callable[[], tuple[str, str | None, int]]
) -> None:
    with database() as session:
        session.execute(text("UPDATE campaigns SET status = 'completed' WHERE id = :id"), {"id": made})
    before = standing()
    body = problem(call("POST", f"/campaigns/{made}/retry", json={"classes": ["recipient"]}), 409)
    assert (body["code"], body["detail"]) == ("outside_hours", _said())
    assert standing() == before
