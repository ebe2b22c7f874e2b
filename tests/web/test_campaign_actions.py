"""Unknown outcomes, failures tried again and tests, over the API and on the campaign's page."""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.models import Account, Role, User
from campaign_engine.services.campaigns import lifecycle, reading
from campaign_engine.services.messages.planning import Line
from jobs import waking
from tests import factories
from tests.web.conftest import Caller, Database, problem
from tests.web.visitor import Visitor, flashes, move, person, running, signed_in

TESTER = "+5511987654321"


@dataclass(frozen=True, slots=True)
class Sent:
    """A running campaign: of five messages two are unknown for longer than the grace time, three failed."""

    id: int
    account_id: int
    unknown: list[uuid.UUID]


def _long_ago() -> datetime:
    return utc_now() - timedelta(hours=2)


def _sent(session: Session, owner: User) -> Sent:
    account = factories.account(session, owner.company)
    made = running(session, owner, accounts=[account], size=5)
    unknown = {"status_reason": "answer_lost", "attempts": 1, "claimed_at": _long_ago()}
    move(session, made.id, 2, "pending", "unknown", **unknown)
    failed = {"error_class": "recipient", "error_detail": "Undeliverable", "failed_at": utc_now(), "attempts": 8}
    move(session, made.id, 1, "pending", "failed", error_code="131026", **failed)
    move(session, made.id, 1, "pending", "failed", error_code="131050", **failed)
    move(session, made.id, 1, "pending", "failed", **{**failed, "error_class": "temporary"})
    query = text("SELECT id FROM messages WHERE campaign_id = :id AND status = 'unknown' ORDER BY position")
    return Sent(made.id, account.id, list(session.scalars(query, {"id": made.id})))


@pytest.fixture
def sent(call: Caller, database: Database) -> Sent:
    with database() as session:
        return _sent(session, session.get_one(User, call.user_id))


@pytest.fixture
def statuses(database: Database, sent: Sent) -> Callable[[], list[str]]:
    def statuses() -> list[str]:
        with database() as session:
            query = text("SELECT status FROM messages WHERE campaign_id = :id ORDER BY position")
            return list(session.scalars(query, {"id": sent.id}))

    return statuses


def _turns(connection: redis.Redis, sent: Sent) -> list[Line]:
    return [line for line in Line if waking.lanes_with_a_turn(connection, [sent.account_id], line)]


# Unknown outcomes


def test_unknown_messages_are_listed_over_all_campaigns_in_pages(call: Caller, database: Database, sent: Sent) -> None:
    with database() as session:
        newer = _sent(session, session.get_one(User, call.user_id))
    first = call("GET", "/unknown-messages?limit=3").json
    second = call("GET", f"/unknown-messages?limit=3&cursor={first['next_cursor']}").json
    assert second["next_cursor"] is None
    assert [item["id"] for item in [*first["items"], *second["items"]]] == [
        str(each) for each in (*newer.unknown, *sent.unknown)
    ]
    item = second["items"][0]
    assert (item["campaign_id"], item["status_reason"], item["resendable"]) == (str(sent.id), "answer_lost", True)
    of_one = call("GET", f"/unknown-messages?campaign_id={newer.id}").json["items"]
    assert [each["campaign_id"] for each in of_one] == [str(newer.id)] * 2


def test_one_click_resends_and_the_second_is_refused(
    call: Caller, sent: Sent, statuses: Callable[[], list[str]], redis_client: redis.Redis
) -> None:
    path = f"/campaigns/{sent.id}/messages/{sent.unknown[0]}/resend"
    answer = call("POST", path)
    assert answer.status_code == 202
    assert answer.json["message"]["status"] == "pending"
    assert "twice" in answer.json["warning"]
    assert _turns(redis_client, sent) == [*Line]
    assert problem(call("POST", path), 409)["code"] == "message_pending"
    assert statuses()[:2] == ["pending", "unknown"]


