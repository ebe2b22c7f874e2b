"""What is still told of an earlier try of a message says nothing of the present one, at whatever moment it comes."""

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine import providers
from campaign_engine.config import Config
from campaign_engine.models import Account, Campaign
from campaign_engine.providers.base import Accepted, Failure, Lost, Outcome, Refused
from campaign_engine.rules.failures import ErrorClass
from campaign_engine.services.messages import resending, retrying, settling
from campaign_engine.services.messages.claiming import LockedRow
from campaign_engine.services.outlook import progress
from campaign_engine.services.people import opt_outs
from campaign_engine.services.webhooks import deliveries
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.numbered import NOW

PROVIDERS = providers.build(Config())
LATER = NOW + timedelta(minutes=10)
OVERLOADED = Refused(Failure(ErrorClass.TEMPORARY, "131016", "overloaded"))
NOT_ON_WHATSAPP = Refused(Failure(ErrorClass.RECIPIENT, "131026", "not on WhatsApp"))

Claim = tuple[uuid.UUID, LockedRow]


@pytest.fixture
def campaign(session: Session) -> Campaign:
    owner = factories.user(session, factories.company(session))
    number = numbered.account(session, owner.company, phone_number_id="111")
    return numbered.running(session, owner, accounts=[number], count=1)


def claim(session: Session, campaign: Campaign) -> Claim:
    """Begin a try of the campaign's one message."""
    token = uuid.uuid4()
    [account_id] = session.scalars(text("SELECT account_id FROM campaign_accounts"))
    number = session.get_one(Account, account_id)
    [row] = numbered.claim_next(session, account=number, token=token, sequence=[campaign.id], now=LATER)
    return token, row


def settle(session: Session, claimed: Claim, outcome: Outcome) -> None:
    token, row = claimed
    settling.settle(session, token=token, settlements=[settling.settlement_of(row, outcome, now=LATER)])


def tell(session: Session, word: str, identity: str, *, code: int = 131026) -> None:
    """Let the provider tell what became of one of the tries."""
    message_id, account_id = session.execute(
        text("SELECT m.id, ca.account_id FROM messages m JOIN campaign_accounts ca USING (campaign_id)")
    ).one()
    status = {
        "id": identity,
        "status": word,
        "timestamp": str(int(NOW.timestamp())),
        "biz_opaque_callback_data": str(message_id),
        "errors": [{"code": code, "title": "words"}] if word == "failed" else [],
    }
    value = {"metadata": {"phone_number_id": "111"}, "statuses": [status]}
    body = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
    deliveries.store(session, provider="cloud_api", account_ids=[account_id], body=body, now=NOW)
    session.flush()
    assert deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW) is not None
    session.expire_all()
    assert progress.miscounted(session) == []


def message(session: Session) -> Any:
    return session.execute(text("SELECT * FROM messages")).one()


def failed_once(session: Session, campaign: Campaign, identity: str = "wamid.1") -> None:
    """Let a try be accepted and then fail, and a person have the message sent again."""
    settle(session, claim(session, campaign), Accepted(identity, None))
    tell(session, "sent", identity)
    tell(session, "failed", identity)
    assert message(session).status == "failed"
    session.refresh(campaign)
    retrying.retry(session, campaign, classes=["recipient"], now=LATER)


def waits(session: Session, campaign: Campaign) -> None:
    """The second try has not begun."""


def is_sent_now(session: Session, campaign: Campaign) -> None:
    """The second try has begun."""
    claim(session, campaign)


def waits_again(session: Session, campaign: Campaign) -> None:
    """The provider had no time for the second try; a third will follow."""
    settle(session, claim(session, campaign), OVERLOADED)


def is_unknown(session: Session, campaign: Campaign) -> None:
    """The answer to the second try was lost."""
    settle(session, claim(session, campaign), Lost("no answer in time"))


@pytest.mark.parametrize("present", [waits, is_sent_now, waits_again, is_unknown])
def test_what_is_repeated_of_the_failed_try_moves_nothing(
    session: Session, campaign: Campaign, present: Callable[[Session, Campaign], None]
) -> None:
    failed_once(session, campaign)
    present(session, campaign)
    before = message(session)
    for word in ("failed", "sent", "failed"):
        tell(session, word, "wamid.1", code=131050)
    assert message(session) == before
    assert opt_outs.of_company(session, campaign.company_id) == []


