"""The list of campaigns and the page of one, as a browser without scripts sees them."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis
from flask import Flask
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from sqlalchemy import text

from campaign_engine.models import Account, AccountStatus, Campaign
from jobs import queues
from tests.web.conftest import Database, People
from tests.web.visitor import flashes, move, shown
from web.pages import campaigns as campaign_pages


@pytest.fixture
def status_of(database: Database) -> Callable[[int], str]:
    def status_of(campaign_id: int) -> str:
        with database() as session:
            return session.get_one(Campaign, campaign_id).status

    return status_of


# The list of campaigns


def test_an_empty_list_says_how_to_make_a_campaign(people: People) -> None:
    html = people.viewer.see("/")
    assert "There is no campaign yet" in html
    assert "campaign-engine campaign create" in html
    assert "/api/v1/campaigns" in html
    assert "{{name|there}}" in html


def test_the_newest_campaign_comes_first_and_pages_miss_none(
    people: People, new_campaign: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_pages, "CAMPAIGNS_PER_PAGE", 2)
    made = [new_campaign(name=f"Number {at}") for at in range(5)]
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
    people: People, new_campaign: Callable[..., int], database: Database
) -> None:
    campaign_id = new_campaign("running", size=4, name="Offer")
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
    people: People, new_campaign: Callable[..., int], status: str
) -> None:
    path = f"/campaigns/{new_campaign(status)}"
    verbs = re.findall(rf'action="{path}/(\w+)"', people.operator.see(path))
    assert sorted(verbs) == sorted([*BUTTONS[status], *(["test"] if BUTTONS[status] else [])])
    html = people.viewer.see(path)
    assert not re.findall(rf'(?:action|href)="{path}/(\w+)"', html)
    assert "Your role is viewer" in html


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "cancel"])
def test_a_button_needs_the_role_and_the_token(
    people: People, new_campaign: Callable[..., int], status_of: Callable[[int], str], verb: str
) -> None:
    status = {"start": "draft", "pause": "running", "resume": "paused", "cancel": "running"}[verb]
    campaign_id = new_campaign(status)
    path = f"/campaigns/{campaign_id}/{verb}"
    assert people.viewer.press(path).status_code == 403
    assert people.operator.client.post(path).status_code == 400
    assert people.operator.client.post(path, data={"csrf_token": people.admin.token()}).status_code == 400
    assert status_of(campaign_id) == status


def test_starting_prepares_the_campaign(
    people: People, new_campaign: Callable[..., int], status_of: Callable[[int], str], redis_client: redis.Redis
) -> None:
    campaign_id = new_campaign()
    answer = people.operator.press(f"/campaigns/{campaign_id}/start")
    assert (answer.status_code, answer.location) == (303, f"/campaigns/{campaign_id}")
    html = people.operator.see(answer.location)
    assert flashes(html) == ["The campaign has started."]
    assert status_of(campaign_id) == "preparing"
    assert Queue(queues.CAMPAIGN_SCHEDULER, connection=redis_client).count == 1


def test_pause_resume_and_cancel_do_what_they_say(
    people: People, new_campaign: Callable[..., int], status_of: Callable[[int], str]
) -> None:
    campaign_id = new_campaign("running")
    for verb, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert people.operator.press(f"/campaigns/{campaign_id}/{verb}").status_code == 303
        assert status_of(campaign_id) == status
        assert len(flashes(people.operator.see(f"/campaigns/{campaign_id}"))) == 1


def test_what_the_state_does_not_allow_is_a_sentence_on_the_page(
    people: People, new_campaign: Callable[..., int]
) -> None:
    path = f"/campaigns/{new_campaign('running')}"
    assert people.operator.press(f"{path}/start").location == path
    assert flashes(people.operator.see(path)) == ["This campaign is running; it cannot start now."]
    assert flashes(people.operator.see(path)) == []


def test_a_start_without_an_active_account_is_refused_in_words(
    people: People, new_campaign: Callable[..., int], database: Database, status_of: Callable[[int], str]
) -> None:
    campaign_id = new_campaign()
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
    new_campaign: Callable[..., int],
    status_of: Callable[[int], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign_id = new_campaign()
    away = redis.Redis(port=1, retry=Retry(NoBackoff(), 0))
    face = app.extensions["campaign_engine"]
    token = people.operator.token()
    monkeypatch.setitem(app.extensions, "campaign_engine", replace(face, redis=away, limiter_redis=away))
    answer = people.operator.client.post(f"/campaigns/{campaign_id}/start", data={"csrf_token": token})
    assert answer.status_code == 303
    assert status_of(campaign_id) == "preparing"
    assert people.operator.see(f"/campaigns/{campaign_id}")


def test_cancelling_asks_first_also_without_scripts(people: People, new_campaign: Callable[..., int]) -> None:
    campaign_id = new_campaign("running", size=3, name="Offer")
    page = people.operator.see(f"/campaigns/{campaign_id}")
    assert f'href="/campaigns/{campaign_id}/cancel" data-dialog="cancel-dialog"' in page
    question = people.operator.see(f"/campaigns/{campaign_id}/cancel")
    assert "Cancel “Offer”?" in question
    assert shown(question, "count.pending") == "3"
    assert people.viewer.get(f"/campaigns/{campaign_id}/cancel").status_code == 403


def test_every_state_of_a_message_is_counted_and_explained(
    people: People, new_campaign: Callable[..., int], database: Database
) -> None:
    campaign_id = new_campaign("running", size=10)
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
    people: People, new_campaign: Callable[..., int], database: Database
) -> None:
    campaign_id = new_campaign("running", size=6)
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
    people: People,
    new_campaign: Callable[..., int],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    status: str | None,
) -> None:
    monkeypatch.setattr(campaign_pages, "MESSAGES_PER_PAGE", 3)
    campaign_id = new_campaign("running", size=20)
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
def test_nonsense_in_the_address_is_ignored(people: People, new_campaign: Callable[..., int], query: str) -> None:
    assert people.viewer.see(f"/campaigns/{new_campaign('running')}{query}")


def test_the_text_shows_its_variables(people: People, new_campaign: Callable[..., int]) -> None:
    html = people.viewer.see(
        f"/campaigns/{new_campaign(text='Hi {{ name | friend }}, your code: {{phone}} {not this}')}"
    )
    assert re.findall(r"<mark title=\"([^\"]*)\">([^<]*)</mark>", html) == [
        ("The contact&#39;s name; without one: “friend”.", "{{ name | friend }}"),
        ("The contact&#39;s phone; without one the message is not sent.", "{{phone}}"),
    ]
    assert "{not this}" in html


def test_templates_and_media_are_described(people: People, new_campaign: Callable[..., int]) -> None:
    body = [{"type": "body", "parameters": [{"type": "text", "text": "{{name|friend}}"}]}]
    template = new_campaign(
        content={"type": "template", "name": "november_offer", "language": "pt_BR", "components": body}
    )
    html = people.viewer.see(f"/campaigns/{template}")
    assert "<dd>november_offer</dd>" in html
    assert "<dd>{{name|friend}}</dd>" in html
    media = new_campaign(
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


def test_times_are_those_of_the_company_and_say_so(people: People, new_campaign: Callable[..., int]) -> None:
    html = people.viewer.see(f"/campaigns/{new_campaign('scheduled')}")
    assert '<time datetime="2099-05-04T12:00:00.000Z" title="2099-05-04 09:00:00 America/Sao_Paulo">' in html
    assert "Mon 4 May 2099, 09:00" in html
    assert "America/Sao_Paulo (UTC−03:00)" in html


def test_the_ledger_can_be_taken_along(people: People, new_campaign: Callable[..., int]) -> None:
    campaign_id = new_campaign("running")
    assert f'href="/api/v1/campaigns/{campaign_id}/export.csv"' in people.viewer.see(f"/campaigns/{campaign_id}")
    assert people.viewer.get(f"/api/v1/campaigns/{campaign_id}/export.csv").status_code == 200


def test_the_page_and_its_polling_speak_of_the_same_version(people: People, new_campaign: Callable[..., int]) -> None:
    campaign_id = new_campaign("running")
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
