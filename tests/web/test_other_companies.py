"""Another company's things look like none, at every address and with every method."""

import io
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask

from campaign_engine.models import ContactImport, Reply, Template, User
from campaign_engine.services.company import notifications, users
from campaign_engine.services.people import imports
from tests import factories
from tests.web.conftest import Caller

ADDRESSES_WITHOUT_IDS_OF_A_COMPANY = {"/api/v1/opt-outs/<phone>"}


@pytest.fixture
def theirs(stranger: Caller, database: Callable[[], Any]) -> dict[str, int]:
    """One of each thing of another company, by the name of the path's parameter."""
    with database() as session:
        user = session.get_one(User, stranger.user_id)
        company = user.company
        template = Template(company_id=company.id, name="t", language="en", components=[])
        session.add(template)
        reply = Reply(
            company_id=company.id,
            account_id=factories.account(session, company).id,
            provider_message_id="wamid.theirs",
            phone_key="551187654321",
            kind="text",
            intent="likely",
            received_at=datetime(2026, 11, 20, tzinfo=UTC),
        )
        session.add(reply)
        record: ContactImport = imports.create(
            session,
            company_id=company.id,
            user_id=user.id,
            filename="a.csv",
            stream=io.BytesIO(b"telefone\n11987654321\n"),
            list_name=None,
            mapping=None,
            default_region="BR",
            max_bytes=1000,
        )
        return {
            "account_id": factories.account(session, company).id,
            "contact_id": factories.contact(session, company).id,
            "list_id": factories.contact_list(session, company).id,
            "campaign_id": factories.campaign(session, user).id,
            "template_id": template.id,
            "import_id": record.id,
            "reply_id": reply.id,
            "user_id": user.id,
            "token_id": users.create_token(session, user).token.id,
            "notification_id": notifications.notify(
                session, company_id=company.id, kind="test", severity="info", text="Theirs."
            ).id,
        }


def test_everything_of_another_company_is_not_found(app: Flask, call: Caller, theirs: dict[str, int]) -> None:
    tried = 0
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith("/api/v1/") or not rule.arguments:
            continue
        if rule.rule in ADDRESSES_WITHOUT_IDS_OF_A_COMPANY:
            continue
        path = re.sub(r"<id:(\w+)>", lambda found: str(theirs[found[1]]), rule.rule.removeprefix("/api/v1"))
        path = re.sub(r"<uuid:\w+>", str(uuid.uuid4()), path)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            body: dict[str, Any] = {}
            if path.endswith("/contacts"):
                body = {"contact_ids": ["1"]}
            elif path.endswith("/test"):
                body = {"phone": "+5511987654321"}
            elif path.endswith("/decide"):
                body = {"decision": "dismissed"}
            elif path.endswith("/retry"):
                body = {"classes": ["recipient"]}
            elif rule.rule.endswith("<id:list_id>"):
                body = {"name": "Mine now"}
            answer = call(method, path, json=body) if method in ("POST", "PATCH", "DELETE") else call(method, path)
            assert answer.status_code == 404, (method, path, answer.text)
            tried += 1
    assert tried >= 30


def test_nothing_of_another_company_is_listed(call: Caller, theirs: dict[str, int]) -> None:
    for path in (
        *("accounts", "contacts", "lists", "campaigns", "templates", "opt-outs", "replies", "notifications"),
        "audit-log",
    ):
        assert call("GET", f"/{path}").json["items"] == [], path
    assert [int(each["id"]) for each in call("GET", "/users").json["items"]] == [call.user_id]
    assert len(call("GET", "/tokens").json["items"]) == 1
    assert len(call("GET", "/rate-limits").json["items"]) == 1


def test_a_campaign_cannot_use_another_companys_things(
    call: Caller, theirs: dict[str, int], row_counts: Callable[[], dict[str, int]]
) -> None:
    before = row_counts()
    body = {
        "name": "Spring",
        "account_ids": [theirs["account_id"]],
        "audience": {"list_ids": [theirs["list_id"]], "exclude_list_ids": [theirs["list_id"]]},
        "content": {"type": "text", "text": "Hello"},
    }
    answer = call("POST", "/campaigns", json=body)
    assert answer.status_code == 422
    assert sorted(answer.json["errors"]) == ["account_ids", "audience.exclude_list_ids", "audience.list_ids"]
    assert row_counts() == before


def test_contacts_of_another_companys_list_are_not_shown(call: Caller, theirs: dict[str, int]) -> None:
    assert call("GET", f"/contacts?list_id={theirs['list_id']}").status_code == 404
