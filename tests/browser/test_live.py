"""What moves while one looks: numbers, states, buttons, and what is said about it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from campaign_engine.models import Campaign, Company, User
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.campaigns import lifecycle, reading
from jobs import waking
from tests import factories
from tests.browser.conftest import SIZES, Site, Window
from tests.web import scenes
from tests.web.scenes import NOW, progress
from tests.web.visitor import move, running
from web.pages import facts
from web.schemas.campaigns import ProgressSchema


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def watching(request: pytest.FixtureRequest, window: Window, admin: User, campaign: Campaign) -> Iterator[Window]:
    """The page of a running campaign, at each size; afterwards it has complained about nothing."""
    window.size(*request.param)
    window.sign_in(admin)
    window.open(f"/campaigns/{campaign.id}")
    yield window
    assert window.too_wide() == []
    assert window.complaints() == []


@pytest.fixture
def campaign(site: Site, admin: User) -> Campaign:
    with site.database() as session:
        owner = session.get_one(User, admin.id)
        account = factories.account(session, session.get_one(Company, owner.company_id), name="Main number")
        return running(session, owner, accounts=[account], size=20, name="November offer")


def stay(window: Window) -> None:
    """Mark the page, so that a reload can be told, and note from now on how far things in it jump."""
    window.run(
        "window.stayed = true; window.jumped = 0; new PerformanceObserver((list) => {"
        "  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.jumped += entry.value;"
        "}).observe({type: 'layout-shift', buffered: false});"
    )


def jumped(window: Window) -> float:
    """Return the cumulative layout shift since `stay`; what moves below the window does not count."""
    return float(window.run("return window.jumped"))


def stayed(window: Window) -> bool:
    return window.run("return window.stayed === true") is True


def test_the_numbers_move_without_a_reload(watching: Window, site: Site, campaign: Campaign) -> None:
    stay(watching)
    assert watching.text('.headline [data-show="done"]') == "0"
    with site.database() as session:
        move(session, campaign.id, 8, "pending", "sent", accepted_at=datetime.now(UTC), sent_at=datetime.now(UTC))
    watching.until_text('.headline [data-show="done"]', "8")
    assert watching.text('[data-show="funnel.sent"]') == "8"
    assert watching.text('[data-show="count.pending"]') == "12"
    with site.database() as session:
        move(session, campaign.id, 5, "sent", "delivered", delivered_at=datetime.now(UTC))
        move(session, campaign.id, 2, "delivered", "read", read_at=datetime.now(UTC))
        move(session, campaign.id, 1, "pending", "failed", error_code="131026", error_detail="Undeliverable <b>")
    watching.until_text('[data-show="funnel.read"]', "2")
    assert jumped(watching) < 0.005
    assert watching.text('[data-show="funnel.read.of_previous"]') == "40%"
    bar = watching.one("svg.big")
    assert bar.get_attribute("aria-label") == "Of 20 messages: 2 read, 3 delivered, 3 sent, 1 failed, 11 pending."
    assert float(watching.one('svg.big [data-segment="read"]').get_attribute("width") or 0) == 100
    # The lists follow a little later.
    watching.until_text("#failures", "Undeliverable <b>")
    watching.until(lambda: len(watching.all("#messages tbody tr")) == 9)
    assert stayed(watching)
    watching.picture("campaign-live")


def test_pause_and_resume_by_their_buttons(watching: Window, site: Site, campaign: Campaign) -> None:
    watching.one("#actions button").click()
    watching.until_text(".under-title .badge", "Paused")
    assert watching.text(".message") == "The campaign is paused. Messages already on their way may still go out."
    assert status_of(site, campaign) == "paused"
    assert watching.text(".now") == "Paused by an operator."
    [resume] = watching.all("#actions button")
    assert resume.text == "Resume"
    resume.click()
    watching.until_text(".under-title .badge", "Running")
    assert status_of(site, campaign) == "running"


def test_what_somebody_else_does_is_announced_and_the_buttons_follow(
    watching: Window, site: Site, campaign: Campaign
) -> None:
    stay(watching)
    watching.one("#actions button").send_keys("")  # focus
    watching.run("document.querySelector('#actions button').focus()")
    with site.database() as session:
        lifecycle.pause(session, reading.get(session, campaign.company_id, campaign.id))
    watching.until_text("#announcer", "The campaign is now paused. Paused by an operator.")
    watching.until_text("#actions", "Resume")
    assert watching.run("return document.activeElement.textContent.trim()") == "Resume"
    assert watching.text(".under-title .badge") == "Paused"
    watching.one("#actions button").click()  # its token is good
    watching.until_text(".under-title .badge", "Running")


def test_cancelling_asks_in_a_dialog_that_the_keyboard_can_leave(
    watching: Window, site: Site, campaign: Campaign
) -> None:
    opener = watching.one('[data-dialog="cancel-dialog"]')
    opener.click()
    assert watching.run("return document.getElementById('cancel-dialog').open") is True
    assert watching.text("#cancel-dialog :focus") == "Keep it"
    watching.picture("cancel-dialog")
    watching.one("#cancel-dialog [data-close]").click()
    assert watching.run("return document.getElementById('cancel-dialog').open") is False
    assert status_of(site, campaign) == "running"
    opener.click()
    watching.one("#cancel-dialog button").click()
    watching.until_text(".under-title .badge", "Cancelled")
    assert status_of(site, campaign) == "cancelled"
    assert watching.all("#actions button, #actions a") == []


def wait(site: Site, campaign: Campaign, *, seconds: float) -> datetime:
    """Let the campaign's account wait, as a lane does; return until when."""
    with site.database() as session:
        [account_id] = reading.account_ids_of(session, [campaign.id])[campaign.id]
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    redis = site.app.extensions["campaign_engine"].redis
    waking.note_wait(redis, account_id, reason="pacing", until=until)
    return until


