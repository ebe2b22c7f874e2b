"""The pages as a browser without scripts sees them."""

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from flask import Flask
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.models import Account, AccountStatus, Campaign, Company, Role, User
from campaign_engine.services import campaigns, imports
from jobs import contact_sync, queues
from tests import factories
from tests.web.visitor import Visitor, flashes, move, person, running, shown, signed_in
from web.pages import campaigns as campaign_pages
from web.pages import imports as import_pages

Database = Callable[[], AbstractContextManager[Session]]

HOSTILE = "<script>evil()</script><img src=x onerror=evil()>\"'&amp;{%"


@dataclass(frozen=True, slots=True)
class People:
    """The people of one company, each with a browser of their own, and the company's things."""

    admin: Visitor
    operator: Visitor
    viewer: Visitor
    company_id: int
    admin_id: int
    viewer_id: int
    account_id: int


@pytest.fixture
def people(app: Flask, database: Database) -> People:
    with database() as session:
        company = factories.company(session, name="Bakery")
        users = {role: person(session, company, role) for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER)}
        account = factories.account(session, company, name="Main number")
    return People(
        *(signed_in(app, users[role]) for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER)),
        company_id=company.id,
        admin_id=users[Role.ADMIN].id,
        viewer_id=users[Role.VIEWER].id,
        account_id=account.id,
    )


@pytest.fixture
def make(database: Database, people: People) -> Callable[..., int]:
    """Make a campaign of the company in a state, with its id for an answer."""

    def make(status: str = "draft", *, size: int = 3, **values: Any) -> int:
        with database() as session:
            owner = session.get_one(User, people.admin_id)
            account = session.get_one(Account, people.account_id)
            if status in ("draft", "scheduled"):
                when = {"scheduled_at": datetime(2099, 5, 4, 12, tzinfo=UTC)} if status == "scheduled" else {}
                return factories.campaign(session, owner, accounts=[account], **when, **values).id
            made = running(session, owner, accounts=[account], size=size, **values)
            if status in ("paused", "cancelled"):
                verb = {"paused": campaigns.pause, "cancelled": campaigns.cancel}[status]
                verb(session, made, **({"now": made.created_at} if status == "cancelled" else {}))
            elif status != "running":
                session.execute(
                    text("UPDATE campaigns SET status = :status WHERE id = :id"), {"status": status, "id": made.id}
                )
            return made.id

    return make


@pytest.fixture
def status_of(database: Database) -> Callable[[int], str]:
    def status_of(campaign_id: int) -> str:
        with database() as session:
            return session.get_one(Campaign, campaign_id).status

    return status_of


# Signing in


def test_whoever_is_not_signed_in_is_asked_to_and_led_back(
    app: Flask, database: Database, people: People, make: Callable[..., int]
) -> None:
    campaign_id = make()
    with database() as session:
        email = session.get_one(User, people.viewer_id).email
    visitor = Visitor(app)
    asked = visitor.get(f"/campaigns/{campaign_id}?status=failed")
    assert asked.status_code == 302
    form = visitor.see(asked.location)
    target = re.search(r'name="next" value="([^"]*)"', form)
    assert target is not None
    answer = visitor.sign_in(email, next=target[1])
    assert (answer.status_code, answer.location) == (303, f"/campaigns/{campaign_id}?status=failed")
    assert visitor.get("/login?next=/accounts").location == "/accounts"


@pytest.mark.parametrize("email", ["nobody@example.com", "known"])
def test_a_wrong_address_and_a_wrong_password_get_the_same_answer(app: Flask, database: Database, email: str) -> None:
    with database() as session:
        known = person(session, factories.company(session)).email
    visitor = Visitor(app)
    answer = visitor.sign_in(known if email == "known" else email, "not the password")
    html = answer.get_data(as_text=True)
    assert answer.status_code == 401
    assert flashes(html) == []
    assert 'role="alert">The e-mail address or the password is wrong.' in html
    assert "not the password" not in html
    assert 'aria-invalid="true"' in html
    assert visitor.get("/").status_code == 302


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:evil()"])
def test_signing_in_leads_to_our_own_pages_only(app: Flask, database: Database, target: str) -> None:
    with database() as session:
        user = person(session, factories.company(session))
    visitor = Visitor(app)
    assert "evil" not in visitor.get("/login", query_string={"next": target}).get_data(as_text=True)
    assert visitor.sign_in(user.email, next=target).location == "/"


