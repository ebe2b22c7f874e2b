"""Campaigns over the API."""

import csv
import io
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
import redis
from flask import Flask
from sqlalchemy import text
from werkzeug.test import TestResponse

from campaign_engine.clock import utc_now
from campaign_engine.models import Company
from campaign_engine.services.campaigns import preparing
from tests import factories
from tests.web.conftest import Caller, problem

Campaign = dict[str, Any]


@pytest.fixture
def account_id(call: Caller, database: Callable[[], Any]) -> str:
    with database() as session:
        return str(factories.account(session, session.get_one(Company, call.company_id), name="Shop").id)


@pytest.fixture
def body(account_id: str) -> Campaign:
    return {
        "name": "Spring",
        "account_ids": [account_id],
        "audience": {"recipients": [{"phone": "+5511987654321", "name": "Ana", "variables": {"coupon": "A1"}}]},
        "content": {"type": "text", "text": "Hello {{name|friend}}"},
    }


@pytest.fixture
def campaign(call: Caller, body: Campaign) -> Campaign:
    return made_of(call, body)


def made_of(call: Caller, body: Campaign) -> Campaign:
    answer = call("POST", "/campaigns", json=body)
    assert answer.status_code == 201, answer.text
    shown: Campaign = answer.json
    return shown


def prepared(database: Callable[[], Any], campaign: Campaign) -> None:
    with database() as session:
        preparing.prepare_chunk(session, int(campaign["id"]), now=utc_now())


def test_a_campaign_is_drafted_and_shown(call: Caller, campaign: Campaign, account_id: str) -> None:
    assert campaign["status"] == "draft"
    assert campaign["account_ids"] == [account_id]
    assert campaign["recipient_count"] == 1
    assert campaign["audience"] == {}
    assert campaign["timezone"] == "America/Sao_Paulo"
    assert campaign["counts"]["unknown"] == 0
    assert campaign["scheduled_at"] is None
    assert call("GET", f"/campaigns/{campaign['id']}").json == campaign
    assert call("GET", "/campaigns").json == {"items": [campaign], "next_cursor": None}


def test_nulls_of_what_may_be_left_out_are_as_left_out(call: Caller, body: Campaign) -> None:
    nulls: Campaign = dict.fromkeys(
        (
            "scheduled_at",
            "timezone",
            "pacing",
            "working_hours",
            "recurrence",
            "start_late_s",
            "rotation",
            "frequency_cap",
        )
    )
    assert made_of(call, {**body, **nulls})["status"] == "draft"


def test_a_list_of_ids_takes_strings_and_numbers(call: Caller, body: Campaign, account_id: str) -> None:
    made = made_of(call, {**body, "account_ids": [int(account_id), account_id]})
    assert made["account_ids"] == [account_id]


def test_a_start_time_makes_it_scheduled_in_utc(call: Caller, body: Campaign) -> None:
    made = made_of(call, {**body, "scheduled_at": "2099-01-31T09:00:00-03:00"})
    assert (made["status"], made["scheduled_at"]) == ("scheduled", "2099-01-31T12:00:00.000Z")


def test_a_start_time_without_an_offset_is_one_of_the_zone_that_is_given_with_it(call: Caller, body: Campaign) -> None:
    new_york = {**body, "timezone": "America/New_York"}
    made = made_of(call, {**new_york, "scheduled_at": "2098-03-09T02:30:00"})
    assert made["scheduled_at"] == "2098-03-09T07:00:00.000Z", "the clock change skips it: right after the gap"
    change = {"scheduled_at": "2099-01-31T09:00", "timezone": "America/Sao_Paulo"}
    moved = call("PATCH", f"/campaigns/{made['id']}", json=change).json
    assert (moved["scheduled_at"], moved["timezone"]) == ("2099-01-31T12:00:00.000Z", "America/Sao_Paulo")
    refused = problem(call("PATCH", f"/campaigns/{made['id']}", json={"scheduled_at": "2099-01-31T09:00"}), 422)
    assert list(refused["errors"]) == ["scheduled_at"]


