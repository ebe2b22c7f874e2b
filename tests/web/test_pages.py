"""The pages as a browser without scripts sees them: signing in, and what holds for every page."""

import io
import re
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import text

from campaign_engine.models import Account, AccountStatus, Company, User
from campaign_engine.services.people import imports
from jobs import importing
from tests import factories
from tests.web.conftest import Database, People
from tests.web.visitor import Visitor, flashes, move, person, signed_in

HOSTILE = "<script>evil()</script><img src=x onerror=evil()>\"'&amp;{%"

# Signing in


def test_whoever_is_not_signed_in_is_asked_to_and_led_back(
    app: Flask, database: Database, people: People, new_campaign: Callable[..., int]
) -> None:
    campaign_id = new_campaign()
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
def pages(people: People, new_campaign: Callable[..., int], database: Database) -> list[str]:
    """Every page of the company, with something on it."""
    campaign_id = new_campaign("running", size=2)
    new_campaign("draft")
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
    people: People, database: Database, new_campaign: Callable[..., int], redis_url: str
) -> None:
    campaign_id = new_campaign(
        "running", name=HOSTILE, content={"type": "text", "text": f"{{{{name|{HOSTILE}}}}} {HOSTILE}"}
    )
    scheduled = new_campaign("draft", name=HOSTILE, content={"type": "template", "name": HOSTILE, "language": HOSTILE})
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
        importing.write_all(import_id)
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
    people: People, app: Flask, database: Database, new_campaign: Callable[..., int]
) -> None:
    campaign_id = new_campaign("running", name="Ours alone")
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
