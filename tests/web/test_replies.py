"""Replies over the API and as a page: looked at, and decided where it is not clear what they mean."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from campaign_engine.db import db
from campaign_engine.models import Account, Campaign, Company, Role, User
from campaign_engine.providers.base import Inbound, Notice, NoticeKind
from campaign_engine.services.webhooks import replies
from campaign_engine.services.webhooks.replies import Received
from tests import factories
from tests.web.conftest import Caller, problem
from tests.web.visitor import Visitor, flashes, person, signed_in

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PHONE = "+5511987654321"
HOSTILE = "<script>evil()</script> não tenho interesse. não quero mais"

Says = Callable[..., None]


def say(session: Any, number: Account, *words: str, sender: str = "551187654321") -> None:
    """Let a person write to a number."""
    written = [
        Received(
            number.id,
            number.company_id,
            Inbound(number.phone_number_id or "", f"wamid.{uuid.uuid4().hex}", sender, NOW, "text", text=each),
        )
        for each in words
    ]
    replies.receive(session, written, now=NOW)


@pytest.fixture
def says(call: Caller, database: Callable[[], Any]) -> Says:
    """Let a person write to the caller's company."""

    def write(*words: str, **who: str) -> None:
        with database() as session:
            say(session, factories.account(session, session.get_one(Company, call.company_id)), *words, **who)

    return write


def test_replies_are_listed_newest_first_and_in_pages(call: Caller, says: Says) -> None:
    says("oi", "chega", "SAIR")
    first = call("GET", "/replies?limit=2").json
    second = call("GET", f"/replies?limit=2&cursor={first['next_cursor']}").json
    assert [each["text"] for each in first["items"] + second["items"]] == ["SAIR", "chega", "oi"]
    shown = first["items"][0]
    assert (shown["phone"], shown["intent"], shown["kind"]) == ("+551187654321", "certain", "text")
    assert (shown["decision"], shown["campaign_id"], shown["received_at"]) == (None, None, "2026-11-20T12:00:00.000Z")
    assert call("GET", f"/replies/{shown['id']}").json == shown


@pytest.mark.parametrize(
    ("sender", "contact", "shown"),
    [
        ("551162000001", "+5511962000001", "+5511962000001"),  # as WhatsApp spells many Brazilians
        ("5511962000001", None, "+5511962000001"),
        ("5215512345678", None, "+5215512345678"),
        ("5511962000001", "+551162000001", "+551162000001"),
        ("5590960000001", None, "+5590960000001"),  # of no area that we know
    ],
)
def test_who_writes_is_shown_by_a_phone_that_lifts_the_opt_out(
    call: Caller, database: Callable[[], Any], says: Says, sender: str, contact: str | None, shown: str
) -> None:
    with database() as session:
        for phone in (contact, "+5511900000009"):
            if phone:
                factories.contact(session, session.get_one(Company, call.company_id), phone=phone)
        factories.contact(session, factories.company(session), phone="+5511962000001")
    says("SAIR", "chega", sender=sender)
    listed = call("GET", "/replies").json["items"]
    assert [each["phone"] for each in listed] == [shown, shown]
    assert call("GET", f"/replies/{listed[0]['id']}").json["phone"] == shown
    [noted] = call("GET", "/opt-outs").json["items"]
    assert noted["phone"] == shown
    assert call("DELETE", f"/opt-outs/{shown}").status_code == 204
    assert call("GET", "/opt-outs").json["items"] == []


def test_an_alias_is_never_shown_for_the_person_it_stands_for(
    call: Caller, database: Callable[[], Any], says: Says
) -> None:
    with database() as session:
        company = session.get_one(Company, call.company_id)
        factories.contact(session, company, phone="+5511962000001").wa_id = "5511973000009"
    says("SAIR", sender="5511973000009")
    assert [each["phone"] for each in call("GET", "/opt-outs").json["items"]] == ["+5511962000001"]
    [known] = call("GET", "/contacts").json["items"]
    call("DELETE", f"/contacts/{known['id']}")
    [shown] = {each["phone"] for path in ("/replies", "/opt-outs") for each in call("GET", path).json["items"]}
    assert shown == "+551162000001"
    assert call("DELETE", f"/opt-outs/{shown}").status_code == 204


def test_a_page_costs_the_same_statements_for_one_person_and_for_many(app: Flask, call: Caller, says: Says) -> None:
    for person_at in range(5):
        says("SAIR", sender=f"551198765000{person_at}")
    counted: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        counted.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        for path in ("/replies", "/opt-outs"):
            counts = set()
            for limit in (1, 5):
                counted.clear()
                assert len(call("GET", f"{path}?limit={limit}").json["items"]) == limit
                counts.add(sum("token" not in each for each in counted))
            assert len(counts) == 1, path
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_replies_are_chosen_by_intent_and_by_need_of_a_decision(call: Caller, says: Says) -> None:
    says("oi", sender="5511987650001")
    says("chega", sender="5511987650002")
    says("SAIR", sender="5511987650003")
    for query, texts in (
        ("intent=certain", ["SAIR"]),
        ("intent=none", ["oi"]),
        ("undecided=true", ["chega"]),
        ("undecided=false&intent=resume", []),
    ):
        assert [each["text"] for each in call("GET", f"/replies?{query}").json["items"]] == texts, query
    problem(call("GET", "/replies?intent=perhaps"), 422)
    problem(call("GET", "/replies?campaign_id=99999999"), 404)