def test_why_it_waits_is_told_and_counted_down(watching: Window, site: Site, campaign: Campaign) -> None:
    stay(watching)
    until = wait(site, campaign, seconds=40)
    clock = until.astimezone(ZoneInfo("America/Sao_Paulo")).strftime("%H:%M:%S")
    watching.until_text(".now", f"Waiting: pacing, until {clock} (")
    before = watching.text(".now")
    watching.until(lambda: watching.text(".now") != before)
    assert watching.text('[data-show^="account."]').startswith("Active; waiting: pacing")
    assert jumped(watching) < 0.005


def test_a_lost_connection_is_said_in_words_and_taken_back(watching: Window, site: Site, campaign: Campaign) -> None:
    watching.until(lambda: any(path.endswith("/progress") for path in site.asked))
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    watching.driver.execute_cdp_cmd("Network.enable", {})
    watching.driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    watching.until_text("#connection", "Connection lost, retrying.")
    watching.picture("connection-lost")
    with site.database() as session:
        move(session, campaign.id, 1, "pending", "sent", accepted_at=datetime.now(UTC))
    watching.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {**offline, "offline": False})
    watching.until(lambda: watching.text("#connection") == "", timeout_s=40)
    assert watching.text('[data-show="funnel.sent"]') == "1"
    watching.complaints()  # of requests that failed, which was the point


def test_a_session_that_ended_is_said_in_words(watching: Window) -> None:
    watching.driver.delete_all_cookies()
    watching.until_text("#connection", "You are signed out.")


def test_the_list_moves_without_a_reload(window: Window, site: Site, admin: User, campaign: Campaign) -> None:
    window.sign_in(admin)
    stay(window)
    with site.database() as session:
        move(session, campaign.id, 5, "pending", "sent", accepted_at=datetime.now(UTC))
    window.until_text('[data-show="done"]', "5")
    wait(site, campaign, seconds=4)
    window.until_text(".activity", "Waiting: pacing")
    window.until_text(".activity", "Sending.")
    assert jumped(window) < 0.005
    with site.database() as session:
        lifecycle.pause(session, reading.get(session, campaign.company_id, campaign.id))
    window.until_text(".badge", "Paused")
    assert window.text("#announcer") == "November offer: Paused."
    assert stayed(window)
    assert window.complaints() == []


def test_a_hidden_page_asks_nothing_and_catches_up_when_it_is_seen_again(
    window: Window, site: Site, admin: User, campaign: Campaign
) -> None:
    window.sign_in(admin)
    window.open(f"/campaigns/{campaign.id}")
    page = window.driver.current_window_handle
    window.driver.switch_to.new_window("tab")
    try:
        window.driver.get("about:blank")
        window.until(lambda: quiet(site, for_s=3.0))
        with site.database() as session:
            move(session, campaign.id, 5, "pending", "sent", accepted_at=datetime.now(UTC))
    finally:
        window.driver.close()
        window.driver.switch_to.window(page)
    window.until_text('.headline [data-show="done"]', "5")


