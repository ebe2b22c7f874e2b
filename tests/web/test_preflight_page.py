"""What the page of a campaign says before its launch."""

import re
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from campaign_engine.clock import utc_now
from campaign_engine.models import Account, User
from campaign_engine.services.campaigns import lifecycle, reading
from campaign_engine.services.outlook.preflight import audience
from tests import factories
from tests.web.conftest import Database
from tests.web.visitor import Visitor, person, signed_in
from web.pages import campaign_preflight, words


@pytest.fixture
def owner_id(database: Database) -> int:
    with database() as session:
        return person(session, factories.company(session)).id


@pytest.fixture
def visitor(app: Flask, database: Database, owner_id: int) -> Visitor:
    with database() as session:
        return signed_in(app, session.get_one(User, owner_id))


def draft(database: Database, owner_id: int, **values: Any) -> int:
    """Make a draft to 25 people, one of them named twice, from an account called Loja."""
    with database() as session:
        owner = session.get_one(User, owner_id)
        account = factories.account(session, owner.company, name="Loja")
        phones = [factories.phone_number() for _ in range(25)]
        audience = {"recipients": [{"phone": phone} for phone in (*phones, phones[0])]}
        return factories.campaign(session, owner, accounts=[account], audience=audience, **values).id


def said(page: str) -> str:
    """Return the text of the section, without its marks."""
    [section] = re.findall(r'<div id="preflight" data-refresh>(.*?)</section>', page, re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", section)).split())


def test_a_draft_says_how_many_get_it_who_does_not_and_when_it_ends(
    database: Database, owner_id: int, visitor: Visitor
) -> None:
    text = said(visitor.see(f"/campaigns/{draft(database, owner_id)}"))
    assert "25 of 26 would get it; it ends " in text
    assert "Named twice 1" in text
    assert "Held up by pace of the account Loja: 20 s between messages, 60 s after each 20" in text
    assert "Sends from Loja: 164 an hour (20/minute, 20 s between messages, 60 s after each 20)" in text
    assert "No delivery of a message of Loja has ever been reported: check its webhook." in text
    assert "if started now" in text


def test_a_person_asks_whether_it_fits(database: Database, owner_id: int, visitor: Visitor) -> None:
    path = f"/campaigns/{draft(database, owner_id)}"
    now = datetime.now(ZoneInfo("America/Sao_Paulo"))
    for hours, verdict in ((1, "; fits before "), (-1, "; does not fit before ")):
        by = f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M}"
        page = visitor.see(f"{path}?check=1&must_end_by={by}")
        assert verdict in said(page)
        assert f'value="{by}"' in page
    for nonsense in ("tomorrow", "0001-01-01T00:00", ""):
        assert "; it ends " in said(visitor.see(f"{path}?must_end_by={nonsense}"))


def test_a_big_audience_is_counted_when_somebody_asks(
    database: Database, owner_id: int, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_preflight, "COUNTED_AT_ONCE", 25)
    path = f"/campaigns/{draft(database, owner_id)}"
    assert "About 26 recipients." in said(visitor.see(path))
    assert "25 of 26 would get it" in said(visitor.see(f"{path}?check=1"))


def test_what_has_started_needs_no_check(database: Database, owner_id: int, visitor: Visitor) -> None:
    campaign_id = draft(database, owner_id)
    with database() as session:
        campaign = reading.get(session, session.get_one(User, owner_id).company_id, campaign_id)
        lifecycle.start(session, campaign, now=utc_now())
    assert "Before the start" not in visitor.see(f"/campaigns/{campaign_id}")


def test_an_account_that_does_not_send_is_said_and_names_stay_text(
    database: Database, owner_id: int, visitor: Visitor
) -> None:
    campaign_id = draft(database, owner_id)
    with database() as session:
        [account_id] = reading.account_ids_of(session, [campaign_id])[campaign_id]
        account = session.get_one(Account, account_id)
        account.name, account.status, account.status_reason = "<b>Loja</b>", "deactivated", "190: <i>expired</i>"
    page = visitor.see(f"/campaigns/{campaign_id}")
    assert "does not end: none of its accounts is active" in said(page)
    assert "&lt;b&gt;Loja&lt;/b&gt; is deactivated: 190: &lt;i&gt;expired&lt;/i&gt;." in page


def test_every_reason_to_leave_somebody_out_has_words() -> None:
    assert set(words.LEFT_OUT) == set(audience.LEFT_OUT)