def test_a_recurrence_makes_a_series_that_can_be_followed(call: Caller, body: Campaign) -> None:
    recurrence = {"every": "week", "days": ["mon", "thu"], "time": "09:00", "starts_on": "2099-01-31", "count": 3}
    first = made_of(call, {**body, "recurrence": recurrence, "start_late_s": 90})
    path = f"/campaigns/{first['id']}"
    assert (first["status"], first["scheduled_at"]) == ("scheduled", "2099-02-02T12:00:00.000Z")
    assert first["recurrence"] == {**recurrence, "interval": 1}
    assert (first["occurrence"], first["parent_id"], first["start_late_s"]) == (1, None, 90)
    assert first["next_occurrence_at"] == "2099-02-05T12:00:00.000Z"
    assert call("GET", path).json == first
    # What was read can be given back, and changes nothing.
    given_back = call("PATCH", path, json={"recurrence": first["recurrence"]}).json
    assert {**given_back, "version": 0} == {**first, "version": 0}

    started = call("POST", f"{path}/start").json
    assert started["next_occurrence_at"] == "2099-02-05T12:00:00.000Z"
    [second, listed] = call("GET", "/campaigns").json["items"]
    assert listed == started
    assert (second["occurrence"], second["parent_id"]) == (2, first["id"])
    assert (second["scheduled_at"], second["next_occurrence_at"]) == (
        "2099-02-05T12:00:00.000Z",
        "2099-02-09T12:00:00.000Z",
    )
    ended = call("PATCH", f"/campaigns/{second['id']}", json={"recurrence": None}).json
    assert (ended["status"], ended["recurrence"], ended["next_occurrence_at"]) == ("scheduled", None, None)
    call("POST", f"/campaigns/{second['id']}/cancel")
    assert call("GET", path).json["next_occurrence_at"] is None


def test_a_rotation_and_a_cap_are_kept_and_shown(call: Caller, body: Campaign, database: Callable[[], Any]) -> None:
    with database() as session:
        other = str(factories.account(session, session.get_one(Company, call.company_id)).id)
    senders = [*body["account_ids"], other]
    window = {"days": ["mon"], "start": "09:00", "end": "18:00"}
    given = {
        "account_ids": senders,
        "rotation": {"sticky": True, "weights": {other: 4}},
        "frequency_cap": "2/7 days",
        "working_hours": {"windows": [window], "timezone": "recipient"},
    }
    made = made_of(call, {**body, **given})
    assert made["rotation"] == {"sticky": True, "weights": {senders[0]: 1, other: 4}}
    assert (made["frequency_cap"], made["working_hours"]) == (given["frequency_cap"], given["working_hours"])
    change = {"rotation": {}, "frequency_cap": "none"}
    shown = call("PATCH", f"/campaigns/{made['id']}", json=change).json
    assert (shown["rotation"], shown["frequency_cap"]) == ({"sticky": False, "weights": None}, "none")


