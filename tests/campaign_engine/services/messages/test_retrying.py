"""Failed messages that a person sends again, by class and code; and those that nobody may."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine import providers
from campaign_engine.config import Config
from campaign_engine.db import transaction
from campaign_engine.errors import InvalidInput, TransitionNotAllowed
from campaign_engine.models import Account, Campaign, User
from campaign_engine.services.campaigns import lifecycle, reading
from campaign_engine.services.messages import retrying
from campaign_engine.services.messages.retrying import Exclusion, FailureGroup
from campaign_engine.services.outlook import progress
from campaign_engine.services.webhooks import deliveries
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.numbered import NOW

A_DAY_LATER = NOW + timedelta(days=1)


@pytest.fixture
def campaign(session: Session) -> Campaign:
    owner = factories.user(session, factories.company(session))
    number = numbered.account(session, owner.company)
    return numbered.running(session, owner, accounts=[number], count=6)


@pytest.fixture
def fail(session: Session, campaign: Campaign) -> Callable[..., None]:
    """Let the message to a person fail after it was accepted: `fail(0, "recipient", "131026")`."""

    def fail(number: int, error_class: str | None, code: str | None, *, at: datetime = NOW) -> None:
        session.execute(
            text(
                "UPDATE messages SET status = 'failed', attempts = 8, accepted_at = :at, sent_at = :at,"
                " failed_at = :at, provider_message_id = 'wamid.' || phone_key, error_class = :error_class,"
                " error_code = :code, error_detail = 'words', account_id = ("
                "   SELECT account_id FROM campaign_accounts WHERE campaign_id = messages.campaign_id LIMIT 1"
                " ) WHERE phone_key = :key"
            ),
            {"key": numbered.phone_key(number), "at": at, "error_class": error_class, "code": code},
        )
        session.refresh(campaign)

    return fail


def _retry(session: Session, campaign: Campaign, *classes: str, **values: Any) -> list[FailureGroup]:
    given = {"now": A_DAY_LATER, **values}
    return retrying.retry(session, campaign, classes=classes, **given)


def _pending(session: Session) -> list[str]:
    query = text("SELECT phone_key FROM messages WHERE status = 'pending' ORDER BY phone_key")
    return list(session.scalars(query))


def test_a_retried_message_is_as_new_and_due_at_once(
    session: Session, campaign: Campaign, fail: Callable[..., None]
) -> None:
    fail(0, "temporary", "131016")
    with transaction(actor=factories.actor(session.get_one(User, campaign.owner_id))):
        [group] = _retry(session, campaign, "temporary")
    assert group == FailureGroup("temporary", "131016", "words", 1, 1, {})
    row = session.execute(text("SELECT * FROM messages WHERE phone_key = :key"), {"key": numbered.phone_key(0)}).one()
    assert (row.status, row.attempts, row.next_attempt_at) == ("pending", 0, A_DAY_LATER)
    of_the_earlier_tries = ("claim_token", "accepted_at", "sent_at", "failed_at")
    assert [getattr(row, name) for name in of_the_earlier_tries] == [None] * 4
    assert (row.error_class, row.error_code, row.error_detail) == (None, None, None)
    session.refresh(campaign)
    assert (campaign.pending_count, campaign.failed_count, campaign.funnel_sent_count) == (6, 0, 0)
    assert progress.miscounted(session) == []
    audited = session.execute(text("SELECT action, actor_id, details FROM audit_log ORDER BY id DESC LIMIT 1")).one()
    assert tuple(audited) == (
        "campaign.retried",
        campaign.owner_id,
        {"messages": 1, "classes": ["temporary"], "codes": None},
    )


def test_what_still_comes_in_of_the_earlier_tries_does_not_count_against_the_next(
    session: Session, campaign: Campaign, fail: Callable[..., None]
) -> None:
    fail(0, "temporary", "131016")
    _retry(session, campaign, "temporary")
    [account_id] = reading.account_ids_of(session, [campaign.id])[campaign.id]
    number = session.get_one(Account, account_id).phone_number_id
    [message_id] = session.scalars(text("SELECT id FROM messages WHERE next_attempt_at IS NOT NULL"))
    late = {
        "id": f"wamid.{numbered.phone_key(0)}",
        "status": "failed",
        "timestamp": str(int(NOW.timestamp())),
        "biz_opaque_callback_data": str(message_id),
        "errors": [{"code": 131016, "title": "Service unavailable"}],
    }
    value = {"metadata": {"phone_number_id": number}, "statuses": [late]}
    body = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
    deliveries.store(session, provider="cloud_api", account_ids=[account_id], body=body, now=NOW)
    session.flush()
    assert deliveries.apply_waiting(session, providers=providers.build(Config()), now=NOW) is not None
    assert len(_pending(session)) == 6


def test_classes_and_codes_choose_and_the_rest_stays(
    session: Session, campaign: Campaign, fail: Callable[..., None]
) -> None:
    session.execute(text("UPDATE messages SET status = 'sent'"))
    fail(0, "temporary", "131016")
    fail(1, "temporary", "131000")
    fail(2, "recipient", "131026")
    fail(3, None, None)
    _retry(session, campaign, "temporary", codes=["131000", "131026"])
    assert _pending(session) == [numbered.phone_key(1)]
    _retry(session, campaign, "recipient", "unknown")
    assert _pending(session) == [numbered.phone_key(at) for at in (1, 2, 3)]


def test_who_may_not_be_written_to_again_is_left_out_and_counted_with_the_reason(
    session: Session, campaign: Campaign, fail: Callable[..., None]
) -> None:
    session.execute(text("UPDATE messages SET status = 'sent'"))
    session.execute(
        text(
            "INSERT INTO opt_outs (company_id, phone_key, source, opted_out_at) VALUES (:company, :key, 'reply', now())"
        ),
        {"company": campaign.company_id, "key": numbered.phone_key(0)},
    )
    fail(0, "recipient", "131026")
    fail(1, "recipient", "131026")
    fail(2, "recipient", "131050")
    fail(3, "recipient", "131049", at=NOW)
    fail(4, "recipient", "131049", at=NOW + timedelta(microseconds=1))
    groups = retrying.failures(session, campaign, now=A_DAY_LATER)
    assert {group.code: (group.message_count, group.retryable_count) for group in groups} == {
        "131026": (2, 1),
        "131049": (2, 1),
        "131050": (1, 0),
    }
    assert sorted(_retry(session, campaign, "recipient"), key=repr) == sorted(groups, key=repr)
    assert _pending(session) == [numbered.phone_key(1), numbered.phone_key(3)]
    assert retrying.excluded_in(groups) == {
        Exclusion.OPTED_OUT: 1,
        Exclusion.MARKETING_SWITCHED_OFF: 1,
        Exclusion.SHIELDED: 1,
    }


def test_a_second_click_finds_nothing_and_a_look_changes_nothing(
    session: Session, campaign: Campaign, fail: Callable[..., None]
) -> None:
    fail(0, "temporary", "131016")
    for _ in range(2):
        assert [group.retryable_count for group in retrying.failures(session, campaign, now=NOW)] == [1]
    assert sum(group.retryable_count for group in _retry(session, campaign, "temporary")) == 1
    assert _retry(session, campaign, "temporary") == []
    assert session.scalar(text("SELECT count(*) FROM audit_log WHERE action = 'campaign.retried'")) == 1


def test_a_completed_campaign_runs_again_only_when_something_is_tried_again(
    session: Session, campaign: Campaign, fail: Callable[..., None]
) -> None:
    session.execute(text("UPDATE messages SET status = 'sent'"))
    fail(0, "recipient", "131050")
    fail(1, "temporary", "131016")
    lifecycle.complete_finished(session, None, now=NOW)
    session.refresh(campaign)
    _retry(session, campaign, "recipient")
    assert (campaign.status, campaign.finished_at) == ("completed", NOW)
    _retry(session, campaign, "temporary")
    assert (campaign.status, campaign.finished_at) == ("running", None)


@pytest.mark.parametrize("status", ["draft", "scheduled", "cancelled", "failed"])
def test_a_campaign_that_was_ended_or_never_started_retries_nothing(
    session: Session, campaign: Campaign, fail: Callable[..., None], status: str
) -> None:
    fail(0, "temporary", "131016")
    session.execute(text("UPDATE campaigns SET status = :status"), {"status": status})
    stale = campaign.status
    for seen in (stale, status):  # a request that looked before the cancellation, and one after it
        campaign.status = seen
        with session.begin_nested() as nested, pytest.raises(TransitionNotAllowed) as caught:
            _retry(session, campaign, "temporary")
            nested.rollback()
        assert caught.value.code == f"campaign_{status}"


@pytest.mark.parametrize("classes", [[], ["odd"], ["temporary", "odd"]])
def test_only_classes_that_exist_are_taken(session: Session, campaign: Campaign, classes: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        _retry(session, campaign, *classes)
    assert list(caught.value.errors) == ["classes"]
