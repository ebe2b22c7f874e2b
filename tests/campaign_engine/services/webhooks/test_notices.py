"""What providers tell of accounts and templates: obeyed for those it speaks of, told to people, harmless otherwise."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from campaign_engine import providers
from campaign_engine.config import Config
from campaign_engine.models import Account, AuditEntry, Campaign, Company, Notification, Template, User, WebhookEvent
from campaign_engine.models.template import UNSENDABLE
from campaign_engine.providers.base import Notice, NoticeKind, Sender
from campaign_engine.providers.evolution.session import health_of_session
from campaign_engine.services.webhooks import deliveries, notices
from tests import factories
from tests.campaign_engine import cloned, numbered
from tests.campaign_engine.numbered import NOW
from tests.campaign_engine.providers.wire import answering, response, serving

PROVIDERS = providers.build(Config())


database_url = cloned.database_url


@pytest.fixture
def number(session: Session, company: Company) -> Account:
    return numbered.account(session, company, business_account_id="WABA")


def tell(session: Session, field: str, value: dict[str, Any], *signed: Account, business: str = "WABA") -> WebhookEvent:
    """Receive a notice that the secrets of `signed` signed, and apply it as the job does."""
    entry = {"id": business, "time": 1, "changes": [{"field": field, "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
    deliveries.store(session, provider="cloud_api", account_ids=[each.id for each in signed], body=body, now=NOW)
    session.flush()
    applied = deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW)
    assert applied is not None
    for event_id in applied.with_notices:
        deliveries.apply_notices(session, event_id, providers=PROVIDERS, now=NOW)
    session.flush()
    session.expire_all()
    event = session.scalars(select(WebhookEvent).order_by(WebhookEvent.id.desc()).limit(1)).one()
    assert event.applied_at == NOW
    return event


def told(session: Session, company: Company) -> list[tuple[str, str]]:
    rows = session.scalars(select(Notification).where(Notification.company_id == company.id).order_by(Notification.id))
    return [(row.kind, row.severity) for row in rows]


def running(
    session: Session, owner: User, number: Account, *, template: str | None, language: str = "pt_BR"
) -> Campaign:
    made = numbered.running(session, owner, accounts=[number], count=2)
    if template is not None:
        made.content = {"type": "template", "name": template, "language": language, "components": []}
    session.flush()
    return made


def template_status(event: str, **fields: Any) -> dict[str, Any]:
    named = {"message_template_name": "promo", "message_template_language": "pt_BR", "message_template_id": 7}
    return {"event": event, **named, **fields}


@pytest.mark.parametrize("event", sorted(UNSENDABLE))
def test_a_template_that_cannot_be_sent_pauses_its_running_campaigns_with_the_providers_words(
    session: Session, owner: User, number: Account, event: str
) -> None:
    ours = running(session, owner, number, template="promo")
    others = [
        running(session, owner, number, template="promo", language="en"),
        running(session, owner, number, template="promo_2"),
        running(session, owner, number, template=None),
    ]
    value = template_status(event, other_info={"title": "FIRST_PAUSE", "description": "low quality"})
    tell(session, "message_template_status_update", value, number)
    assert (ours.status, ours.status_code) == ("paused", notices.TEMPLATE_PAUSED)
    assert ours.status_reason is not None
    assert event in ours.status_reason
    assert "low quality" in ours.status_reason
    assert [campaign.status for campaign in others] == ["running"] * 3
    template = session.scalars(select(Template).where(Template.company_id == owner.company_id)).one()
    assert (template.name, template.language, template.status) == ("promo", "pt_BR", event)
    assert told(session, owner.company) == [("campaign_paused", "error"), ("template_status", "warning")]


def test_a_template_that_can_be_sent_again_is_told_and_resumes_nothing_by_itself(
    session: Session, owner: User, number: Account
) -> None:
    campaign = running(session, owner, number, template="promo")
    tell(session, "message_template_status_update", template_status("PAUSED"), number)
    for event in ("REINSTATED", "FLAGGED"):
        tell(session, "message_template_status_update", template_status(event), number)
    assert campaign.status == "paused"
    template = session.scalars(select(Template).where(Template.company_id == owner.company_id)).one()
    assert template.status == "APPROVED"
    assert told(session, owner.company)[2:] == [("template_status", "info"), ("template_status", "warning")]


def test_a_notice_speaks_only_for_those_whose_secret_signed_it(session: Session, owner: User, number: Account) -> None:
    stranger = factories.user(session, factories.company(session))
    theirs = numbered.account(session, stranger.company, business_account_id="WABA")
    mine = running(session, owner, number, template="promo")
    tell(session, "message_template_status_update", template_status("PAUSED"), theirs)
    tell(session, "account_update", {"event": "ACCOUNT_DELETED"}, theirs)
    assert (mine.status, number.status) == ("running", "active")
    assert told(session, owner.company) == []
    assert theirs.status == "deactivated"


def test_quality_and_category_of_a_template_are_kept_and_told(
    session: Session, company: Company, number: Account
) -> None:
    named = {"message_template_name": "promo", "message_template_language": "en"}
    tell(session, "message_template_quality_update", {**named, "new_quality_score": "RED"}, number)
    tell(session, "template_category_update", {**named, "new_category": "MARKETING"}, number)
    tell(session, "message_template_components_update", named, number)
    template = session.scalars(select(Template).where(Template.company_id == company.id)).one()
    assert (template.quality, template.category, template.status) == ("RED", "MARKETING", "unknown")
    assert told(session, company) == [
        ("template_quality", "warning"),
        ("template_category", "warning"),
        ("template_components", "info"),
    ]


RESTRICTION = {
    "event": "ACCOUNT_RESTRICTION",
    "restriction_info": [{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 1795176000}],
}


def test_a_stopped_account_is_deactivated_with_the_reason_and_its_end(
    session: Session, owner: User, number: Account
) -> None:
    elsewhere = numbered.account(session, owner.company, business_account_id="ANOTHER WABA")
    campaign = running(session, owner, number, template=None)
    for _ in range(2):
        tell(session, "account_update", RESTRICTION, number, elsewhere)
    assert (number.status, elsewhere.status, campaign.status) == ("deactivated", "active", "paused")
    assert number.status_reason == (
        "Meta says: ACCOUNT_RESTRICTION (RESTRICTED_BIZ_INITIATED_MESSAGING), until 2026-11-20 12:00 UTC"
    )
    entries = session.scalars(select(AuditEntry).where(AuditEntry.company_id == owner.company_id)).all()
    assert [(entry.action, entry.actor_id) for entry in entries][2:] == [("account.deactivated", None)]
    assert told(session, owner.company).count(("account_deactivated", "error")) == 1


def test_of_a_business_account_nobody_belongs_to_those_are_meant_of_which_nothing_is_known(
    session: Session, company: Company
) -> None:
    unknown = numbered.account(session, company)
    other = numbered.account(session, company, business_account_id="OTHER")
    tell(session, "account_update", {"event": "ACCOUNT_DELETED"}, unknown, other)
    assert (unknown.status, other.status) == ("deactivated", "active")


def test_where_an_account_is_known_to_belong_to_it_nobody_else_is_meant(
    session: Session, company: Company, number: Account
) -> None:
    unknown = numbered.account(session, company)
    tell(session, "account_update", {"event": "ACCOUNT_DELETED"}, number, unknown)
    assert (number.status, unknown.status) == ("deactivated", "active")


def test_a_notice_that_names_a_number_is_about_that_number(session: Session, company: Company, number: Account) -> None:
    shown = numbered.account(session, company, health={"display_phone_number": "+1 555-078-3881"})
    value = {"event": "UPGRADE", "display_phone_number": "15550783881", "current_limit": "TIER_10K"}
    tell(session, "phone_number_quality_update", value, number, shown)
    assert (number.daily_recipient_limit, shown.daily_recipient_limit) == (None, 10_000)
    tell(session, "account_update", {**RESTRICTION, "phone_number": "15550000000"}, number, shown)
    assert (number.status, shown.status) == ("active", "active")


def test_a_restored_account_is_told_and_reactivated_by_a_person(
    session: Session, company: Company, number: Account
) -> None:
    tell(session, "account_update", {"event": "ACCOUNT_DELETED"}, number)
    tell(session, "account_update", {"event": "ACCOUNT_RECONNECTED"}, number)
    assert number.status == "deactivated"
    assert told(session, company)[-1] == ("account_restored", "info")


def test_a_new_limit_replaces_what_the_provider_said_before_and_not_what_a_person_chose(
    session: Session, company: Company, number: Account
) -> None:
    chosen = numbered.account(session, company, business_account_id="WABA", daily_recipient_limit=500)

    def limited(limit: Any) -> tuple[int | None, int | None]:
        value = {"max_daily_conversations_per_business": limit}
        tell(session, "business_capability_update", value, number, chosen)
        return number.daily_recipient_limit, chosen.daily_recipient_limit

    assert limited(2000) == (2000, 500)
    assert limited("TIER_10K") == (10_000, 500)
    assert limited("TIER_UNLIMITED") == (None, 500)
    assert limited(250) == (250, 500)
    assert limited("who knows") == (250, 500)
    number.daily_recipient_limit = 300
    session.flush()
    assert limited(2000) == (300, 500)
    assert set(told(session, company)) == {("account_limit", "info")}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account_alerts", {"alert_type": "OBA_REVIEW", "alert_severity": "WARNING"}),
        ("security", {"event": "PIN_RESET_REQUEST"}),
        ("phone_number_name_update", {"decision": "REJECTED"}),
        ("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "SCHEDULE_FOR_DISABLE"}}),
    ],
)
def test_what_is_only_to_be_known_changes_nothing(
    session: Session, company: Company, number: Account, field: str, value: dict[str, Any]
) -> None:
    tell(session, field, value, number)
    assert number.status == "active"
    assert told(session, company) == [("account_alert", "warning")]


@pytest.mark.parametrize(
    ("state", "expected"),
    [("close", [("connection_lost", "warning")]), ("open", [("connection_open", "info")]), ("connecting", [])],
)
def test_a_phones_session_that_closes_is_told_and_shown(
    session: Session, company: Company, state: str, expected: list[tuple[str, str]]
) -> None:
    phone = numbered.account(session, company, provider="evolution", instance="shop", phone_number_id=None)
    body = json.dumps({"event": "connection.update", "instance": "shop", "data": {"state": state}}).encode()
    deliveries.store(session, provider="evolution", account_ids=[phone.id], body=body, now=NOW)
    session.flush()
    applied = deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW)
    assert applied is not None
    for event_id in applied.with_notices:
        deliveries.apply_notices(session, event_id, providers=PROVIDERS, now=NOW + timedelta(minutes=1))
    assert told(session, company) == expected
    assert (phone.status, (phone.health or {})["status"]) == ("active", state)
    assert phone.health_checked_at == NOW, "when the webhook came"


def told_of_session(state: str) -> Sequence[Notice]:
    """Return what a webhook says of the session of the phone `shop`."""
    body = {"event": "connection.update", "instance": "shop", "data": {"state": state}}
    return PROVIDERS["evolution"].parse_notices(body)


@pytest.mark.parametrize(
    ("state", "found", "warns"),
    [
        ("close", "close", True),
        ("refused", "close", True),
        ("open", "open", False),
        ("connecting", "connecting", False),
    ],
)
def test_what_is_told_of_a_phones_session_is_known_as_a_check_would_find_it(
    session: Session, company: Company, state: str, found: str, warns: bool
) -> None:
    before = health_of_session("open" if warns else "close").stored()
    phone = numbered.account(
        session, company, provider="evolution", instance="shop", health=before, health_checked_at=NOW
    )
    with serving(answering(response(200, {"instance": {"instanceName": "shop", "state": found}}))) as server:
        sender = Sender(account_id=phone.id, base_url=server.url, number="shop", secret="key")
        checked = PROVIDERS["evolution"].check_health(sender).stored()
    for at, expected in (
        (NOW - timedelta(seconds=1), (before, NOW)),  # a check has said something since
        (NOW + timedelta(seconds=1), (checked, NOW + timedelta(seconds=1))),
    ):
        notices.apply(session, told_of_session(state), account_ids=[phone.id], at=at)
        session.flush()
        session.expire_all()
        assert (phone.health, phone.health_checked_at) == expected
    assert ("warnings" in checked) is warns


def test_a_word_that_is_not_known_leaves_what_is_known_of_the_session(session: Session, company: Company) -> None:
    before = health_of_session("open").stored()
    phone = numbered.account(session, company, provider="evolution", instance="shop", health=before)
    notices.apply(session, told_of_session("syncing"), account_ids=[phone.id], at=NOW)
    session.flush()
    session.expire_all()
    assert (phone.health, phone.health_checked_at) == (before, None)


@pytest.mark.parametrize("status", ["active", "deactivated"])
def test_a_session_that_opens_says_when_somebody_has_to_reactivate_the_account(
    session: Session, company: Company, status: str
) -> None:
    phone = numbered.account(session, company, provider="evolution", instance="shop", status=status)
    others = numbered.account(session, factories.company(session), instance="shop", status="deactivated")
    notice = Notice(NoticeKind.CONNECTION, "open")
    notices.apply(session, [notice], account_ids=[phone.id, others.id], at=NOW)
    [said] = session.scalars(select(Notification.text).where(Notification.company_id == company.id))
    assert "the phone's session is open" in said
    assert ("stays so until somebody reactivates it" in said) is (status == "deactivated")
    assert phone.status == status


def test_applying_a_notice_again_does_nothing(session: Session, company: Company, number: Account) -> None:
    event = tell(session, "security", {"event": "PIN_CHANGED"}, number)
    deliveries.apply_notices(session, event.id, providers=PROVIDERS, now=NOW)
    assert told(session, company) == [("account_alert", "warning")]