def changed(body: Campaign, path: str, value: Any) -> Campaign:
    """Return the body with the value at the dotted path."""
    *outer, last = path.split(".")
    copy: Campaign = {**body}
    node: Any = copy
    for name in outer:
        node[name] = {**node[name]} if isinstance(node, dict) else node[name]
        node = node[name]
    node[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("name", "", "name"),
        ("name", None, "name"),
        ("name", ["a"], "name"),
        ("name", "a\0b", "name"),
        ("name", "\udc00", "name"),
        ("account_ids", [], "account_ids"),
        ("account_ids", ["x"], "account_ids.0"),
        ("account_ids", "1", "account_ids"),
        ("account_ids", ["999999999"], "account_ids"),
        ("audience", None, "audience"),
        ("audience", {}, "audience"),
        ("audience", [], "audience"),
        ("audience", {"recipients": []}, "audience"),
        ("audience.list_ids", ["999999999"], "audience.list_ids"),
        ("audience.exclude_list_ids", ["999999999"], "audience.exclude_list_ids"),
        ("audience.list_ids", [{}], "audience.list_ids.0"),
        ("audience.tags", ["ok", 5], "audience.tags.1"),
        ("audience.recipients", [{"phone": "+5511987654321"}] * 3 + [{"phone": "abc"}], "audience.recipients.3.phone"),
        ("audience.recipients", [{}], "audience.recipients.0.phone"),
        ("audience.recipients", ["+5511987654321"], "audience.recipients.0"),
        ("audience.recipients", [{"phone": "+5511987654321", "age": 5}], "audience.recipients.0.age"),
        ("audience.recipients", [{"phone": "+5511987654321"}] * 10_001, "audience.recipients"),
        ("audience.colour", "green", "audience.colour"),
        ("content", None, "content"),
        ("content", "Hello", "content"),
        ("content", {}, "content.type"),
        ("content", {"type": "letter"}, "content.type"),
        ("content", {"type": ["text"]}, "content.type"),
        ("content", {"type": "text"}, "content.text"),
        ("content", {"type": "text", "text": ""}, "content.text"),
        ("content", {"type": "text", "text": "  "}, "content.text"),
        ("content", {"type": "text", "text": 5}, "content.text"),
        ("content", {"type": "text", "text": "x" * 4097}, "content.text"),
        ("content", {"type": "text", "text": "Hello {{name"}, "content.text"),
        ("content", {"type": "text", "text": "Hello {{}}"}, "content.text"),
        ("content", {"type": "text", "text": "Hello {{nmae}}"}, "content.text"),
        ("content", {"type": "text", "text": "Hello", "caption": "x"}, "content.caption"),
        ("content", {"type": "text", "text": "Hello", "size": 1}, "content.size"),
        ("content", {"type": "template", "language": "en"}, "content.name"),
        ("content", {"type": "template", "name": "a"}, "content.language"),
        ("content", {"type": "template", "name": "a", "language": "en", "components": {}}, "content.components"),
        ("content", {"type": "template", "name": "a", "language": "en", "components": [5]}, "content.components.0"),
        (
            "content",
            {"type": "template", "name": "a", "language": "en", "components": [{"text": "{{nmae}}"}]},
            "content.components",
        ),
        ("content", {"type": "media", "media_type": "hologram", "id": "1"}, "content.media_type"),
        ("content", {"type": "media", "media_type": "image"}, "content.link"),
        ("content", {"type": "media", "media_type": "audio", "id": "1", "caption": "x"}, "content.caption"),
        ("scheduled_at", "tomorrow", "scheduled_at"),
        ("scheduled_at", "2099-01-31T09:00:00", "scheduled_at"),
        ("scheduled_at", "2099-01-31", "scheduled_at"),
        ("scheduled_at", 4073554800, "scheduled_at"),
        ("scheduled_at", "2020-01-31T09:00:00Z", "scheduled_at"),
        ("scheduled_at", "0001-01-01T00:00:00+14:00", "scheduled_at"),
        ("scheduled_at", "9999-12-31T23:59:59-14:00", "scheduled_at"),
        ("recurrence", {"time": "09:00"}, "recurrence.every"),
        ("recurrence", {"every": "hour", "time": "09:00"}, "recurrence.every"),
        ("recurrence", {"every": "day"}, "recurrence.time"),
        ("recurrence", {"every": "day", "time": "25:00"}, "recurrence.time"),
        ("recurrence", {"every": "day", "time": "09:00", "interval": 0}, "recurrence.interval"),
        ("recurrence", {"every": "week", "time": "09:00", "days": ["abc"]}, "recurrence.days"),
        ("recurrence", {"every": "month", "time": "09:00", "day_of_month": 0}, "recurrence.day_of_month"),
        ("recurrence", {"every": "month", "time": "09:00", "day_of_month": "first"}, "recurrence.day_of_month"),
        ("recurrence", {"every": "day", "time": "09:00", "until": "2020-01-01"}, "recurrence.until"),
        ("recurrence", {"every": "day", "time": "09:00", "slot_at": "2020-01-01"}, "recurrence.slot_at"),
        ("start_late_s", -1, "start_late_s"),
        ("start_late_s", "60", "start_late_s"),
        ("rotation", {"sticky": "yes"}, "rotation.sticky"),
        ("rotation", {"weights": {"1": 0}}, "rotation.weights.1.value"),
        ("rotation", {"weights": {"999999999": 5}}, "rotation.weights"),
        ("rotation", {"weights": [5]}, "rotation.weights"),
        ("frequency_cap", "often", "frequency_cap"),
        ("frequency_cap", "1/91 days", "frequency_cap"),
        ("frequency_cap", 5, "frequency_cap"),
        ("timezone", "Sao Paulo", "timezone"),
        ("timezone", "", "timezone"),
        ("timezone", "../etc/passwd", "timezone"),
        ("timezone", "America", "timezone"),
        ("pacing", [], "pacing"),
        ("pacing", {"message_interval_s": -1}, "pacing.message_interval_s"),
        ("pacing", {"message_interval_s": "1"}, "pacing.message_interval_s"),
        ("pacing", {"jitter_s": 10**400}, "pacing.jitter_s"),
        ("pacing", {"longer_interval_after": 1.5}, "pacing.longer_interval_after"),
        ("pacing", {"speed": 5}, "pacing.speed"),
        ("working_hours", {"windows": []}, "working_hours.windows"),
        (
            "working_hours",
            {"windows": [{"days": ["mon"], "start": "09:00", "end": "18:00"}], "timezone": "nowhere"},
            "working_hours.timezone",
        ),
        ("working_hours", "9 to 5", "working_hours"),
        ("status", "running", "status"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(
    call: Caller, body: Campaign, row_counts: Callable[[], dict[str, int]], path: str, value: Any, field: str
) -> None:
    before = row_counts()
    answer = problem(call("POST", "/campaigns", json=changed(body, path, value)), 422)
    assert list(answer["errors"]) == [field]
    assert answer["detail"].startswith(f"{field}: ")
    assert row_counts() == before


@pytest.mark.parametrize("field", ["name", "account_ids", "audience", "content"])
def test_what_is_needed_and_missing_is_named(call: Caller, body: Campaign, field: str) -> None:
    del body[field]
    assert list(problem(call("POST", "/campaigns", json=body), 422)["errors"]) == [field]


def test_all_faults_of_a_body_are_told_together(call: Caller, body: Campaign) -> None:
    wrong = {**body, "name": "", "colour": 1, "content": {"type": "text", "text": 5}, "pacing": {"speed": 1}}
    errors = problem(call("POST", "/campaigns", json=wrong), 422)["errors"]
    assert sorted(errors) == ["colour", "content.text", "name", "pacing.speed"]


def test_ten_thousand_recipients_fit(call: Caller, body: Campaign) -> None:
    recipients = [{"phone": f"+55119{10_000_000 + at}"} for at in range(10_000)]
    body["content"] = {"type": "text", "text": "Hello"}
    assert made_of(call, {**body, "audience": {"recipients": recipients}})["recipient_count"] == 10_000


def test_a_start_moves_it_and_enqueues_its_preparation(
    call: Caller, campaign: Campaign, redis_client: redis.Redis
) -> None:
    answer = call("POST", f"/campaigns/{campaign['id']}/start")
    assert answer.status_code == 202
    assert answer.json["status"] == "preparing"
    assert answer.json["started_at"].endswith("Z")
    assert redis_client.llen("rq:queue:campaign-scheduler") == 1


@pytest.mark.parametrize("verb", ["start", "pause", "resume"])
def test_what_the_state_does_not_allow_is_a_conflict_with_a_code(
    call: Caller, campaign: Campaign, verb: str, redis_client: redis.Redis
) -> None:
    call("POST", f"/campaigns/{campaign['id']}/cancel")
    redis_client.flushall()
    body = problem(call("POST", f"/campaigns/{campaign['id']}/{verb}"), 409)
    assert body["code"] == "campaign_cancelled"
    assert verb in body["detail"]
    assert redis_client.llen("rq:queue:campaign-scheduler") == 0


def test_two_starts_at_once_start_once(app: Flask, call: Caller, body: Campaign, redis_client: redis.Redis) -> None:
    for _ in range(5):
        campaign = made_of(call, body)
        redis_client.flushall()
        barrier = threading.Barrier(2)

        def click(path: str, barrier: threading.Barrier = barrier) -> TestResponse:
            mine = Caller(app.test_client(), call.token, call.user_id, call.company_id)
            barrier.wait()
            return mine("POST", path)

        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(click, [f"/campaigns/{campaign['id']}/start"] * 2))
        assert sorted(answer.status_code for answer in answers) == [202, 409]
        (refused,) = [answer.json for answer in answers if answer.status_code == 409]
        assert refused["code"] == "campaign_preparing"
        assert redis_client.llen("rq:queue:campaign-scheduler") == 1


def test_a_campaign_nobody_would_get_does_not_start(call: Caller, body: Campaign) -> None:
    empty = call("POST", "/lists", json={"name": "Nobody"}).json
    campaign = made_of(
        call, {**body, "audience": {"list_ids": [empty["id"]]}, "content": {"type": "text", "text": "Hello"}}
    )
    assert problem(call("POST", f"/campaigns/{campaign['id']}/start"), 422)["code"] == "no_recipients"
    assert call("GET", f"/campaigns/{campaign['id']}").json == campaign


def test_a_campaign_without_an_active_account_does_not_start(
    call: Caller, campaign: Campaign, database: Callable[[], Any]
) -> None:
    with database() as session:
        session.execute(
            text("UPDATE accounts SET status = 'deactivated', status_reason = 'expired' WHERE company_id = :id"),
            {"id": call.company_id},
        )
    body = problem(call("POST", f"/campaigns/{campaign['id']}/start"), 422)
    assert (body["code"], list(body["errors"])) == ("no_active_account", ["account_ids"])


def test_pause_resume_and_cancel_move_it_and_wake_both_lines_of_its_lanes(
    call: Caller, campaign: Campaign, database: Callable[[], Any], redis_client: redis.Redis
) -> None:
    path = f"/campaigns/{campaign['id']}"
    call("POST", f"{path}/start")
    prepared(database, campaign)
    for verb, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        redis_client.flushall()
        answer = call("POST", f"{path}/{verb}")
        assert (answer.status_code, answer.json["status"]) == (202, status)
        for queue in ("campaign-messages", "message-retry"):
            assert redis_client.zcard(f"rq:scheduled:{queue}") == 1


def _starts(connection: redis.Redis) -> list[float]:
    """Return when starts are armed, in whole seconds since the epoch, as rq-scheduler keeps them."""
    armed: list[tuple[bytes, float]] = connection.zrange("rq:scheduler:scheduled_jobs", 0, -1, withscores=True)
    return [at for _, at in armed]


def test_a_start_is_armed_as_soon_as_it_is_known_and_again_when_it_moves(
    call: Caller, body: Campaign, redis_client: redis.Redis
) -> None:
    def at(shown: Campaign) -> float:
        return math.ceil(datetime.fromisoformat(shown["scheduled_at"]).timestamp())

    zoned = {**body, "timezone": "UTC"}
    path = f"/campaigns/{made_of(call, zoned)['id']}"
    assert _starts(redis_client) == []
    scheduled = call("PATCH", path, json={"scheduled_at": "2099-01-31T09:00:00.250Z"}).json
    assert _starts(redis_client) == [at(scheduled)]
    moved = call("PATCH", path, json={"scheduled_at": "2099-01-31T10:00:00Z"}).json
    assert _starts(redis_client) == [at(moved)]
    redis_client.flushall()
    series = made_of(call, {**zoned, "recurrence": {"every": "day", "time": "09:00", "starts_on": "2099-01-31"}})
    assert _starts(redis_client) == [at(series)]
    elsewhere = call("PATCH", f"/campaigns/{series['id']}", json={"timezone": "America/Sao_Paulo"}).json
    assert _starts(redis_client) == [at(elsewhere)] != [at(series)]
    call("PATCH", path, json={"name": "Summer"})
    assert len(_starts(redis_client)) == 2, "a lost one is armed again, by whatever is changed"


def test_a_draft_changes_in_everything(call: Caller, campaign: Campaign) -> None:
    change = {
        "name": "Summer",
        "audience": {"recipients": [{"phone": "+5511911111111"}, {"phone": "+5511922222222"}]},
        "content": {"type": "text", "text": "Hi"},
        "pacing": {"message_interval_s": 0.5},
        "timezone": "UTC",
        "scheduled_at": "2099-01-31T09:00:00Z",
    }
    answer = call("PATCH", f"/campaigns/{campaign['id']}", json=change)
    assert answer.status_code == 200
    shown = answer.json
    assert (shown["name"], shown["recipient_count"], shown["timezone"]) == ("Summer", 2, "UTC")
    assert (shown["content"], shown["pacing"]) == ({"type": "text", "text": "Hi"}, {"message_interval_s": 0.5})
    assert (shown["status"], shown["scheduled_at"]) == ("scheduled", "2099-01-31T09:00:00.000Z")
    assert shown["version"] > campaign["version"]
    assert call("GET", f"/campaigns/{campaign['id']}").json == shown


def test_another_audience_must_have_the_variables_of_the_text(call: Caller, body: Campaign) -> None:
    body["content"] = {"type": "text", "text": "Your coupon: {{coupon}}"}
    campaign = made_of(call, body)
    change = {"audience": {"recipients": [{"phone": "+5511911111111"}]}}
    refused = problem(call("PATCH", f"/campaigns/{campaign['id']}", json=change), 422)
    assert list(refused["errors"]) == ["content.text"]
    assert call("GET", f"/campaigns/{campaign['id']}").json == campaign


def test_after_the_start_only_text_name_and_pace_change(
    call: Caller, campaign: Campaign, database: Callable[[], Any], redis_client: redis.Redis
) -> None:
    path = f"/campaigns/{campaign['id']}"
    call("POST", f"{path}/start")
    prepared(database, campaign)
    before = call("GET", path).json
    change = {"audience": {"tags": ["vip"]}, "account_ids": campaign["account_ids"], "name": "Summer"}
    assert sorted(problem(call("PATCH", path, json=change), 422)["errors"]) == ["account_ids", "audience"]
    assert call("GET", path).json == before

    redis_client.flushall()
    assert call("PATCH", path, json={"pacing": {"message_delay_s": 0}}).json["pacing"] == {"message_delay_s": 0}
    assert redis_client.zcard("rq:scheduled:campaign-messages") == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": None}, "name"),
        ({"scheduled_at": None}, "scheduled_at"),
        ({"scheduled_at": "2001-01-01T00:00:00Z"}, "scheduled_at"),
        ({"pacing": None}, "pacing"),
        ({"audience": {"recipients": [{"phone": "+5511911111111"}, {"name": "Ana"}]}}, "audience.recipients.1.phone"),
        ({"audience": {"recipients": [{"phone": "x"}]}}, "audience.recipients.0.phone"),
        ({"content": {"text": "Hi"}}, "content.type"),
        ({"content": {"type": "text", "text": "{{nmae}}"}}, "content.text"),
        ({"account_ids": []}, "account_ids"),
        ({"working_hours": {}}, "working_hours.windows"),
        ({"status": "running"}, "status"),
    ],
)
def test_a_bad_change_changes_nothing(
    call: Caller, campaign: Campaign, row_counts: Callable[[], dict[str, int]], change: Any, field: str
) -> None:
    before = row_counts()
    assert list(problem(call("PATCH", f"/campaigns/{campaign['id']}", json=change), 422)["errors"]) == [field]
    assert call("GET", f"/campaigns/{campaign['id']}").json == campaign
    assert row_counts() == before