def test_the_replies_to_a_campaign_are_also_those_to_its_tests_and_no_others(
    call: Caller, database: Callable[[], Any], says: Says
) -> None:
    says("to a test", "to the campaign", "to the next of the series", "to nothing")
    with database() as session:
        user = person(session, session.get_one(Company, call.company_id), Role.OPERATOR)
        tested, test, following = (factories.campaign(session, user) for _ in range(3))
        test.kind, test.parent_id, following.parent_id = "test", tested.id, tested.id
        answered = {"to a test": test, "to the campaign": tested, "to the next of the series": following}
        for reply in replies.of_company(session, call.company_id):
            reply.campaign_id = answered[reply.text].id if reply.text in answered else None
    listed = call("GET", f"/replies?campaign_id={tested.id}").json["items"]
    assert [(each["text"], each["campaign_id"]) for each in listed] == [
        ("to the campaign", str(tested.id)),
        ("to a test", str(tested.id)),
    ]
    [listed] = call("GET", f"/replies?campaign_id={following.id}").json["items"]
    assert listed["text"] == "to the next of the series"


@pytest.mark.parametrize(("decision", "kinds"), [("opted_out", ["opted_out"]), ("dismissed", [])])
def test_a_held_reply_is_decided_once(call: Caller, says: Says, decision: str, kinds: list[str]) -> None:
    says("chega")
    [held] = call("GET", "/replies?undecided=true").json["items"]
    assert [each["kind"] for each in call("GET", "/opt-outs").json["items"]] == ["held"]
    decided = call("POST", f"/replies/{held['id']}/decide", json={"decision": decision})
    assert (decided.status_code, decided.json["decision"]) == (200, decision)
    assert decided.json["decided_by"] == str(call.user_id)
    assert [each["kind"] for each in call("GET", "/opt-outs").json["items"]] == kinds
    again = problem(call("POST", f"/replies/{held['id']}/decide", json={"decision": "dismissed"}), 409)
    assert again["code"] == "reply_decided"
    assert [each["kind"] for each in call("GET", "/opt-outs").json["items"]] == kinds


@pytest.mark.parametrize("body", [{}, {"decision": "later"}, {"decision": None}, {"decision": ["dismissed"]}])
def test_a_decision_is_one_of_two(call: Caller, says: Says, body: Any) -> None:
    says("chega")
    [held] = call("GET", "/replies").json["items"]
    assert list(problem(call("POST", f"/replies/{held['id']}/decide", json=body), 422)["errors"]) == ["decision"]


def test_a_viewer_looks_and_another_company_does_not(
    call: Caller, caller: Callable[..., Caller], stranger: Caller, says: Says
) -> None:
    says("chega")
    viewer = caller(role="viewer", like=call)
    [held] = viewer("GET", "/replies").json["items"]
    problem(viewer("POST", f"/replies/{held['id']}/decide", json={"decision": "dismissed"}), 403)
    assert stranger("GET", "/replies").json["items"] == []
    problem(stranger("GET", f"/replies/{held['id']}"), 404)
    problem(stranger("POST", f"/replies/{held['id']}/decide", json={"decision": "dismissed"}), 404)
    assert viewer("GET", "/replies?undecided=true").json["items"] == [held]


def test_the_settings_of_the_confirmation_are_kept_and_go_back(call: Caller) -> None:
    given = {"opt_out_confirmation": False, "opt_out_confirmation_text": "Tchau!"}
    assert given.items() <= call("PATCH", "/company/settings", json=given).json.items()
    back = call("PATCH", "/company/settings", json=dict.fromkeys(given)).json
    assert (back["opt_out_confirmation"], back["opt_out_confirmation_text"]) == (None, None)
    problem(call("PATCH", "/company/settings", json={"opt_out_confirmation": "yes"}), 422)


# --- The page.


@pytest.fixture
def desk(app: Flask, database: Callable[[], Any]) -> tuple[Visitor, Visitor, int]:
    """An operator and a viewer of a company to which somebody has written, and the id of its account."""
    with database() as session:
        company = factories.company(session)
        number = factories.account(session, company)
        people = [person(session, company, role) for role in (Role.OPERATOR, Role.VIEWER)]
        factories.contact(session, company, phone=PHONE, name="Ana & Bia")
        say(session, number, HOSTILE)
        say(session, number, "Adorei!", sender="5511987650001")
    operator, viewer = (signed_in(app, each) for each in people)
    return operator, viewer, number.id