def test_the_sign_in_page_tells_no_password_and_no_address(app: Flask) -> None:
    html = Visitor(app).see("/login")
    assert "demo" not in html.lower()
    assert 'type="email" autocomplete="username" required value=""' in html


def test_signing_out_takes_a_form_and_ends_the_session(people: People) -> None:
    assert people.viewer.get("/logout").status_code == 405
    assert people.viewer.press("/logout").location == "/login"
    assert people.viewer.get("/").status_code == 302


# Every page


@pytest.fixture
def pages(people: People, make: Callable[..., int], database: Database) -> list[str]:
    """Every page of the company, with something on it."""
    campaign_id = make("running", size=2)
    make("draft")
    with database() as session:
        record = imports.create(
            session,
            company_id=people.company_id,
            user_id=people.admin_id,
            filename="people.csv",
            stream=io.BytesIO(b"phone,name\n+5511980000001,Ana\n"),
            list_name="customers",
            mapping=None,
            default_region="BR",
            max_bytes=10**6,
        )
        return [
            "/",
            f"/campaigns/{campaign_id}",
            f"/campaigns/{campaign_id}?status=pending",
            f"/campaigns/{campaign_id}/cancel",
            "/imports",
            f"/imports/{record.id}",
            "/accounts",
            "/notifications",
        ]


def test_no_page_needs_a_looser_policy_or_another_server(people: People, pages: list[str]) -> None:
    for path in [*pages, "/login", "/nothing-here"]:
        response = people.admin.get(path, follow_redirects=True)
        html = response.get_data(as_text=True)
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert not re.search(r"<script(?![^>]*\ssrc=\"/static/)", html), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", html), path
        assert not re.search(r"(?:src|href|action)=\"(?!/|#|\")", html), path


def test_every_page_has_one_heading_a_language_and_a_way_to_its_content(people: People, pages: list[str]) -> None:
    for path in [*pages, "/nothing-here"]:
        html = people.admin.get(path).get_data(as_text=True)
        assert len(re.findall(r"<h1[ >]", html)) == 1, path
        assert '<html lang="en">' in html
        assert 'href="#content"' in html
        assert html.count('id="content"') == 1
        ids = re.findall(r'\sid="([^"]+)"', html)
        assert len(ids) == len(set(ids)), path
        for label_for in re.findall(r'<label for="([^"]+)"', html):
            assert label_for in ids


def test_every_form_carries_its_token_and_nothing_happens_without(people: People, pages: list[str]) -> None:
    for path in pages:
        for form in re.findall(r"<form.*?</form>", people.admin.see(path), re.DOTALL):
            assert 'method="post"' in form
            assert 'name="csrf_token"' in form


def test_the_queues_are_linked_for_administrators_only(people: People) -> None:
    assert 'href="/rq/"' in people.admin.see("/")
    assert 'href="/rq/"' not in people.operator.see("/")


def test_a_page_that_is_not_there_is_a_page(people: People, app: Flask) -> None:
    for visitor in (people.viewer, Visitor(app)):
        response = visitor.get("/nothing-here")
        assert response.status_code == 404
        assert "There is nothing at /nothing-here." in response.get_data(as_text=True)