def test_what_is_repeated_of_a_try_before_the_last_one_moves_nothing(session: Session, campaign: Campaign) -> None:
    for identity in ("wamid.1", "wamid.2"):
        failed_once(session, campaign, identity)
    tell(session, "failed", "wamid.1")
    assert message(session).status == "pending"
    claimed = claim(session, campaign)
    tell(session, "failed", "wamid.1")  # for all that is known, this may be the present try's
    settle(session, claimed, Accepted("wamid.3", None))
    assert message(session).status == "sent"


@pytest.mark.parametrize("present", [is_sent_now, waits_again, is_unknown])
def test_a_failure_of_the_present_try_counts_before_its_id_is_known(
    session: Session, campaign: Campaign, present: Callable[[Session, Campaign], None]
) -> None:
    failed_once(session, campaign)
    present(session, campaign)
    tell(session, "failed", "wamid.2", code=131049)
    row = message(session)
    assert (row.status, row.error_code, row.provider_message_id) == ("failed", "131049", "wamid.2")


def test_a_failure_that_is_faster_than_the_answer_stays_when_the_answer_comes(
    session: Session, campaign: Campaign
) -> None:
    failed_once(session, campaign)
    claimed = claim(session, campaign)
    tell(session, "failed", "wamid.2")
    settle(session, claimed, Accepted("wamid.2", None))
    row = message(session)
    assert (row.status, row.error_code, row.failed_at) == ("failed", "131026", NOW)


def test_once_the_present_try_is_accepted_only_its_own_failure_counts(session: Session, campaign: Campaign) -> None:
    failed_once(session, campaign)
    settle(session, claim(session, campaign), Accepted("wamid.2", None))
    tell(session, "failed", "wamid.1")
    assert (message(session).status, message(session).provider_message_id) == ("sent", "wamid.2")
    tell(session, "failed", "wamid.2")
    assert message(session).status == "failed"


@pytest.mark.parametrize("present", [waits, is_sent_now, is_unknown])
def test_who_got_the_try_that_failed_after_all_does_not_get_it_again(
    session: Session, campaign: Campaign, present: Callable[[Session, Campaign], None]
) -> None:
    failed_once(session, campaign)
    present(session, campaign)
    tell(session, "delivered", "wamid.1")
    row = message(session)
    assert (row.status, row.next_attempt_at, row.error_code) == ("delivered", None, None)


def test_why_the_present_try_was_refused_is_not_written_over(session: Session, campaign: Campaign) -> None:
    failed_once(session, campaign)
    settle(session, claim(session, campaign), NOT_ON_WHATSAPP)
    tell(session, "failed", "wamid.1", code=131049)
    row = message(session)
    assert (row.status, row.error_code, row.error_detail) == ("failed", "131026", "not on WhatsApp")


@pytest.mark.parametrize(("word", "expected"), [("failed", "failed"), ("sent", "sent"), ("read", "read")])
def test_a_try_whose_answer_was_lost_is_settled_by_its_webhook(
    session: Session, campaign: Campaign, word: str, expected: str
) -> None:
    is_unknown(session, campaign)
    tell(session, word, "wamid.1")
    assert (message(session).status, message(session).provider_message_id) == (expected, "wamid.1")


def test_a_failure_of_a_lost_try_does_not_outlive_the_acceptance_of_the_next(
    session: Session, campaign: Campaign
) -> None:
    is_unknown(session, campaign)
    resending.resend(session, campaign, message(session).id, grace_s=0, now=LATER)
    claimed = claim(session, campaign)
    tell(session, "failed", "wamid.1")  # nobody knows that id: it may be the present try's
    assert message(session).status == "failed"
    settle(session, claimed, Accepted("wamid.2", None))
    row = message(session)
    assert (row.status, row.provider_message_id, row.failed_at) == ("sent", "wamid.2", None)
    assert (row.error_class, row.error_code, row.error_detail) == (None, None, None)
    assert progress.miscounted(session) == []
    tell(session, "failed", "wamid.1")
    assert message(session).status == "sent"
