"""Every page at the sizes people have, light and dark: nothing sticks out, nothing complains, keys get around."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from rq import Queue
from rq.registry import FailedJobRegistry
from sqlalchemy import select
from sqlalchemy.orm import Session

from campaign_engine.models import Account, Campaign, Company, User
from campaign_engine.providers.base import Inbound
from campaign_engine.services.campaigns import lifecycle, series, test_sends
from campaign_engine.services.company import notifications
from campaign_engine.services.people import imports
from campaign_engine.services.webhooks import replies
from campaign_engine.services.webhooks.replies import Received
from jobs import importing, queues
from tests import factories
from tests.browser.conftest import DESKTOP, PHONE, Site, Window
from tests.web.visitor import move, running

SIZES = ((360, 740), PHONE, (768, 1024), DESKTOP, (1440, 900))
LONG = "A campaign with the longest name anybody ever gave to one, " + "andonewordwithoutanyspaceinit" * 3


def receive_replies(session: Session, number: Account, campaign_id: int) -> None:
    """Let people write back: short and long, clear and not."""
    for at, words in enumerate(("chega", f"{LONG}! não quero mais receber nada", "SAIR", "w" * 300, "START")):
        message = Inbound("", f"wamid.{at}", f"55119800000{at:02}", datetime.now(UTC), "text", text=words)
        replies.receive(session, [Received(number.id, number.company_id, message)], now=datetime.now(UTC))
    for reply in replies.of_company(session, number.company_id, limit=2):
        reply.campaign_id = campaign_id


@pytest.fixture
def pages(site: Site, admin: User) -> dict[str, str]:
    """The path of every page, with as much on it as there may be."""
    now = datetime.now(UTC)
    with site.database() as session:
        owner = session.get_one(User, admin.id)
        company = session.get_one(Company, owner.company_id)
        accounts = [
            factories.account(session, company, name=name)
            for name in ("Main number", "Thenumberwithoutanyspaceinitsnamewhichissolong" * 2)
        ]
        text = "Hi {{name|friend}}! " + "https://example.com/" + "x" * 120
        busy = running(session, owner, accounts=accounts, size=60, name=LONG, text=text)
        move(session, busy.id, 30, "pending", "sent", accepted_at=now, sent_at=now, account_id=accounts[0].id)
        move(session, busy.id, 20, "sent", "delivered", delivered_at=now)
        move(session, busy.id, 10, "delivered", "read", read_at=now)
        long_ago = now - timedelta(hours=2)
        for state in ("sending", "unknown", "skipped"):
            move(session, busy.id, 2, "pending", state, status_reason="opted_out", claimed_at=long_ago)
        move(
            session,
            busy.id,
            3,
            "pending",
            "failed",
            error_code="131026",
            error_class="recipient",
            error_detail="Undeliverable: " + "y" * 150,
            failed_at=now,
        )
        test_sends.send(
            session,
            busy,
            owner_id=owner.id,
            values={"phone": factories.phone_number()},
            default_region="BR",
            now=now,
        )
        paused = running(session, owner, accounts=accounts[:1], size=1)
        lifecycle.pause(session, paused)
        factories.campaign(session, owner, accounts=accounts, name="Draft")
        factories.campaign(session, owner, accounts=accounts, scheduled_at=datetime(2099, 9, 20, 12, tzinfo=UTC))
        weekly = {"every": "week", "interval": 2, "days": ["mon", "thu"], "time": "09:00", "until": "2099-12-31"}
        missed = factories.campaign(session, owner, accounts=accounts, name="Missed", recurrence=weekly)
        session.flush()
        series.write_next(session, missed, after=now, now=now)
        lifecycle.miss(session, missed, reason="its start at 2026-11-20 11:00 (America/Sao_Paulo) was missed")
        [next_id] = session.scalars(select(Campaign.id).where(Campaign.parent_id == missed.id))
        rows = "".join(f"{'9' * 40}{at},{'z' * 60}\n" for at in range(5))
        record = imports.create(
            session,
            company_id=company.id,
            user_id=owner.id,
            filename="a-file-with-a-very-long-name-that-nobody-shortened-in-time-for-the-import-of-november.csv",
            stream=io.BytesIO(f"phone,name\n+5511980000001,Ana\n{rows}".encode()),
            list_name="customers of the north-eastern region",
            mapping=None,
            default_region="BR",
            max_bytes=10**6,
        )
        factories.account(
            session,
            company,
            name="Off",
            status="deactivated",
            status_reason="190: The access token has expired. " + "z" * 120,
            warning="Messages are accepted but no status has come since 09:00: check the webhook set-up.",
            daily_recipient_limit=1_500,
            provider_recipient_limit=100_000,
        )
        for severity, said in (("info", "Short."), ("warning", LONG), ("error", "Account sends no more: " + "w" * 200)):
            notifications.notify(
                session,
                company_id=company.id,
                kind="test",
                severity=severity,
                text=said,
                subject=("campaign", busy.id) if severity == "warning" else None,
            )
        receive_replies(session, accounts[0], busy.id)
        busy_id, paused_id, missed_id, import_id = busy.id, paused.id, missed.id, record.id
    with site.app.app_context():
        importing.write_all(import_id)
    return {
        "campaigns": "/",
        "campaign": f"/campaigns/{busy_id}",
        "campaign-failed": f"/campaigns/{busy_id}?status=failed",
        "campaign-paused": f"/campaigns/{paused_id}",
        "campaign-missed": f"/campaigns/{missed_id}",
        "campaign-recurring": f"/campaigns/{next_id}",
        "cancel": f"/campaigns/{busy_id}/cancel",
        "imports": "/imports",
        "import": f"/imports/{import_id}",
        "accounts": "/accounts",
        "notifications": "/notifications",
        "replies": "/replies",
        "replies-all": "/replies?show=all",
        "not-found": "/nothing-here",
        "queues": "/rq/",
        "jobs": f"/rq/0/view/jobs/{queues.CAMPAIGN_MESSAGES}/queued/8/asc/1",
        "workers": "/rq/0/view/workers",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_nothing_complains(
    window: Window, admin: User, pages: dict[str, str], scheme: str
) -> None:
    window.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    try:
        window.open("/login")
        for size in SIZES:
            window.size(*size)
            assert window.too_wide() == [], ("login", size)
            window.picture(f"{scheme}-login")
        window.size(*DESKTOP)
        window.sign_in(admin)
        for name, path in pages.items():
            window.open(path)
            for size in SIZES:
                window.size(*size)
                assert window.too_wide() == [], (name, size)
                window.picture(f"{scheme}-{name}")
            assert window.complaints() == [], name
    finally:
        window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def gap(window: Window, above: str, below: str) -> float:
    """Return how many pixels are between the first elements of two CSS selectors."""
    script = "return document.querySelector(arguments[1]).getBoundingClientRect().top -" + (
        " document.querySelector(arguments[0]).getBoundingClientRect().bottom"
    )
    return float(window.run(script, above, below))


def test_what_follows_each_other_on_a_phone_keeps_a_distance_and_nothing_empty_takes_room(
    window: Window, site: Site, admin: User
) -> None:
    now = datetime.now(UTC)
    with site.database() as session:
        owner = session.get_one(User, admin.id)
        account = factories.account(session, owner.company, provider="evolution", instance="shop", phone_number_id=None)
        draft = factories.campaign(session, owner, accounts=[account])
        done = running(session, owner, accounts=[account], size=1)
        done.status, done.finished_at = "completed", now
    window.sign_in(admin)
    window.size(*PHONE)
    window.open(f"/campaigns/{draft.id}?check=1")
    for above, below in (
        ("#schedule .card", "#preflight .card"),
        ("#preflight .now", "#preflight .now + *"),
        ("#preflight .facts", "#preflight .ways"),
    ):
        assert 8 < gap(window, above, below) < 24, (above, below)
    window.picture("gaps-draft")
    window.open(f"/campaigns/{done.id}")
    assert gap(window, ".under-title", "main .card") < 40
    window.picture("gaps-completed")
    window.open("/accounts")
    assert 8 < gap(window, "main .card", "main .card + p") < 24
    window.picture("gaps-accounts")


def test_an_empty_installation_has_pages_too(window: Window, admin: User) -> None:
    window.sign_in(admin)
    for path in ("/", "/imports", "/accounts", "/notifications", "/replies"):
        window.open(path)
        for size in SIZES:
            window.size(*size)
            assert window.too_wide() == [], (path, size)
            window.picture(f"empty-{path.strip('/') or 'campaigns'}")
    assert window.complaints() == []


def test_the_keyboard_gets_to_the_content_first(window: Window, admin: User, pages: dict[str, str]) -> None:
    from selenium.webdriver.common.keys import Keys

    window.sign_in(admin)
    window.open(pages["campaign"])
    window.one("body").send_keys(Keys.TAB)
    assert window.run("return document.activeElement.textContent") == "Skip to the content"
    window.run("return document.activeElement").send_keys(Keys.ENTER)
    assert window.run("return document.activeElement.id") == "content"


def test_a_wrong_password_is_said_and_the_address_is_kept(window: Window, admin: User) -> None:
    window.open("/login")
    window.one("#email").send_keys(admin.email)
    window.one("#password").send_keys("wrong")
    window.one("main button").click()
    window.until_text('[role="alert"]', "The e-mail address or the password is wrong.")
    assert window.one("#email").get_property("value") == admin.email
    assert window.run("return document.activeElement.id") == "password"


def test_a_file_is_sent_and_followed_until_it_is_read(
    window: Window, site: Site, admin: User, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    path = tmp_path / "people.csv"
    path.write_text("phone,name\n+5511980000001,Ana\nnone,Bo\n")
    window.sign_in(admin)
    window.open("/imports")
    window.one("#file").send_keys(str(path))
    window.one("#list").send_keys("customers")
    window.one("main button").click()
    window.until(lambda: window.path.startswith("/imports/"))
    assert window.text(".badge") == "Waiting"
    with site.app.app_context():
        importing.write_all(int(window.path.rpartition("/")[2]))
    window.until_text(".badge", "Completed")
    assert window.text('[data-count="created"]') == "1"
    assert "none" in window.text("main table")
    assert window.complaints() == []


def test_what_a_job_holds_runs_nothing_and_the_dashboard_works(
    window: Window, admin: User, redis_client: redis.Redis
) -> None:
    hostile = "<img src=x onerror='window.evil = true'><script>window.evil = true</script>"
    queue = Queue(queues.CAMPAIGN_MESSAGES, connection=redis_client, is_async=False)
    job = queue.enqueue_call("builtins.int", args=(hostile,), description=hostile, meta={"note": hostile})
    window.sign_in(admin)
    window.open(f"/rq/0/view/job/{job.id}")
    window.until_text("#job-data", "onerror=")
    assert window.all("#job-data img") == []
    window.picture("rq-job")
    window.open(f"/rq/0/view/jobs/{queue.name}/failed/8/asc/1")
    window.until_text("#jobs", "onerror=")
    assert window.all("#jobs img") == []
    assert window.run("return window.evil") is None
    window.one("#jobs [data-role=requeue-job-btn]").click()
    window.until(lambda: job.id not in FailedJobRegistry(queue.name, connection=redis_client))
    window.open(f"/rq/0/view/jobs/{queue.name}/queued/8/asc/1")
    window.until_text("#jobs", job.id)
    window.one("#empty-btn").click()
    window.until(lambda: window.one("#confirmation-modal-yes").is_displayed())
    window.one("#confirmation-modal-yes").click()
    window.until(lambda: queue.count == 0)
    window.open("/rq/")
    window.until_text("#queues", queue.name)
    assert window.complaints() == []
