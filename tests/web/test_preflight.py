"""What is known about a campaign before its launch, over the API."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis

from campaign_engine.clock import utc_now
from campaign_engine.models import User
from campaign_engine.services.campaigns import reading
from jobs.waking import note_wait
from tests import factories
from tests.web.conftest import Caller, problem


def draft(call: Caller, database: Callable[[], Any]) -> tuple[int, int]:
    """Make a draft to two of three, one of whom opted out; return its id and its account's."""
    with database() as session:
        owner = session.get_one(User, call.user_id)
        phone = factories.phone_number()
        recipients = [{"phone": factories.phone_number()}, {"phone": phone}, {"phone": phone}]
        made = factories.campaign(session, owner, audience={"recipients": recipients})
        return made.id, reading.account_ids_of(session, [made.id])[made.id][0]


def test_a_draft_is_told_how_many_get_it_and_when_it_ends(call: Caller, database: Callable[[], Any]) -> None:
    campaign_id, account_id = draft(call, database)
    answer = call("GET", f"/campaigns/{campaign_id}/preflight")
    assert answer.status_code == 200
    shown = answer.json
    assert (shown["campaign_id"], shown["status"]) == (str(campaign_id), "draft")
    assert (shown["named"], shown["recipients"], shown["left_out"]["duplicate"]) == (3, 2, 1)
    assert shown["starts_at"].endswith("Z")
    assert shown["ends_at"] > shown["starts_at"]
    assert (shown["fits"], shown["must_end_by"], shown["no_end"]) == (None, None, None)
    assert shown["accounts"][0]["id"] == str(account_id)
    assert shown["accounts"][0]["messages_per_hour"] == 164
    assert shown["bound"]["code"] == "pacing"
    assert {each["code"]: each["account_id"] for each in shown["warnings"]} == {"no_webhook": str(account_id)}
    assert shown["summary"].startswith("ends ")


@pytest.mark.parametrize(("hours", "fits"), [(1, True), (-1, False)])
def test_it_says_whether_it_fits(call: Caller, database: Callable[[], Any], hours: int, fits: bool) -> None:
    campaign_id, _ = draft(call, database)
    by = (utc_now() + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
    shown = call("GET", f"/campaigns/{campaign_id}/preflight?must_end_by={by}").json
    assert shown["fits"] is fits
    assert shown["must_end_by"] == by[:-4] + "Z"
    assert ("does not fit" in shown["summary"]) is not fits


@pytest.mark.parametrize("by", ["tomorrow", "2030-01-31T09:00:00", ""])
def test_a_time_that_is_none_is_refused(call: Caller, database: Callable[[], Any], by: str) -> None:
    campaign_id, _ = draft(call, database)
    body = problem(call("GET", f"/campaigns/{campaign_id}/preflight?must_end_by={by}"), 422)
    assert list(body["errors"]) == ["must_end_by"]


def test_what_an_account_waits_for_holds_the_end_back(
    call: Caller, database: Callable[[], Any], redis_client: redis.Redis
) -> None:
    campaign_id, account_id = draft(call, database)
    until = utc_now() + timedelta(hours=2)
    note_wait(redis_client, account_id, reason="cool_down", until=until)
    shown = call("GET", f"/campaigns/{campaign_id}/preflight").json
    assert shown["ends_at"] >= until.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_it_is_for_the_company_alone_and_for_what_has_not_started(
    call: Caller, stranger: Caller, database: Callable[[], Any]
) -> None:
    campaign_id, _ = draft(call, database)
    problem(stranger("GET", f"/campaigns/{campaign_id}/preflight"), 404)
    assert call("POST", f"/campaigns/{campaign_id}/start").status_code == 202
    body = problem(call("GET", f"/campaigns/{campaign_id}/preflight"), 409)
    assert "preparing" in body["detail"]


def test_a_viewer_may_look(call: Caller, caller: Callable[..., Caller], database: Callable[[], Any]) -> None:
    campaign_id, _ = draft(call, database)
    viewer = caller(role="viewer", like=call)
    assert viewer("GET", f"/campaigns/{campaign_id}/preflight").status_code == 200