def test_what_is_to_be_decided_stands_on_a_page_and_in_the_navigation(desk: tuple[Visitor, Visitor, int]) -> None:
    operator, _, _ = desk
    html = operator.see("/replies")
    assert "&lt;script&gt;evil()" in html
    assert "<script>evil" not in html
    assert f'<strong class="wrap">Ana &amp; Bia</strong> {PHONE},' in html
    assert "Adorei!" not in html
    everything = operator.see("/replies?show=all")
    assert "Adorei!" in everything
    assert '<strong class="wrap">+5511987650001</strong>,' in everything
    for path in ("/", "/accounts", "/imports"):
        assert 'class="waiting">1<span' in operator.get(path, follow_redirects=True).get_data(as_text=True), path


def test_a_button_decides_and_the_hint_goes_away(desk: tuple[Visitor, Visitor, int]) -> None:
    operator, _, _ = desk
    html = operator.see("/replies")
    action = html.split('action="/replies/')[1].split('"')[0]
    for expected in ("This person gets no more messages.", "This reply has been decided already."):
        answer = operator.press(f"/replies/{action}", decision="opted_out")
        assert answer.status_code == 303
        html = operator.see("/replies")
        assert flashes(html) == [expected]
    assert "Nothing is to be decided" in html
    assert 'class="waiting"' not in html
    assert "Decided: no more messages." in operator.see("/replies?show=all")
    assert operator.press(f"/replies/{action}", decision="later").status_code == 422


def test_what_became_clear_by_itself_is_told_apart_from_what_somebody_decided(
    database: Callable[[], Any], desk: tuple[Visitor, Visitor, int]
) -> None:
    operator, _, account_id = desk
    with database() as session:
        resumed = Notice(NoticeKind.MARKETING_RESUMED, "resume", subject="551187654321", at=NOW + timedelta(hours=1))
        replies.apply_preferences(session, [(session.get_one(Account, account_id).company_id, resumed)], now=NOW)
    assert "Nothing is to be decided" in operator.see("/replies")
    html = operator.see("/replies?show=all")
    assert "Decided: written to again. It became clear by itself." in html
    assert 'action="/replies/' not in html


def test_who_only_looks_has_no_buttons(desk: tuple[Visitor, Visitor, int]) -> None:
    operator, viewer, _ = desk
    action = operator.see("/replies").split('action="/replies/')[1].split('"')[0]
    assert 'action="/replies/' not in viewer.see("/replies")
    assert viewer.press(f"/replies/{action}", decision="dismissed").status_code == 403


def test_a_page_of_another_company_shows_nothing_and_decides_nothing(
    app: Flask, database: Callable[[], Any], desk: tuple[Visitor, Visitor, int]
) -> None:
    operator, _, _ = desk
    action = operator.see("/replies").split('action="/replies/')[1].split('"')[0]
    with database() as session:
        other = person(session, factories.company(session), Role.ADMIN)
    stranger = signed_in(app, other)
    assert "Nobody has replied yet" in stranger.see("/replies?show=all")
    assert stranger.press(f"/replies/{action}", decision="opted_out").status_code == 404
    assert 'class="waiting">1<span' in operator.see("/replies")


def test_a_reply_leads_to_its_campaign_and_pages_lead_on(
    app: Flask, database: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from web.pages import replies as pages

    monkeypatch.setattr(pages, "REPLIES_PER_PAGE", 2)
    with database() as session:
        company = factories.company(session)
        user: User = person(session, company, Role.OPERATOR)
        number = factories.account(session, company)
        campaign: Campaign = factories.campaign(session, user, accounts=[number], name="Spring")
        say(session, number, *("chega", "basta", "fora"))
        session.flush()
        for reply in replies.of_company(session, company.id):
            reply.campaign_id = campaign.id
    visitor = signed_in(app, user)
    first = visitor.see("/replies")
    assert f'href="/campaigns/{campaign.id}">Spring</a>' in first
    older = first.split('rel="next"')[0].rpartition('href="')[2].split('"')[0].replace("&amp;", "&")
    second = visitor.see(older)
    assert ("chega" in first, "chega" in second) == (False, True)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_reply_to_a_test_send_leads_to_the_campaign_that_was_tested(
    app: Flask, call: Caller, database: Callable[[], Any], says: Says, is_known: bool
) -> None:
    says("chega")
    with database() as session:
        user = person(session, session.get_one(Company, call.company_id), Role.OPERATOR)
        tested = factories.campaign(session, user, name="Spring")
        test = factories.campaign(session, user, name="Test")
        test.kind, test.parent_id = "test", tested.id if is_known else None
        [reply] = replies.of_company(session, call.company_id)
        reply.campaign_id = test.id
    shown = signed_in(app, user).see("/replies")
    links = [each.split(">")[0] for each in shown.split('href="/campaigns/')[1:]]
    assert links == ([f'{tested.id}"'] if is_known else [])
    [listed] = call("GET", "/replies").json["items"]
    one = call("GET", f"/replies/{listed['id']}").json
    decided = call("POST", f"/replies/{listed['id']}/decide", json={"decision": "dismissed"}).json
    for answer in (listed, one, decided):
        assert answer["campaign_id"] == (str(tested.id) if is_known else None)
