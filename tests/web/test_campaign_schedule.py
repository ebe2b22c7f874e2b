"""When a campaign starts, on its page: once, again and again, or not in time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from flask import Flask

from campaign_engine.models import Campaign, Role, User
from campaign_engine.services.campaigns import lifecycle, series
from campaign_engine.services.company import audit
from tests import factories
from tests.web.conftest import Database
from tests.web.visitor import Visitor, flashes, person, shown, signed_in
from web.pages.campaign_schedule import in_words

REASON = "its start at 2026-11-20 11:00 (America/Sao_Paulo) was missed"


@pytest.fixture
def owner(database: Database) -> User:
    with database() as session:
        return person(session, factories.company(session), Role.OPERATOR)


def _made(database: Database, owner: User, *, missed: bool = False, **values: Any) -> int:
    with database() as session:
        campaign = factories.campaign(session, session.get_one(User, owner.id), **values)
        if missed:
            now = datetime.now(UTC)
            series.write_next(session, campaign, after=now, now=now)
            lifecycle.miss(session, campaign, reason=REASON)
        return campaign.id


def _campaign(database: Database, campaign_id: int) -> Campaign:
    with database() as session:
        return session.get_one(Campaign, campaign_id, populate_existing=True)


def test_a_missed_start_is_told_with_its_two_ways_out(
    app: Flask, database: Database, owner: User, redis_client: redis.Redis
) -> None:
    visitor = signed_in(app, owner)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    again, at_once = (_made(database, owner, missed=True, scheduled_at=tomorrow) for _ in range(2))
    page = visitor.see(f"/campaigns/{again}")
    assert "Missed start" in page
    assert f"I{REASON[1:]}. Start it now or schedule it anew." in page
    assert shown(page, "activity") == f"Not started: {REASON}."

    done = visitor.press(f"/campaigns/{again}/schedule", at="2099-01-31T09:00")
    assert (done.status_code, done.location) == (303, f"/campaigns/{again}")
    scheduled = _campaign(database, again)
    assert (scheduled.status, scheduled.scheduled_at) == ("scheduled", datetime(2099, 1, 31, 12, tzinfo=UTC))
    [(_, armed)] = redis_client.zrange("rq:scheduler:scheduled_jobs", 0, -1, withscores=True)
    assert armed == scheduled.scheduled_at.timestamp()  # a whole second already
    page = visitor.see(f"/campaigns/{again}")
    assert flashes(page) == ["The campaign is scheduled."]
    with database() as session:
        [entry] = audit.of_company(session, owner.company_id, action="campaign.scheduled", actor_id=owner.id)
    assert (entry.action, entry.subject_id, entry.actor_id) == ("campaign.scheduled", str(again), owner.id)
    assert "Missed start" not in page

    assert visitor.press(f"/campaigns/{at_once}/start").status_code == 303
    assert _campaign(database, at_once).status == "preparing"
    assert 'name="at"' not in visitor.see(f"/campaigns/{at_once}")


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("", "This is not a time to start at."),
        ("soon", "This is not a time to start at."),
        ("9999-12-31T23:59", "This is not a time to start at."),
        ("2001-01-01T09:00", "This time is in the past; leave it out and start the campaign."),
    ],
)
def test_a_time_that_cannot_be_used_is_refused_in_a_sentence(
    app: Flask, database: Database, owner: User, at: str, said: str
) -> None:
    visitor = signed_in(app, owner)
    campaign_id = _made(database, owner)
    assert visitor.press(f"/campaigns/{campaign_id}/schedule", at=at).status_code == 303
    assert flashes(visitor.see(f"/campaigns/{campaign_id}")) == [said]
    assert _campaign(database, campaign_id).status == "draft"


def test_who_only_looks_sees_what_was_missed_and_no_form(app: Flask, database: Database, owner: User) -> None:
    campaign_id = _made(database, owner, missed=True, scheduled_at=datetime.now(UTC) + timedelta(days=1))
    with database() as session:
        viewer = person(session, session.get_one(User, owner.id).company, Role.VIEWER)
    visitor = signed_in(app, viewer)
    page = visitor.see(f"/campaigns/{campaign_id}")
    assert REASON[1:] in page
    assert "/schedule" not in page
    assert visitor.press(f"/campaigns/{campaign_id}/schedule", at="2099-01-31T09:00").status_code == 403


def test_another_companys_campaign_is_not_there(app: Flask, database: Database, owner: User) -> None:
    campaign_id = _made(database, owner)
    with database() as session:
        stranger = person(session, factories.company(session))
    answer = signed_in(app, stranger).press(f"/campaigns/{campaign_id}/schedule", at="2099-01-31T09:00")
    assert answer.status_code == 404
    assert _campaign(database, campaign_id).status == "draft"


def test_a_series_is_shown_with_its_rhythm_and_what_comes_next(app: Flask, database: Database, owner: User) -> None:
    recurrence = {"every": "week", "days": ["mon", "thu"], "time": "09:00", "starts_on": "2099-01-31"}
    first = _made(database, owner, recurrence=recurrence)
    elsewhere = _made(database, owner, recurrence=recurrence, timezone="Asia/Tokyo")
    visitor: Visitor = signed_in(app, owner)
    assert "every week on Mon, Thu at 09:00 (Asia/Tokyo)" in visitor.see(f"/campaigns/{elsewhere}")
    page = visitor.see(f"/campaigns/{first}")
    assert "every week on Mon, Thu at 09:00" in page
    assert "2099-02-05 09:00:00" in page, "the next"
    visitor.press(f"/campaigns/{first}/start")
    with database() as session:
        second = session.query(Campaign).filter_by(parent_id=first).one().id
    page = visitor.see(f"/campaigns/{second}")
    assert f'2 of the series that began with <a href="/campaigns/{first}">' in page
    assert "This occurrence alone" in page


@pytest.mark.parametrize(
    ("recurrence", "said"),
    [
        ({"every": "day", "interval": 1}, "every day at 09:00"),
        ({"every": "week", "interval": 2, "days": ["mon", "thu"]}, "every 2 weeks on Mon, Thu at 09:00"),
        ({"every": "month", "interval": 1, "day_of_month": 31}, "every month on day 31 at 09:00"),
        (
            {"every": "month", "interval": 3, "day_of_month": "last", "until": "2099-12-31", "count": 4},
            "every 3 months on the last day at 09:00, until 2099-12-31, 4 times in all",
        ),
    ],
)
def test_a_recurrence_in_words(recurrence: dict[str, Any], said: str) -> None:
    assert in_words({"time": "09:00", **recurrence}) == said