def test_one_click_dismisses(call: Caller, sent: Sent) -> None:
    path = f"/campaigns/{sent.id}/messages/{sent.unknown[0]}/dismiss"
    answer = call("POST", path)
    assert (answer.status_code, answer.json["status"], answer.json["status_reason"]) == (200, "unknown", "dismissed")
    assert [each["id"] for each in call("GET", "/unknown-messages").json["items"]] == [str(sent.unknown[1])]
    assert problem(call("POST", path), 409)["code"] == "message_dismissed"


def test_before_the_grace_is_over_the_refusal_says_when(call: Caller, database: Database, sent: Sent) -> None:
    with database() as session:
        session.execute(
            text("UPDATE messages SET claimed_at = :at WHERE id = :id"),
            {"at": utc_now() - timedelta(minutes=59), "id": sent.unknown[0]},
        )
    answer = call("POST", f"/campaigns/{sent.id}/messages/{sent.unknown[0]}/resend")
    assert problem(answer, 409)["code"] == "grace_not_over"
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert len(call("GET", "/unknown-messages").json["items"]) == 1


def test_all_are_resent_at_once_and_the_others_stay(
    call: Caller, database: Database, sent: Sent, statuses: Callable[[], list[str]]
) -> None:
    with database() as session:
        session.execute(
            text(
                "INSERT INTO opt_outs (company_id, phone_key, source, opted_out_at)"
                " SELECT :company, phone_key, 'api', now() FROM messages WHERE id = :id"
            ),
            {"company": call.company_id, "id": sent.unknown[1]},
        )
    answer = call("POST", f"/campaigns/{sent.id}/unknown/resend")
    assert (answer.status_code, answer.json["count"]) == (202, 1)
    assert [(each["reason"], each["count"]) for each in answer.json["excluded"]] == [("opted_out", 1)]
    assert statuses()[:2] == ["pending", "unknown"]
    assert call("POST", f"/campaigns/{sent.id}/unknown/dismiss").json == {"count": 1}
    assert call("GET", "/unknown-messages").json["items"] == []


def test_a_cancelled_campaign_resends_and_retries_nothing(call: Caller, sent: Sent) -> None:
    call("POST", f"/campaigns/{sent.id}/cancel")
    for path, body in (
        (f"messages/{sent.unknown[0]}/resend", None),
        ("unknown/resend", None),
        ("retry", {"classes": ["recipient"]}),
        ("test", {"phone": TESTER}),
    ):
        answer = call("POST", f"/campaigns/{sent.id}/{path}", json=body)
        assert problem(answer, 409)["code"] == "campaign_cancelled", path


# Failures


def test_a_dry_run_counts_and_the_retry_does_as_it_said(
    call: Caller, sent: Sent, statuses: Callable[[], list[str]], redis_client: redis.Redis
) -> None:
    looked = call("POST", f"/campaigns/{sent.id}/retry", json={"classes": ["recipient"], "dry_run": True})
    assert (looked.status_code, looked.json["dry_run"], looked.json["count"]) == (200, True, 1)
    assert {(each["code"], each["count"], each["retried"]) for each in looked.json["groups"]} == {
        ("131026", 1, 1),
        ("131050", 1, 0),
    }
    assert [(each["reason"], each["count"]) for each in looked.json["excluded"]] == [("marketing_switched_off", 1)]
    assert statuses().count("failed") == 3
    assert _turns(redis_client, sent) == []
    done = call("POST", f"/campaigns/{sent.id}/retry", json={"classes": ["recipient"]})
    assert (done.status_code, {**done.json, "dry_run": True}) == (202, looked.json)
    assert statuses().count("pending") == 1
    assert Line.FIRST in _turns(redis_client, sent)