def test_what_people_and_providers_wrote_is_never_markup(
    people: People, database: Database, make: Callable[..., int], redis_url: str
) -> None:
    campaign_id = make("running", name=HOSTILE, content={"type": "text", "text": f"{{{{name|{HOSTILE}}}}} {HOSTILE}"})
    scheduled = make("draft", name=HOSTILE, content={"type": "template", "name": HOSTILE, "language": HOSTILE})
    with database() as session:
        session.get_one(Company, people.company_id).name = HOSTILE
        session.execute(
            text("UPDATE contacts SET name = :name WHERE company_id = :company_id"),
            {"name": HOSTILE, "company_id": people.company_id},
        )
        account = session.get_one(Account, people.account_id)
        account.name, account.status_reason = HOSTILE, HOSTILE
        account.status = AccountStatus.DEACTIVATED
        account.health = {"summary": HOSTILE, "verified_name": HOSTILE, "reachable": True}
        move(
            session,
            campaign_id,
            1,
            "pending",
            "failed",
            error_code=HOSTILE,
            error_class=HOSTILE,
            error_detail=HOSTILE,
            account_id=account.id,
        )
        move(session, campaign_id, 1, "pending", "skipped", status_reason=HOSTILE)
        record = imports.create(
            session,
            company_id=people.company_id,
            user_id=None,
            filename=HOSTILE,
            stream=io.BytesIO(f"phone,name\n{HOSTILE},x\n".encode()),
            list_name=HOSTILE,
            mapping=None,
            default_region="BR",
            max_bytes=10**6,
        )
        import_id = record.id
    with people.admin.client.application.app_context():
        contact_sync.write_all(import_id)
    seen = []
    for path in (
        "/",
        f"/campaigns/{campaign_id}",
        f"/campaigns/{campaign_id}?status=failed",
        f"/campaigns/{campaign_id}?status=skipped",
        f"/campaigns/{campaign_id}/cancel",
        f"/campaigns/{scheduled}",
        "/imports",
        f"/imports/{import_id}",
        "/accounts",
    ):
        html = people.admin.see(path)
        assert "<script>evil" not in html, path
        assert "<img src=x" not in html, path
        seen.append(html.count("&lt;script&gt;evil()"))
    assert all(seen), seen


def test_nothing_of_another_company_is_there(
    people: People, app: Flask, database: Database, make: Callable[..., int]
) -> None:
    campaign_id = make("running", name="Ours alone")
    with database() as session:
        record = imports.create(
            session,
            company_id=people.company_id,
            user_id=None,
            filename="ours.csv",
            stream=io.BytesIO(b"phone\n+5511980000001\n"),
            list_name=None,
            mapping=None,
            default_region="BR",
            max_bytes=10**6,
        )
        stranger = signed_in(app, person(session, factories.company(session)))
    for path in (f"/campaigns/{campaign_id}", f"/campaigns/{campaign_id}/cancel", f"/imports/{record.id}"):
        assert stranger.get(path).status_code == 404
    for path in (
        *(f"/campaigns/{campaign_id}/{verb}" for verb in ("start", "pause", "resume", "cancel")),
        f"/accounts/{people.account_id}/check",
    ):
        assert stranger.press(path).status_code == 404
    assert "Ours alone" not in stranger.see("/")
    assert "ours.csv" not in stranger.see("/imports")
    assert "Main number" not in stranger.see("/accounts")


@pytest.mark.parametrize("wrong", ["0", "999999999999", "9223372036854775808", "-1", "x"])
def test_an_id_that_is_none_leads_nowhere(people: People, wrong: str) -> None:
    for path in (f"/campaigns/{wrong}", f"/campaigns/{wrong}/cancel", f"/imports/{wrong}"):
        assert people.admin.get(path).status_code == 404


# The list of campaigns


def test_an_empty_list_says_how_to_make_a_campaign(people: People) -> None:
    html = people.viewer.see("/")
    assert "There is no campaign yet" in html
    assert "campaign-engine campaign create" in html
    assert "/api/v1/campaigns" in html
    assert "{{name|there}}" in html


def test_the_newest_campaign_comes_first_and_pages_miss_none(
    people: People, make: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_pages, "CAMPAIGNS_PER_PAGE", 2)
    made = [make(name=f"Number {at}") for at in range(5)]
    assert people.viewer.get("/campaigns").location == "/"
    path: str | None = "/"
    seen: list[int] = []
    while path is not None:
        html = people.viewer.see(path)
        seen += [int(found) for found in re.findall(r'<li data-campaign="(\d+)"', html)]
        older = re.search(r'href="([^"]+)" rel="next"', html)
        path = older[1] if older else None
    assert seen == made[::-1]
    assert "no older campaigns" in people.viewer.see(f"/?before={made[0]}")


def test_a_row_tells_state_counts_rate_and_why_it_waits(
    people: People, make: Callable[..., int], database: Database
) -> None:
    campaign_id = make("running", size=4, name="Offer")
    with database() as session:
        now = datetime.now(UTC)
        move(session, campaign_id, 2, "pending", "sent", accepted_at=now, sent_at=now)
        move(session, campaign_id, 1, "sent", "read", delivered_at=now, read_at=now)
    html = people.viewer.see("/")
    assert [shown(html, key) for key in ("status", "done", "total")] == ["Running", "2", "4"]
    assert float(shown(html, "rate")) > 0
    assert [shown(html, f"funnel.{step}") for step in ("sent", "delivered", "read")] == ["2", "1", "1"]
    assert 'aria-label="Of 4 messages: 1 read, 1 sent, 2 pending."' in html
    people.operator.press(f"/campaigns/{campaign_id}/pause")
    assert shown(people.viewer.see("/"), "activity") == "Paused by an operator."


