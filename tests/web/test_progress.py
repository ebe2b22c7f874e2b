"""How far campaigns are, over the API."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis

from campaign_engine.clock import utc_now
from campaign_engine.models import User
from campaign_engine.services.campaigns import lifecycle, preparing, reading
from jobs.waking import note_wait
from tests import factories
from tests.web.conftest import Caller, problem


def running(call: Caller, database: Callable[[], Any]) -> tuple[int, int]:
    """Start a campaign of two; return its id and its account's."""
    with database() as session:
        owner = session.get_one(User, call.user_id)
        recipients = [{"phone": factories.phone_number()} for _ in range(2)]
        made = factories.campaign(session, owner, audience={"recipients": recipients})
        lifecycle.start(session, made, now=utc_now())
        preparing.prepare_chunk(session, made.id, now=utc_now())
        return made.id, reading.account_ids_of(session, [made.id])[made.id][0]


def test_progress_has_the_shape_of_the_contract(call: Caller, database: Callable[[], Any]) -> None:
    campaign_id, account_id = running(call, database)
    answer = call("GET", f"/campaigns/{campaign_id}/progress")
    assert answer.status_code == 200
    shown = answer.json
    assert shown["campaign_id"] == str(campaign_id)
    assert (shown["status"], shown["total"]) == ("running", 2)
    assert shown["counts"] == {
        "pending": 2,
        "sending": 0,
        "sent": 0,
        "delivered": 0,
        "read": 0,
        "failed": 0,
        "unknown": 0,
        "skipped": 0,
    }
    assert shown["funnel"] == {"sent": 0, "delivered": 0, "read": 0}
    assert shown["success_rate"] is None
    assert shown["rate_per_minute"] == 0
    assert shown["eta"].endswith("Z")
    assert shown["eta_seconds"] > 0
    assert shown["accounts"][0]["id"] == str(account_id)
    assert shown["started_at"].endswith("Z")
    assert shown["finished_at"] is None
    assert isinstance(shown["version"], int)


def test_it_says_why_an_account_waits(call: Caller, database: Callable[[], Any], redis_client: redis.Redis) -> None:
    campaign_id, account_id = running(call, database)
    until = utc_now() + timedelta(seconds=30)
    note_wait(redis_client, account_id, reason="pacing", until=until)
    (wait,) = call("GET", f"/campaigns/{campaign_id}/progress").json["waiting"]
    assert wait["reason"] == "pacing"
    assert wait["until"] == until.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_since_the_present_version_there_is_nothing_new(call: Caller, database: Callable[[], Any]) -> None:
    campaign_id, _ = running(call, database)
    path = f"/campaigns/{campaign_id}/progress"
    version = call("GET", path).json["version"]

    unchanged = call("GET", f"{path}?since={version}")
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    assert call("GET", f"{path}?since={version - 1}").status_code == 200
    call("POST", f"/campaigns/{campaign_id}/pause")
    assert call("GET", f"{path}?since={version}").json["status"] == "paused"


@pytest.mark.parametrize("since", ["x", "-1", "1.5", "", "99999999999999999999"])
def test_a_version_that_is_none_is_refused(call: Caller, database: Callable[[], Any], since: str) -> None:
    campaign_id, _ = running(call, database)
    body = problem(call("GET", f"/campaigns/{campaign_id}/progress?since={since}"), 422)
    assert list(body["errors"]) == ["since"]


def test_several_campaigns_are_read_at_once_in_the_order_asked_for(
    call: Caller, stranger: Caller, database: Callable[[], Any]
) -> None:
    one, two = running(call, database)[0], running(call, database)[0]
    theirs = running(stranger, database)[0]
    shown = call("GET", f"/campaigns/progress?ids={two},{one},{theirs},999999999,{two}").json
    assert [each["campaign_id"] for each in shown["items"]] == [str(two), str(one)]


@pytest.mark.parametrize("ids", ["", "x", "1,,2", "1;2", "-1", "9" * 19, "9" * 25, ",".join(["1"] * 201), "²"])
def test_ids_that_are_none_are_refused(call: Caller, ids: str) -> None:
    assert list(problem(call("GET", f"/campaigns/progress?ids={ids}"), 422)["errors"]) == ["ids"]
    assert list(problem(call("GET", "/campaigns/progress"), 422)["errors"]) == ["ids"]
