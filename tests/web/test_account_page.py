"""The page of accounts, as a browser without scripts sees it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from campaign_engine.models import Account, Company
from tests import factories
from tests.web.conftest import Database, People
from tests.web.visitor import flashes


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


@pytest.mark.parametrize(
    ("step", "minutes", "said"),
    [
        (1, 1, "Slowed to a half, one every 1 s, after the provider said “too fast”"),
        (3, 6, "Slowed to a quarter, one every 2 s, after the provider said “too fast”"),
        (6, 0, "Slowed to 1/64, one every 32 s, after the provider said “too fast”"),
        (2, 11, None),
        (0, None, None),
    ],
)
def test_an_account_that_the_provider_slows_says_so(
    people: People, database: Database, step: int, minutes: int | None, said: str | None
) -> None:
    with database() as session:
        account = session.get_one(Account, people.account_id)
        account.rate_limit, account.throttle_step = "120/minute", step
        account.throttled_at = None if minutes is None else datetime.now(UTC) - timedelta(minutes=minutes)
    html = people.viewer.see("/accounts")
    assert "At most 120 a minute, one every 0.5 s." in html
    assert "Slowed" in html if said else "Slowed" not in html
    assert said is None or f"{said}</strong>; twice as fast again from <time" in html


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