def test_codes_narrow_and_none_is_a_failure_without_a_code(
    call: Caller, sent: Sent, statuses: Callable[[], list[str]]
) -> None:
    classes = ["recipient", "temporary"]
    answer = call("POST", f"/campaigns/{sent.id}/retry", json={"classes": classes, "codes": ["none"]})
    assert [(each["error_class"], each["code"]) for each in answer.json["groups"]] == [("temporary", None)]
    assert statuses().count("pending") == 1


@pytest.mark.parametrize(
    "body",
    [{}, {"classes": []}, {"classes": ["odd"]}, {"classes": ["recipient"], "codes": []}, {"classes": "recipient"}],
)
def test_a_retry_names_its_classes(
    call: Caller, sent: Sent, statuses: Callable[[], list[str]], body: dict[str, Any]
) -> None:
    assert set(problem(call("POST", f"/campaigns/{sent.id}/retry", json=body), 422)["errors"]) <= {
        "classes",
        "classes.0",
        "codes",
    }
    assert statuses().count("failed") == 3


# Tests


def test_a_test_goes_out_at_once_and_is_listed_with_what_became_of_it(
    call: Caller, database: Database, sent: Sent, redis_client: redis.Redis
) -> None:
    made = call("POST", f"/campaigns/{sent.id}/test", json={"phone": "11 98765-4321", "name": "Tess"})
    assert made.status_code == 202
    assert (made.json["message"]["phone"], made.json["message"]["status"]) == (TESTER, "pending")
    assert made.json["account_id"] == str(sent.account_id)
    assert Line.FIRST in _turns(redis_client, sent)
    with database() as session:
        move(session, int(made.json["id"]), 1, "pending", "failed", error_code="131026")
    [listed] = call("GET", f"/campaigns/{sent.id}/tests").json["items"]
    assert (listed["id"], listed["message"]["error_code"]) == (made.json["id"], "131026")


def test_a_test_is_no_campaign(call: Caller, database: Database, sent: Sent) -> None:
    before = call("GET", f"/campaigns/{sent.id}").json
    test_id = call("POST", f"/campaigns/{sent.id}/test", json={"phone": TESTER}).json["id"]
    assert [each["id"] for each in call("GET", "/campaigns").json["items"]] == [str(sent.id)]
    assert call("GET", f"/campaigns/progress?ids={test_id}").json["items"] == []
    for path in ("", "/progress", "/messages", "/export.csv", "/tests"):
        assert problem(call("GET", f"/campaigns/{test_id}{path}"), 404)
    assert call("GET", f"/campaigns/{sent.id}").json == before
    with database() as session:
        move(session, int(test_id), 1, "pending", "unknown", claimed_at=_long_ago())
    assert {each["campaign_id"] for each in call("GET", "/unknown-messages").json["items"]} == {str(sent.id)}


def test_tests_are_read_in_pages(call: Caller, sent: Sent) -> None:
    made = [call("POST", f"/campaigns/{sent.id}/test", json={"phone": TESTER}).json["id"] for _ in range(3)]
    first = call("GET", f"/campaigns/{sent.id}/tests?limit=2").json
    rest = call("GET", f"/campaigns/{sent.id}/tests?limit=2&cursor={first['next_cursor']}").json
    assert [each["id"] for each in (*first["items"], *rest["items"])] == made[::-1]


def test_who_opted_out_gets_no_test(call: Caller, sent: Sent) -> None:
    call("POST", "/opt-outs", json={"phone": TESTER})
    answer = problem(call("POST", f"/campaigns/{sent.id}/test", json={"phone": TESTER}), 422)
    assert (answer["code"], list(answer["errors"])) == ("recipient_opted_out", ["phone"])


# Who may


CHANGES = (
    "messages/{message}/resend",
    "messages/{message}/dismiss",
    "unknown/resend",
    "unknown/dismiss",
    "retry",
    "test",
)


def _body(path: str) -> dict[str, Any]:
    return {"retry": {"classes": ["recipient"]}, "test": {"phone": TESTER}}.get(path, {})