def test_a_campaign_that_is_over_does_not_change(call: Caller, campaign: Campaign) -> None:
    call("POST", f"/campaigns/{campaign['id']}/cancel")
    body = problem(call("PATCH", f"/campaigns/{campaign['id']}", json={"name": "Late"}), 409)
    assert body["code"] == "transition_not_allowed"


def test_only_what_never_started_is_deleted(call: Caller, body: Campaign) -> None:
    draft, started = made_of(call, body), made_of(call, body)
    call("POST", f"/campaigns/{started['id']}/start")
    assert call("DELETE", f"/campaigns/{draft['id']}").status_code == 204
    problem(call("GET", f"/campaigns/{draft['id']}"), 404)
    problem(call("DELETE", f"/campaigns/{started['id']}"), 409)


def test_a_list_that_an_open_campaign_uses_stays(call: Caller, body: Campaign) -> None:
    for key in ("list_ids", "exclude_list_ids"):
        used = call("POST", "/lists", json={"name": f"Used as {key}"}).json
        audience = {**body["audience"], key: [used["id"]]}
        campaign = made_of(call, {**body, "audience": audience})
        assert campaign["audience"] == {key: [used["id"]]}
        conflict = problem(call("DELETE", f"/lists/{used['id']}"), 409)
        assert (conflict["code"], "Spring" in conflict["detail"]) == ("list_in_use", True)
        call("POST", f"/campaigns/{campaign['id']}/cancel")
        assert call("DELETE", f"/lists/{used['id']}").status_code == 204