# One campaign

BUTTONS = {
    "draft": ["start", "cancel", "schedule"],
    "scheduled": ["start", "cancel", "schedule"],
    "preparing": ["cancel"],
    "running": ["pause", "cancel"],
    "paused": ["resume", "cancel"],
    "completed": [],
    "cancelled": [],
    "failed": [],
}


@pytest.mark.parametrize("status", BUTTONS)
def test_the_buttons_are_those_the_state_allows_and_a_viewer_has_none(
    people: People, make: Callable[..., int], status: str
) -> None:
    path = f"/campaigns/{make(status)}"
    verbs = re.findall(rf'action="{path}/(\w+)"', people.operator.see(path))
    assert sorted(verbs) == sorted([*BUTTONS[status], *(["test"] if BUTTONS[status] else [])])
    html = people.viewer.see(path)
    assert not re.findall(rf'(?:action|href)="{path}/(\w+)"', html)
    assert "Your role is viewer" in html


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "cancel"])
def test_a_button_needs_the_role_and_the_token(
    people: People, make: Callable[..., int], status_of: Callable[[int], str], verb: str
) -> None:
    status = {"start": "draft", "pause": "running", "resume": "paused", "cancel": "running"}[verb]
    campaign_id = make(status)
    path = f"/campaigns/{campaign_id}/{verb}"
    assert people.viewer.press(path).status_code == 403
    assert people.operator.client.post(path).status_code == 400
    assert people.operator.client.post(path, data={"csrf_token": people.admin.token()}).status_code == 400
    assert status_of(campaign_id) == status


def test_starting_prepares_the_campaign(
    people: People, make: Callable[..., int], status_of: Callable[[int], str], redis_client: redis.Redis
) -> None:
    campaign_id = make()
    answer = people.operator.press(f"/campaigns/{campaign_id}/start")
    assert (answer.status_code, answer.location) == (303, f"/campaigns/{campaign_id}")
    html = people.operator.see(answer.location)
    assert flashes(html) == ["The campaign has started."]
    assert status_of(campaign_id) == "preparing"
    assert Queue(queues.CAMPAIGN_SCHEDULER, connection=redis_client).count == 1


def test_pause_resume_and_cancel_do_what_they_say(
    people: People, make: Callable[..., int], status_of: Callable[[int], str]
) -> None:
    campaign_id = make("running")
    for verb, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert people.operator.press(f"/campaigns/{campaign_id}/{verb}").status_code == 303
        assert status_of(campaign_id) == status
        assert len(flashes(people.operator.see(f"/campaigns/{campaign_id}"))) == 1


def test_what_the_state_does_not_allow_is_a_sentence_on_the_page(people: People, make: Callable[..., int]) -> None:
    path = f"/campaigns/{make('running')}"
    assert people.operator.press(f"{path}/start").location == path
    assert flashes(people.operator.see(path)) == ["This campaign is running; it cannot start now."]
    assert flashes(people.operator.see(path)) == []


def test_a_start_without_an_active_account_is_refused_in_words(
    people: People, make: Callable[..., int], database: Database, status_of: Callable[[int], str]
) -> None:
    campaign_id = make()
    with database() as session:
        account = session.get_one(Account, people.account_id)
        account.status, account.status_reason = AccountStatus.DEACTIVATED, "190: expired"
    people.operator.press(f"/campaigns/{campaign_id}/start")
    [said] = flashes(people.operator.see(f"/campaigns/{campaign_id}"))
    assert said == "None of its accounts is active (Main number: 190: expired)."
    assert status_of(campaign_id) == "draft"


