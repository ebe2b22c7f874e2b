"""Notifications and the audit log: over the API, and the bell and the page for people."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from campaign_engine.clock import utc_now
from campaign_engine.models import Account, Role, User
from campaign_engine.services.campaigns import preparing
from campaign_engine.services.company import audit, notifications
from tests import factories
from tests.web.conftest import Caller, Database, problem
from tests.web.visitor import Visitor, flashes, person, signed_in

HOSTILE = "<script>evil()</script>"


@pytest.fixture
def tell(database: Database) -> Callable[..., list[str]]:
    """Write notifications for a company; return their ids, oldest first."""

    def tell(company_id: int, *texts: str, **fields: Any) -> list[str]:
        given = {"kind": "test", "severity": "warning", **fields}
        with database() as session:
            return [str(notifications.notify(session, company_id=company_id, text=said, **given).id) for said in texts]

    return tell


def ids(page: Any) -> list[str]:
    return [each["id"] for each in page.json["items"]]


def log_of(call: Caller, query: str = "") -> list[tuple[str, str]]:
    return [(each["action"], each["subject_kind"]) for each in call("GET", f"/audit-log{query}").json["items"]]


# --- Notifications over the API.


def test_notifications_are_listed_newest_first_in_pages(call: Caller, tell: Callable[..., list[str]]) -> None:
    made = tell(call.company_id, "one", "two", "three", subject=("account", 7))
    first = call("GET", "/notifications?limit=2")
    second = call("GET", f"/notifications?limit=2&cursor={first.json['next_cursor']}")
    assert ids(first) + ids(second) == made[::-1]
    assert second.json["next_cursor"] is None
    shown = second.json["items"][0]
    assert {**shown, "created_at": None} == {
        "id": made[0],
        "kind": "test",
        "severity": "warning",
        "text": "one",
        "subject_kind": "account",
        "subject_id": "7",
        "created_at": None,
        "read_at": None,
    }


def test_a_notification_is_read_once_and_no_longer_unread(call: Caller, tell: Callable[..., list[str]]) -> None:
    one, two = tell(call.company_id, "one", "two")
    answer = call("POST", f"/notifications/{one}/read")
    assert answer.status_code == 200
    assert answer.json["read_at"] is not None
    assert call("POST", f"/notifications/{one}/read").json == answer.json
    assert ids(call("GET", "/notifications?unread=true")) == [two]
    assert ids(call("GET", "/notifications?unread=false")) == [one]


def test_all_that_were_seen_are_read_at_once(call: Caller, stranger: Caller, tell: Callable[..., list[str]]) -> None:
    _, two, three = tell(call.company_id, "one", "two", "three")
    theirs = tell(stranger.company_id, "theirs")
    assert call("POST", "/notifications/read-all", json={"up_to": two}).json == {"marked": 2}
    assert ids(call("GET", "/notifications?unread=true")) == [three]
    assert call("POST", "/notifications/read-all").json == {"marked": 1}
    assert ids(stranger("GET", "/notifications?unread=true")) == theirs


def test_a_viewer_reads_and_marks_nothing(
    call: Caller, caller: Callable[..., Caller], tell: Callable[..., list[str]]
) -> None:
    [one] = tell(call.company_id, "one")
    viewer = caller(role=Role.VIEWER, like=call)
    assert ids(viewer("GET", "/notifications")) == [one]
    for path in (f"/notifications/{one}/read", "/notifications/read-all"):
        assert problem(viewer("POST", path), 403)["code"] == "not_allowed"


def test_notifications_of_another_company_are_none(
    call: Caller, stranger: Caller, tell: Callable[..., list[str]]
) -> None:
    [theirs] = tell(stranger.company_id, "theirs")
    assert ids(call("GET", "/notifications")) == []
    problem(call("POST", f"/notifications/{theirs}/read"), 404)


@pytest.mark.parametrize(("query", "field"), [("unread=perhaps", "unread"), ("cursor=x", "cursor"), ("read=1", "read")])
def test_a_bad_question_is_refused_by_name(call: Caller, query: str, field: str) -> None:
    assert list(problem(call("GET", f"/notifications?{query}"), 422)["errors"]) == [field]


# --- The audit log.


def test_what_people_do_stands_in_the_log_with_who_did_it(
    call: Caller, registered: Callable[..., dict[str, str]], database: Database
) -> None:
    given = {"name": "Shop", "provider": "cloud_api", **registered(), "app_secret": "a secret of the tests"}
    account = call("POST", "/accounts", json=given).json
    call("PATCH", f"/accounts/{account['id']}", json={"rate_limit": "5/minute", "app_secret": "another secret"})
    call("DELETE", f"/accounts/{account['id']}")
    token = call("POST", "/tokens", json={"name": "nightly"}).json
    call("DELETE", f"/tokens/{token['id']}")
    new = {"email": f"new{call.user_id}@example.com", "password": "long enough to use", "role": "operator"}
    user = call("POST", "/users", json=new).json
    call("PATCH", f"/users/{user['id']}", json={"role": "viewer", "password": "another long one"})
    call("DELETE", f"/users/{user['id']}")
    call("PATCH", "/company/settings", json={"message_interval_s": 7})

    answer = call("GET", "/audit-log")
    entries = answer.json["items"]
    assert [each["action"] for each in entries] == [
        "company.changed",
        "user.deleted",
        "user.changed",
        "user.created",
        "token.revoked",
        "token.created",
        "account.deleted",
        "account.changed",
        "account.created",
    ]
    with database() as session:
        email = session.get_one(User, call.user_id).email
    assert {(each["actor_id"], each["actor"]) for each in entries} == {(str(call.user_id), email)}
    changed = next(each for each in entries if each["action"] == "account.changed")
    assert (changed["subject_kind"], changed["subject_id"]) == ("account", account["id"])
    assert changed["details"] == {"fields": ["app_secret", "rate_limit"]}
    for secret in ("a secret of the tests", "another secret", "long enough", "another long", token["token"]):
        assert secret not in answer.text


def test_campaigns_are_in_the_log_by_what_was_done_to_them(call: Caller, database: Database) -> None:
    with database() as session:
        account = factories.account(session, session.get_one(User, call.user_id).company)
    body = {
        "name": "Spring",
        "account_ids": [str(account.id)],
        "audience": {"recipients": [{"phone": "+5511987654321"}]},
        "content": {"type": "text", "text": "Hello"},
    }
    campaign = call("POST", "/campaigns", json=body).json
    draft = call("POST", "/campaigns", json=body).json
    call("PATCH", f"/campaigns/{campaign['id']}", json={"name": "Summer"})
    assert call("POST", f"/campaigns/{campaign['id']}/start").status_code == 202
    with database() as session:
        preparing.prepare_chunk(session, int(campaign["id"]), now=utc_now())
    for verb in ("pause", "resume", "cancel"):
        assert call("POST", f"/campaigns/{campaign['id']}/{verb}").status_code == 202
    assert call("POST", f"/campaigns/{campaign['id']}/start").status_code == 409
    call("DELETE", f"/campaigns/{draft['id']}")
    assert log_of(call, f"?subject=campaign:{campaign['id']}")[::-1] == [
        (f"campaign.{done}", "campaign") for done in ("created", "changed", "started", "paused", "resumed", "cancelled")
    ]
    assert log_of(call, f"?subject=campaign:{draft['id']}") == [
        ("campaign.deleted", "campaign"),
        ("campaign.created", "campaign"),
    ]


def test_a_schedule_is_in_the_log_with_its_time(call: Caller, database: Database) -> None:
    with database() as session:
        account = factories.account(session, session.get_one(User, call.user_id).company)
    body = {
        "name": "Spring",
        "account_ids": [str(account.id)],
        "audience": {"recipients": [{"phone": "+5511987654321"}]},
        "content": {"type": "text", "text": "Hello"},
        "scheduled_at": "2099-01-01T09:00:00-03:00",
    }
    campaign = call("POST", "/campaigns", json=body).json
    call("PATCH", f"/campaigns/{campaign['id']}", json={"scheduled_at": "2099-01-02T09:00:00-03:00"})
    entries = call("GET", f"/audit-log?subject=campaign:{campaign['id']}&action=campaign.scheduled").json["items"]
    assert [each["details"]["scheduled_at"] for each in entries] == [
        "2099-01-02T12:00:00+00:00",
        "2099-01-01T12:00:00+00:00",
    ]


def test_what_a_button_of_a_page_does_is_in_the_log_too(
    admin: tuple[Visitor, User], database: Database, call: Caller
) -> None:
    visitor, user = admin
    with database() as session:
        campaign = factories.campaign(session, session.get_one(User, user.id))
    for verb in ("start", "cancel"):
        visitor.press(f"/campaigns/{campaign.id}/{verb}")
    with database() as session:
        entries = audit.of_company(session, user.company_id, subject=("campaign", str(campaign.id)))
    assert [(each.action, each.actor) for each in entries] == [
        ("campaign.cancelled", user.email),
        ("campaign.started", user.email),
        ("campaign.created", None),  # by the factory
    ]


def test_what_was_refused_is_not_in_the_log(call: Caller) -> None:
    problem(call("PATCH", "/company/settings", json={"whatsapp_rate_limit": "fast"}), 422)
    problem(call("POST", "/accounts", json={"name": "x", "provider": "cloud_api"}), 422)
    assert log_of(call) == []


def test_the_log_is_narrowed_down_and_read_in_pages(call: Caller, caller: Callable[..., Caller]) -> None:
    other = caller(like=call)
    for name in ("a", "b", "c"):
        call("POST", "/tokens", json={"name": name})
    other("POST", "/tokens", json={"name": "d"})
    call("PATCH", "/company/settings", json={"message_interval_s": 7})
    assert len(log_of(call, f"?actor={call.user_id}")) == 4
    assert log_of(call, f"?actor={other.user_id}") == [("token.created", "token")]
    assert len(log_of(call, "?subject=token")) == 4
    assert log_of(call, "?action=company.changed") == [("company.changed", "company")]
    first = call("GET", "/audit-log?action=token.created&limit=3")
    second = call("GET", f"/audit-log?action=token.created&limit=3&cursor={first.json['next_cursor']}")
    assert (len(first.json["items"]), len(second.json["items"])) == (3, 1)


def test_the_log_is_for_administrators_of_the_company(
    call: Caller, caller: Callable[..., Caller], stranger: Caller
) -> None:
    call("POST", "/tokens", json={"name": "mine"})
    problem(caller(role=Role.OPERATOR, like=call)("GET", "/audit-log"), 403)
    assert log_of(stranger) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [("subject=Account", "subject"), ("subject=a:b:c", "subject"), ("actor=me", "actor"), ("limit=0", "limit")],
)
def test_a_bad_question_to_the_log_is_refused_by_name(call: Caller, query: str, field: str) -> None:
    assert list(problem(call("GET", f"/audit-log?{query}"), 422)["errors"]) == [field]


# --- The bell and the page.


@pytest.fixture
def admin(app: Flask, database: Database) -> tuple[Visitor, User]:
    with database() as session:
        user = person(session, factories.company(session))
    return signed_in(app, user), user


def bell(html: str) -> tuple[str, str]:
    """Return what the bell says to a screen reader, and the count beside it."""
    found = re.search(r'<a class="bell"[^>]*aria-label="([^"]*)".*?</a>', html, re.DOTALL)
    assert found is not None
    count = re.search(r"<strong>([^<]*)</strong>", found[0])
    return unescape(found[1]), count[1] if count else ""


def test_the_bell_counts_what_nobody_has_read(admin: tuple[Visitor, User], tell: Callable[..., list[str]]) -> None:
    visitor, user = admin
    assert bell(visitor.see("/")) == ("Notifications", "")
    tell(user.company_id, "one", "two")
    assert bell(visitor.see("/accounts")) == ("Notifications, 2 unread", "2")
    tell(user.company_id, *map(str, range(120)))
    assert bell(visitor.see("/")) == ("Notifications, 99 or more unread", "99+")


def test_an_error_page_asks_nobody_how_many_there_are(
    admin: tuple[Visitor, User], tell: Callable[..., list[str]]
) -> None:
    visitor, user = admin
    tell(user.company_id, "one")
    missing = visitor.get(f"/campaigns/{2**40}")
    assert missing.status_code == 404
    assert bell(missing.get_data(as_text=True)) == ("Notifications", "")


def test_the_page_shows_them_with_their_severity_and_what_they_are_about(
    admin: tuple[Visitor, User], database: Database, tell: Callable[..., list[str]]
) -> None:
    visitor, user = admin
    with database() as session:
        campaign = factories.campaign(session, session.get_one(User, user.id))
    tell(user.company_id, HOSTILE, severity="error", subject=("campaign", campaign.id))
    tell(user.company_id, "look at it", subject=("account", 7))
    html = visitor.see("/notifications")
    assert HOSTILE not in html
    assert "&lt;script&gt;evil()" in html
    assert html.index("look at it") < html.index("&lt;script&gt;")
    assert re.findall(r'class="badge" data-status="(\w+)"', html) == ["warning", "error"]
    assert f'href="/campaigns/{campaign.id}"' in html
    assert 'href="/accounts#account-7"' in html


def test_one_is_marked_as_read_and_then_all_that_were_on_the_page(
    admin: tuple[Visitor, User], tell: Callable[..., list[str]]
) -> None:
    visitor, user = admin
    one, two = tell(user.company_id, "first words", "second words")
    answer = visitor.press(f"/notifications/{one}/read?show=unread")
    assert answer.location == "/notifications?show=unread"
    unread = visitor.see("/notifications?show=unread")
    assert "first words" not in unread
    assert "first words" in visitor.see("/notifications")
    up_to = re.search(r'name="up_to" value="(\d+)"', unread)
    assert up_to is not None
    tell(user.company_id, "third words")
    visitor.press("/notifications/read-all", up_to=up_to[1])
    html = visitor.see("/notifications")
    assert flashes(html) == ["1 marked as read."]
    assert bell(html) == ("Notifications, 1 unread", "1")
    assert "third words" in visitor.see("/notifications?show=unread")
    assert two == up_to[1]


def test_without_any_the_page_says_what_would_be_there(admin: tuple[Visitor, User]) -> None:
    visitor, _ = admin
    assert "There is no notification" in visitor.see("/notifications")
    assert "Nothing is unread" in visitor.see("/notifications?show=unread")
    assert "Mark all as read" not in visitor.see("/notifications")


def test_older_ones_are_on_the_next_page(admin: tuple[Visitor, User], tell: Callable[..., list[str]]) -> None:
    visitor, user = admin
    tell(user.company_id, *(f"number {at:02}." for at in range(31)))
    html = visitor.see("/notifications")
    assert "number 30." in html
    assert "number 00." not in html
    older = re.search(r'href="(/notifications\?before=\d+)"', html)
    assert older is not None
    assert "number 00." in visitor.see(older[1])


def test_a_viewer_looks_and_presses_nothing_and_strangers_see_nothing(
    app: Flask, admin: tuple[Visitor, User], database: Database, tell: Callable[..., list[str]]
) -> None:
    _, user = admin
    [one] = tell(user.company_id, "ours alone")
    with database() as session:
        people = [
            person(session, session.get_one(User, user.id).company, Role.VIEWER),
            person(session, factories.company(session)),
        ]
    viewer, stranger = (signed_in(app, each) for each in people)
    html = viewer.see("/notifications")
    assert "ours alone" in html
    assert "Mark" not in html
    assert viewer.press(f"/notifications/{one}/read").status_code == 403
    assert viewer.press("/notifications/read-all").status_code == 403
    assert "ours alone" not in stranger.see("/notifications")
    assert stranger.press(f"/notifications/{one}/read").status_code == 404


# --- Accounts: warnings, health, the buttons.


def test_the_page_of_the_accounts_warns_and_reactivates(admin: tuple[Visitor, User], database: Database) -> None:
    visitor, user = admin
    with database() as session:
        account = factories.account(
            session,
            session.get_one(User, user.id).company,
            name="Loja",
            status="deactivated",
            status_reason="190: expired",
            warning="No status has come.",
            daily_recipient_limit=1500,
            provider_recipient_limit=2000,
            health={
                "reachable": True,
                "summary": "connected",
                "quality_rating": "RED",
                "throughput": "STANDARD",
                "tier": "TIER_2K",
                "warnings": ["The quality is RED."],
            },
        )
    html = visitor.see("/accounts")
    for said in ("190: expired", "No status has come.", "The quality is RED.", "Quality: RED", "Throughput: STANDARD"):
        assert said in html
    assert "At most 1,500 different ones, the provider says 2,000." in html
    assert visitor.press(f"/accounts/{account.id}/reactivate").location == "/accounts"
    again = visitor.see("/accounts")
    assert flashes(again) == ["Loja sends again: one message first, the others when it was accepted."]
    assert "/reactivate" not in again
    visitor.press(f"/accounts/{account.id}/reactivate")
    assert flashes(visitor.see("/accounts")) == ["Loja is active already."]
    with database() as session:
        assert session.get_one(Account, account.id).status == "active"
        actor = session.scalar(
            text("SELECT actor FROM audit_log WHERE action = 'account.reactivated' AND subject_id = :id"),
            {"id": str(account.id)},
        )
    assert actor == user.email


def test_an_account_says_its_warnings_to_programs_too(call: Caller, database: Database) -> None:
    with database() as session:
        company = session.get_one(User, call.user_id).company
        health = {"reachable": True, "summary": "connected", "warnings": ["The quality is RED."]}
        made = factories.account(session, company, warning="No status has come.", health=health)
        well = factories.account(session, company)
    assert call("GET", f"/accounts/{made.id}").json["warnings"] == ["No status has come.", "The quality is RED."]
    assert call("GET", f"/accounts/{well.id}").json["warnings"] == []


def test_a_check_shares_the_answer_of_the_last_seconds(call: Caller, registered: Callable[..., dict[str, str]]) -> None:
    made = call("POST", "/accounts", json={"name": "Shop", "provider": "cloud_api", **registered()}).json
    answer = call("POST", f"/accounts/{made['id']}/health-check")
    assert answer.status_code == 200
    assert (answer.json["health"], answer.json["health_checked_at"]) == (made["health"], made["health_checked_at"])
    assert (answer.json["health"]["tier"], answer.json["health"]["throughput"]) == ("TIER_UNLIMITED", "STANDARD")