@pytest.mark.parametrize("path", CHANGES)
def test_a_viewer_watches_and_another_company_sees_nothing(
    call: Caller,
    caller: Callable[..., Caller],
    stranger: Caller,
    sent: Sent,
    statuses: Callable[[], list[str]],
    path: str,
) -> None:
    before = statuses()
    address = f"/campaigns/{sent.id}/{path.format(message=sent.unknown[0])}"
    viewer = caller(role=Role.VIEWER, like=call)
    assert problem(viewer("POST", address, json=_body(path)), 403)["code"] == "not_allowed"
    assert problem(stranger("POST", address, json=_body(path)), 404)["code"] == "not_found"
    assert statuses() == before
    assert len(viewer("GET", "/unknown-messages").json["items"]) == 2
    assert viewer("GET", f"/campaigns/{sent.id}/tests").json["items"] == []
    assert stranger("GET", "/unknown-messages").json["items"] == []
    assert stranger("GET", f"/unknown-messages?campaign_id={sent.id}").status_code == 404


def test_a_message_is_decided_under_its_own_campaign_only(
    call: Caller, stranger: Caller, database: Database, sent: Sent
) -> None:
    with database() as session:
        mine = _sent(session, session.get_one(User, stranger.user_id))
    for verb in ("resend", "dismiss"):
        answer = stranger("POST", f"/campaigns/{mine.id}/messages/{sent.unknown[0]}/{verb}")
        assert problem(answer, 404)["code"] == "not_found"


# The page


@pytest.fixture
def visitors(app: Flask, call: Caller, database: Database) -> tuple[Visitor, Visitor]:
    """An operator and a viewer of the caller's company."""
    with database() as session:
        company = session.get_one(User, call.user_id).company
        people = [person(session, company, role) for role in (Role.OPERATOR, Role.VIEWER)]
    return signed_in(app, people[0]), signed_in(app, people[1])


def _actions(html: str) -> list[str]:
    return re.findall(r'action="(/campaigns/[^"]+)"', html)


def test_the_page_shows_what_is_unknown_and_its_buttons_decide(
    visitors: tuple[Visitor, Visitor], sent: Sent, statuses: Callable[[], list[str]], redis_client: redis.Redis
) -> None:
    operator, viewer = visitors
    html = operator.see(f"/campaigns/{sent.id}")
    section = html[html.index('id="unknown"') : html.index('id="failures"')]
    one, other = (f"/campaigns/{sent.id}/messages/{each}" for each in sent.unknown)
    assert _actions(section) == [
        *(f"/campaigns/{sent.id}/unknown/{verb}" for verb in ("resend", "dismiss")),
        *(f"{each}/{verb}" for each in (one, other) for verb in ("resend", "dismiss")),
    ]
    assert "twice" in section
    operator.press(f"{one}/dismiss")
    assert operator.press(f"{other}/resend").location == f"/campaigns/{sent.id}"
    assert statuses()[:2] == ["unknown", "pending"]
    assert _turns(redis_client, sent) == [*Line]
    operator.press(f"{other}/resend")
    html = operator.see(f"/campaigns/{sent.id}")
    assert "This message is pending; it cannot be resent now." in flashes(html)
    assert 'id="unknown-title"' not in html
    assert viewer.press(f"{one}/resend").status_code == 403


def test_the_page_decides_all_at_once(
    visitors: tuple[Visitor, Visitor], sent: Sent, statuses: Callable[[], list[str]]
) -> None:
    operator, _ = visitors
    operator.press(f"/campaigns/{sent.id}/unknown/resend")
    assert statuses()[:2] == ["pending", "pending"]
    assert flashes(operator.see(f"/campaigns/{sent.id}")) == ["Messages that go out again: 2."]
    operator.press(f"/campaigns/{sent.id}/unknown/dismiss")
    assert flashes(operator.see(f"/campaigns/{sent.id}")) == ["Dismissed: 0."]