def test_a_button_answers_while_redis_is_away(
    app: Flask,
    people: People,
    make: Callable[..., int],
    status_of: Callable[[int], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign_id = make()
    away = redis.Redis(port=1, retry=Retry(NoBackoff(), 0))
    face = app.extensions["campaign_engine.web"]
    token = people.operator.token()
    monkeypatch.setitem(app.extensions, "campaign_engine.web", replace(face, redis=away, limiter_redis=away))
    answer = people.operator.client.post(f"/campaigns/{campaign_id}/start", data={"csrf_token": token})
    assert answer.status_code == 303
    assert status_of(campaign_id) == "preparing"
    assert people.operator.see(f"/campaigns/{campaign_id}")


def test_cancelling_asks_first_also_without_scripts(people: People, make: Callable[..., int]) -> None:
    campaign_id = make("running", size=3, name="Offer")
    page = people.operator.see(f"/campaigns/{campaign_id}")
    assert f'href="/campaigns/{campaign_id}/cancel" data-dialog="cancel-dialog"' in page
    question = people.operator.see(f"/campaigns/{campaign_id}/cancel")
    assert "Cancel “Offer”?" in question
    assert shown(question, "count.pending") == "3"
    assert people.viewer.get(f"/campaigns/{campaign_id}/cancel").status_code == 403


def test_every_state_of_a_message_is_counted_and_explained(
    people: People, make: Callable[..., int], database: Database
) -> None:
    campaign_id = make("running", size=10)
    with database() as session:
        for state in ("sending", "sent", "delivered", "read", "failed", "unknown", "skipped"):
            move(session, campaign_id, 1, "pending", state)
    html = people.viewer.see(f"/campaigns/{campaign_id}")
    for state in ("sending", "sent", "delivered", "read", "failed", "unknown", "skipped"):
        assert shown(html, f"count.{state}") == "1"
        assert shown(html, f"share.{state}") == "10%"
    assert shown(html, "count.pending") == "3"
    assert html.count('class="meaning"') == 8


def test_failures_are_grouped_by_code_most_frequent_first(
    people: People, make: Callable[..., int], database: Database
) -> None:
    campaign_id = make("running", size=6)
    with database() as session:
        move(session, campaign_id, 1, "pending", "failed", error_code="131049", error_class="recipient")
        for _ in range(3):
            move(
                session,
                campaign_id,
                1,
                "pending",
                "failed",
                error_code="131026",
                error_class="recipient",
                error_detail="Message undeliverable",
            )
    html = people.viewer.see(f"/campaigns/{campaign_id}")
    section = html[html.index('id="failures"') : html.index('id="messages"')]
    assert re.findall(r'<th scope="row"[^>]*>(\w+)</th>\s*<td[^>]*>(\d+)</td>', section) == [
        ("131026", "3"),
        ("131049", "1"),
    ]
    assert "Message undeliverable" in section


@pytest.mark.parametrize("status", [None, "pending", "sent", "failed"])
def test_the_pages_of_messages_show_each_one_once(
    people: People, make: Callable[..., int], database: Database, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    monkeypatch.setattr(campaign_pages, "MESSAGES_PER_PAGE", 3)
    campaign_id = make("running", size=20)
    with database() as session:
        for _ in range(3):  # states in turns, so that their positions interleave
            move(session, campaign_id, 3, "pending", "sent")
            move(session, campaign_id, 2, "pending", "failed")
        wanted = ("sent", "failed") if status is None else (status,)
        direction = "" if status == "pending" else "DESC"
        expected = session.scalars(
            text(
                "SELECT phone FROM messages WHERE campaign_id = :id AND status = ANY(:wanted)"  # noqa: S608
                f" ORDER BY position {direction}"
            ),
            {"id": campaign_id, "wanted": list(wanted)},
        ).all()
    path: str | None = f"/campaigns/{campaign_id}" + (f"?status={status}" if status else "")
    seen: list[str] = []
    while path is not None:
        html = people.viewer.see(path.replace("&amp;", "&").partition("#")[0])
        seen += re.findall(r'<th scope="row" class="nowrap">([^<]+)</th>', html)
        more = re.search(r'href="([^"]+)" rel="next"', html)
        path = more[1] if more else None
    assert seen == list(expected)


@pytest.mark.parametrize("query", ["?status=nonsense", "?from=-1", "?from=x", "?from=99999999999999999999", "?status="])
def test_nonsense_in_the_address_is_ignored(people: People, make: Callable[..., int], query: str) -> None:
    assert people.viewer.see(f"/campaigns/{make('running')}{query}")


def test_the_text_shows_its_variables(people: People, make: Callable[..., int]) -> None:
    html = people.viewer.see(f"/campaigns/{make(text='Hi {{ name | friend }}, your code: {{phone}} {not this}')}")
    assert re.findall(r"<mark title=\"([^\"]*)\">([^<]*)</mark>", html) == [
        ("The contact&#39;s name; without one: “friend”.", "{{ name | friend }}"),
        ("The contact&#39;s phone; without one the message is not sent.", "{{phone}}"),
    ]
    assert "{not this}" in html


def test_templates_and_media_are_described(people: People, make: Callable[..., int]) -> None:
    body = [{"type": "body", "parameters": [{"type": "text", "text": "{{name|friend}}"}]}]
    template = make(content={"type": "template", "name": "november_offer", "language": "pt_BR", "components": body})
    html = people.viewer.see(f"/campaigns/{template}")
    assert "<dd>november_offer</dd>" in html
    assert "<dd>{{name|friend}}</dd>" in html
    media = make(
        content={
            "type": "media",
            "media_type": "image",
            "link": "https://example.com/a.jpg",
            "caption": "For {{name|you}}",
        }
    )
    html = people.viewer.see(f"/campaigns/{media}")
    assert "<dd>https://example.com/a.jpg</dd>" in html
    assert ">{{name|you}}</mark>" in html


def test_times_are_those_of_the_company_and_say_so(people: People, make: Callable[..., int]) -> None:
    html = people.viewer.see(f"/campaigns/{make('scheduled')}")
    assert '<time datetime="2099-05-04T12:00:00.000Z" title="2099-05-04 09:00:00 America/Sao_Paulo">' in html
    assert "Mon 4 May 2099, 09:00" in html
    assert "America/Sao_Paulo (UTC−03:00)" in html


def test_the_ledger_can_be_taken_along(people: People, make: Callable[..., int]) -> None:
    campaign_id = make("running")
    assert f'href="/api/v1/campaigns/{campaign_id}/export.csv"' in people.viewer.see(f"/campaigns/{campaign_id}")
    assert people.viewer.get(f"/api/v1/campaigns/{campaign_id}/export.csv").status_code == 200


def test_the_page_and_its_polling_speak_of_the_same_version(people: People, make: Callable[..., int]) -> None:
    campaign_id = make("running")
    html = people.viewer.see(f"/campaigns/{campaign_id}")
    found = re.search(r'data-progress-url="([^"]+)" data-version="(\d+)"', html)
    assert found is not None
    assert people.viewer.get(f"{found[1]}?since={found[2]}").status_code == 304
    answer = people.viewer.get(found[1]).json
    assert answer is not None
    assert answer["version"] == int(found[2])
    listed = people.viewer.get(f"/api/v1/campaigns/progress?ids={campaign_id}").json
    assert listed is not None
    assert listed["items"] == [{**answer, **{key: listed["items"][0][key] for key in ("eta", "eta_seconds")}}]


# Imports


def upload(visitor: Visitor, content: bytes | None, **fields: Any) -> Any:
    files = {} if content is None else {"file": (io.BytesIO(content), fields.pop("filename", "people.csv"))}
    return visitor.press("/imports", **files, **fields)


def test_a_file_is_taken_and_followed_to_its_counts(people: People, redis_client: redis.Redis, app: Flask) -> None:
    answer = upload(
        people.operator, b"phone,name\n+5511980000001,Ana\n+5511980000001,Again\nnot a number,Bo\n", list=" customers "
    )
    assert answer.status_code == 303
    assert Queue(queues.CONTACT_SYNC, connection=redis_client).count == 1
    html = people.viewer.see(answer.location)
    assert 'src="/static/js/import.js"' in html
    assert 'data-state="pending"' in html
    with app.app_context():
        contact_sync.write_all(int(answer.location.rpartition("/")[2]))
    html = people.viewer.see(answer.location)
    assert "import.js" not in html
    assert dict(re.findall(r'data-count="(\w+)">(\d+)<', html)) == {
        "rows": "3",
        "created": "1",
        "updated": "0",
        "duplicates": "1",
        "errors": "1",
    }
    assert "not a number" in html
    assert people.viewer.get(f"/api/v1{answer.location}/errors.csv").status_code == 200
    history = people.viewer.see("/imports")
    assert f'href="{answer.location}">people.csv</a>' in history
    assert "customers" in history


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "Choose a file."),
        (b"", ""),
        (b"name,city\nAna,Recife\n", ""),
        (b"\x00\x01\x02\x03" * 100, ""),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_beside_its_field(
    people: People, database: Database, content: bytes | None, sentence: str
) -> None:
    answer = upload(people.operator, content, list="kept")
    html = answer.get_data(as_text=True)
    assert answer.status_code == 422
    field = re.search(r'<input id="file"[^>]*>\s*<p class="error" id="file-error">([^<]+)</p>', html)
    assert field is not None
    assert 'aria-invalid="true"' in field[0]
    assert "file-error" in field[0]
    assert sentence in field[1]
    assert 'value="kept"' in html
    with database() as session:
        stored = "SELECT count(*) FROM contact_imports WHERE company_id = :company_id"
        assert session.scalar(text(stored), {"company_id": people.company_id}) == 0


def test_a_list_name_that_cannot_be_used_is_refused_beside_its_field(people: People) -> None:
    for name in ("a\0b", "x" * 201):
        answer = upload(people.operator, b"phone\n+5511980000001\n", list=name)
        assert answer.status_code == 422
        assert 'id="list-error"' in answer.get_data(as_text=True)


def test_importing_needs_the_role_and_the_token(people: People) -> None:
    assert upload(people.viewer, b"phone\n+5511980000001\n").status_code == 403
    assert "you can look, not import" in people.viewer.see("/imports")
    answer = people.operator.client.post("/imports", data={"file": (io.BytesIO(b"phone\n"), "x.csv")})
    assert answer.status_code == 400


def test_the_history_is_paged(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_pages, "IMPORTS_PER_PAGE", 2)
    for at in range(3):
        assert upload(people.operator, b"phone\n+5511980000001\n", filename=f"f{at}.csv").status_code == 303
    html = people.viewer.see("/imports")
    assert re.findall(r">(f\d\.csv)</a>", html) == ["f2.csv", "f1.csv"]
    older = re.search(r'href="([^"]+)" rel="next"', html)
    assert older is not None
    assert re.findall(r">(f\d\.csv)</a>", people.viewer.see(older[1])) == ["f0.csv"]


# Accounts


def test_accounts_tell_limit_pace_and_health_in_words_and_no_secret(people: People, database: Database) -> None:
    with database() as session:
        account = session.get_one(Account, people.account_id)
        account.rate_limit, account.burst = "80/second", 10
        account.message_interval_s, account.longer_interval_after, account.greater_interval_s = 2.5, 20, 90
        account.health = {"reachable": True, "summary": "connected", "quality_rating": "GREEN"}
        account.health_checked_at = datetime.now(UTC)
        account.consecutive_failures = 2
        other = factories.account(session, account.company_id and session.get_one(Company, account.company_id))
        other.message_interval_s = other.longer_interval_after = 0
    html = people.viewer.see("/accounts")
    assert "At most 80 a second, at most 10 at once." in html
    assert "At least 2.5 s between messages, 1 min 30 s after each 20, 1 s between messages of one campaign." in html
    assert "At most 20 a minute, one every 3 s." in html
    assert re.search(r"connected, \d s ago", html)
    assert "Quality: GREEN" in html
    assert "2 of 5 that switch it off" in html
    assert "Not checked yet." in html
    assert "token-of-the-tests" not in html


def test_an_administrator_can_ask_the_provider_now(
    people: People, database: Database, registered: Callable[..., dict[str, str]]
) -> None:
    given = registered()
    with database() as session:
        company = session.get_one(Company, people.company_id)
        good = factories.account(session, company, name="Good", **given)
        bad = factories.account(session, company, name="Bad", **{**given, "access_token": "a-wrong-token"})
    assert people.operator.press(f"/accounts/{good.id}/check").status_code == 403
    assert "Check now" not in people.operator.see("/accounts")
    for account_id, said in ((good.id, "Good: connected"), (bad.id, "Bad: ")):
        assert people.admin.press(f"/accounts/{account_id}/check").location == "/accounts"
        [flash] = flashes(people.admin.see("/accounts"))
        assert flash.startswith(said)
    assert "a-wrong-token" not in people.admin.see("/accounts")