def quiet(site: Site, *, for_s: float) -> bool:
    before = len(site.asked)
    deadline = datetime.now(UTC) + timedelta(seconds=for_s)
    while datetime.now(UTC) < deadline:
        if len(site.asked) != before:
            return False
    return True


def status_of(site: Site, campaign: Campaign) -> str:
    with site.database() as session:
        return session.get_one(Campaign, campaign.id).status


ZONES = ("America/Sao_Paulo", "Asia/Kolkata", "UTC", "America/New_York")
SCENES: list[dict[str, Any]] = [
    {"status": "draft"},
    {"status": "draft", "status_reason": "its start was missed"},
    {"status": "scheduled", "scheduled_at": NOW + timedelta(hours=20)},
    {"status": "scheduled", "scheduled_at": NOW, "status_reason": "no account is active"},
    {"status": "preparing"},
    {"status": "paused", "status_reason": "paused by an operator"},
    {"status": "paused", "status_reason": "the provider refuses its content (132000: <x>.)."},
    {"status": "paused"},
    {"status": "completed", "started_at": NOW - timedelta(days=400), "finished_at": NOW - timedelta(days=1)},
    {"status": "cancelled", "counts": {"pending": 12345, "sending": 6}},
    {"status": "failed", "status_reason": "no recipients"},
    {"status": "failed"},
    {"accounts": []},
    {
        "counts": {
            "pending": 7,
            "sending": 1,
            "sent": 2,
            "delivered": 30,
            "read": 400,
            "failed": 5,
            "unknown": 6,
            "skipped": 9,
        }
    },
    {"counts": {"pending": 1, "read": 999_999}, "funnel": {"sent": 999_999, "delivered": 999_999, "read": 999_999}},
    {"counts": {"pending": 999_999, "failed": 1}, "funnel": {"sent": 1225, "delivered": 121, "read": 33}},
    {"rate_per_minute": 1234.56, "success_rate": 0.97125, "eta": NOW + timedelta(seconds=200)},
    {"rate_per_minute": 0.1, "success_rate": 1.0, "eta": NOW + timedelta(days=3, hours=4)},
    {"rate_per_minute": 20.0, "success_rate": 0.0, "eta": NOW},
    {"counts": {"pending": 3}, "waiting": [scenes.wait(7, "pacing", 12.4)]},
    {"counts": {"pending": 3}, "waiting": [scenes.wait(7, "a_new_reason", None)]},
    *({"counts": {"pending": 3}, "waiting": [scenes.wait(7, reason, 4000)]} for reason in WaitReason),
    {"counts": {"pending": 3}, "waiting": [scenes.wait(7, "over", -1)]},
    {"counts": {"pending": 3}, "waiting": [scenes.wait(None, "outside_hours", 86_400)]},
    {
        "counts": {"pending": 3},
        "accounts": [
            scenes.account(1, "A: B"),
            scenes.account(2, "A"),
            scenes.account(3, "C", "deactivated", "190: <expired>"),
            scenes.account(4, "D", "deleted"),
        ],
        "waiting": [scenes.wait(1, "x", 30), scenes.wait(2, "y", 86_500)],
    },
]


def test_the_browser_says_what_the_server_says(window: Window, admin: User, campaign: Campaign) -> None:
    """`facts.js` is the twin of `facts.py`: were they to differ, a number would change its form when it moves."""
    window.sign_in(admin)
    window.driver.set_script_timeout(10)
    for zone in ZONES:
        for at in (NOW, NOW + timedelta(hours=13, milliseconds=400)):
            for scene in SCENES:
                given = progress(**scene)
                # The counts are summed up by `progress`, the milliseconds are what JSON keeps.
                said = window.driver.execute_async_script(  # type: ignore[no-untyped-call]
                    "const [progress, options, done] = arguments;"
                    "import('/static/js/facts.js').then((facts) => done("
                    "  [facts.describe(progress, options), facts.segments(progress.counts, progress.total)]));",
                    ProgressSchema().dump(given),
                    {"zone": zone, "now": at.timestamp() * 1000},
                )
                assert said[0] == facts.describe(given, zone=ZoneInfo(zone), now=at), (zone, scene)
                pieces = facts.segments(given.counts, given.total)
                assert [(piece["state"], round(piece["x"], 1), round(piece["width"], 1)) for piece in said[1]] == [
                    (piece.state, round(piece.x, 1), round(piece.width, 1)) for piece in pieces
                ]