def test_the_page_tries_a_group_of_failures_again_and_says_what_is_not(
    visitors: tuple[Visitor, Visitor], sent: Sent, statuses: Callable[[], list[str]]
) -> None:
    operator, viewer = visitors
    html = operator.see(f"/campaigns/{sent.id}")
    section = html[html.index('id="failures"') : html.index('id="messages"')]
    fields = re.findall(r'name="error_class" value="(\w+)">\s*<input type="hidden" name="code" value="(\w+)"', section)
    assert sorted(fields) == [("recipient", "131026"), ("temporary", "none")]
    assert "switched marketing of this business off" in section
    for error_class, code in fields:
        operator.press(f"/campaigns/{sent.id}/retry", error_class=error_class, code=code)
    assert statuses().count("pending") == 2
    assert operator.press(f"/campaigns/{sent.id}/retry", error_class="odd").status_code == 303
    assert viewer.press(f"/campaigns/{sent.id}/retry", error_class="recipient", code="131026").status_code == 403


def test_the_page_sends_a_test_with_the_variables_of_the_text(
    visitors: tuple[Visitor, Visitor], database: Database, sent: Sent
) -> None:
    operator, viewer = visitors
    with database() as session:
        session.execute(
            text("""UPDATE campaigns SET content = '{"type": "text", "text": "{{name}} {{coupon}}"}' WHERE id = :id"""),
            {"id": sent.id},
        )
    assert 'name="variable:coupon"' in operator.see(f"/campaigns/{sent.id}")
    form = {"phone": TESTER, "name": "Tess", "variable:coupon": "A1"}
    operator.press(f"/campaigns/{sent.id}/test", **{**form, "variable:coupon": ""})
    assert flashes(operator.see(f"/campaigns/{sent.id}")) == ["The message needs a value for coupon."]
    operator.press(f"/campaigns/{sent.id}/test", **form)
    html = operator.see(f"/campaigns/{sent.id}")
    assert flashes(html) == [f"A test to {TESTER} is under way."]
    assert html.count(f'<th scope="row" class="nowrap">{TESTER}</th>') == 1
    with database() as session:
        query = text("SELECT variables FROM messages m JOIN campaigns c ON c.id = m.campaign_id WHERE parent_id = :id")
        [variables] = session.scalars(query, {"id": sent.id})
    assert variables == {"name": "Tess", "coupon": "A1"}
    assert viewer.press(f"/campaigns/{sent.id}/test", **form).status_code == 403
    assert "/test" not in " ".join(_actions(viewer.see(f"/campaigns/{sent.id}")))


@pytest.mark.parametrize("path", CHANGES)
def test_the_buttons_do_nothing_for_viewers_and_for_another_company(
    app: Flask,
    visitors: tuple[Visitor, Visitor],
    stranger: Caller,
    database: Database,
    sent: Sent,
    statuses: Callable[[], list[str]],
    path: str,
) -> None:
    before = statuses()
    with database() as session:
        foreigner = signed_in(app, person(session, session.get_one(User, stranger.user_id).company))
    address = f"/campaigns/{sent.id}/{path.format(message=sent.unknown[0])}"
    form = {"error_class": "recipient", "code": "131026", "phone": TESTER}
    assert visitors[1].press(address, **form).status_code == 403
    assert foreigner.press(address, **form).status_code == 404
    assert statuses() == before


def test_a_campaign_that_is_over_offers_no_test_and_a_cancelled_one_no_second_try(
    visitors: tuple[Visitor, Visitor], database: Database, sent: Sent
) -> None:
    operator, _ = visitors
    with database() as session:
        found = reading.get(session, session.get_one(Account, sent.account_id).company_id, sent.id)
        lifecycle.cancel(session, found, now=utc_now())
    html = operator.see(f"/campaigns/{sent.id}")
    offered = {action.rpartition("/")[2] for action in _actions(html[html.index("</header>") :])}
    assert offered == {"dismiss"}