def test_newest_come_first_in_pages(call: Caller, body: Campaign) -> None:
    ids = [made_of(call, body)["id"] for _ in range(3)]
    first = call("GET", "/campaigns?limit=2").json
    second = call("GET", f"/campaigns?limit=2&cursor={first['next_cursor']}").json
    assert [each["id"] for each in first["items"] + second["items"]] == ids[::-1]
    assert second["next_cursor"] is None


def test_messages_are_listed_and_exported(call: Caller, body: Campaign, database: Callable[[], Any]) -> None:
    recipients = [{"phone": f"+551198765432{at}", "name": f"=Person {at}"} for at in range(5)]
    campaign = made_of(
        call, {**body, "audience": {"recipients": recipients}, "content": {"type": "text", "text": "Hi"}}
    )
    path = f"/campaigns/{campaign['id']}"
    call("POST", "/opt-outs", json={"phone": recipients[0]["phone"]})
    call("POST", f"{path}/start")
    prepared(database, campaign)

    skipped = call("GET", f"{path}/messages?status=skipped").json["items"]
    assert [(each["phone"], each["status_reason"]) for each in skipped] == [("+5511987654320", "opted_out")]
    first = call("GET", f"{path}/messages?status=pending&limit=3").json
    second = call("GET", f"{path}/messages?status=pending&limit=3&cursor={first['next_cursor']}").json
    assert [each["phone"][-1] for each in first["items"] + second["items"]] == ["1", "2", "3", "4"]
    everything = call("GET", f"{path}/messages?limit=4").json
    rest = call("GET", f"{path}/messages?limit=4&cursor={everything['next_cursor']}").json
    assert len({each["id"] for each in everything["items"] + rest["items"]}) == 5
    assert rest["next_cursor"] is None

    rows = list(csv.DictReader(io.StringIO(call("GET", f"{path}/export.csv").text)))
    assert [row["phone"] for row in rows] == [recipient["phone"] for recipient in recipients]
    assert rows[1]["name"] == "'=Person 1"
    assert rows[0]["status_reason"] == "opted_out"


@pytest.mark.parametrize("query", ["status=lost", "status=", "cursor=x", "limit=1e3"])
def test_a_bad_query_for_messages_is_refused(call: Caller, campaign: Campaign, query: str) -> None:
    body = problem(call("GET", f"/campaigns/{campaign['id']}/messages?{query}"), 422)
    assert list(body["errors"]) == [query.partition("=")[0]]
