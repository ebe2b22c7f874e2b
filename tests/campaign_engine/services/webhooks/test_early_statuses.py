"""A status of Evolution API may come before the answer that says which message has its id."""

import json
import uuid
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine import providers
from campaign_engine.config import Config
from campaign_engine.models import Account, Campaign, Company
from campaign_engine.providers.base import Accepted, Lost, Outcome
from campaign_engine.rules.failures import ErrorClass
from campaign_engine.services.messages import retrying, settling
from campaign_engine.services.messages.claiming import LockedRow
from campaign_engine.services.webhooks import deliveries
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.numbered import NOW

PROVIDERS = providers.build(Config())


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def number(session: Session) -> Account:
    return numbered.account(
        session, factories.company(session), provider="evolution", phone_number_id=None, instance="shop"
    )


@pytest.fixture
def campaign(session: Session, number: Account) -> Campaign:
    owner = factories.user(session, session.get_one(Company, number.company_id))
    return numbered.running(session, owner, accounts=[number], count=3)


def claim(session: Session, number: Account, campaign: Campaign, *, at: datetime = NOW) -> tuple[uuid.UUID, LockedRow]:
    token = uuid.uuid4()
    (row,) = numbered.claim_next(session, account=number, token=token, sequence=[campaign.id], now=at)
    return token, row


def settle(session: Session, claimed: tuple[uuid.UUID, LockedRow], outcome: Outcome) -> None:
    token, row = claimed
    settling.settle(session, token=token, settlements=[settling.settlement_of(row, outcome, now=NOW)])


def receive(session: Session, number: Account, identity: str, *, at: datetime, word: str = "DELIVERY_ACK") -> None:
    body = {"event": "messages.update", "instance": "shop", "data": {"keyId": identity, "status": word}}
    deliveries.store(session, provider="evolution", account_ids=[number.id], body=json.dumps(body).encode(), now=at)
    session.flush()


def apply(session: Session, *, at: datetime) -> int:
    """Apply all that is due, as the job does; return in how many batches there was something."""
    batches = 0
    while deliveries.apply_waiting(session, providers=PROVIDERS, now=at) is not None:
        batches += 1
        assert batches < 10, "it never ends"
    session.expire_all()
    return batches


def state(session: Session, claimed: tuple[uuid.UUID, LockedRow]) -> str:
    found: str = session.execute(
        text("SELECT status FROM messages WHERE id = :id"), {"id": claimed[1].message_id}
    ).scalar_one()
    return found


def test_a_status_that_is_faster_than_the_answer_waits_for_it(
    session: Session, number: Account, campaign: Campaign
) -> None:
    claimed = claim(session, number, campaign)
    receive(session, number, "3EB0A1", at=after(0.1))
    apply(session, at=after(0.1))
    assert (state(session, claimed), deliveries.waiting_count(session)) == ("sending", 1)
    settle(session, claimed, Accepted("3EB0A1", None))
    assert apply(session, at=after(0.5)) == 0, "it is not looked at all the time"
    apply(session, at=after(2))
    assert (state(session, claimed), deliveries.waiting_count(session)) == ("delivered", 0)


def test_a_status_of_a_message_written_by_hand_waits_for_nobody_for_long(
    session: Session, number: Account, campaign: Campaign
) -> None:
    receive(session, number, "BY HAND 1", at=NOW)
    apply(session, at=NOW)
    assert deliveries.waiting_count(session) == 0, "nothing is being sent"

    claimed = claim(session, number, campaign)
    receive(session, number, "BY HAND 2", at=after(0.1))
    apply(session, at=after(0.1))
    assert deliveries.waiting_count(session) == 1
    settle(session, claimed, Accepted("3EB0A1", None))
    claim(session, number, campaign, at=after(60))
    apply(session, at=after(61))
    assert deliveries.waiting_count(session) == 0, "what is being sent now was claimed later"


def test_a_status_of_a_lost_answer_is_given_up_and_the_message_stays_unknown(
    session: Session, number: Account, campaign: Campaign
) -> None:
    claimed = claim(session, number, campaign)
    receive(session, number, "3EB0A1", at=after(0.1))
    apply(session, at=after(0.1))
    settle(session, claimed, Lost("no answer in time"))
    apply(session, at=after(31))
    assert (state(session, claimed), deliveries.waiting_count(session)) == ("unknown", 0)


def test_events_behind_one_that_waits_do_not_wait(session: Session, number: Account, campaign: Campaign) -> None:
    first = claim(session, number, campaign)
    settle(session, first, Accepted("3EB0A1", None))
    claim(session, number, campaign)
    for identity in ("3EB0A2", "3EB0A1"):
        receive(session, number, identity, at=after(0.1))
    deliveries.store(session, provider="evolution", account_ids=[number.id], body=b"no JSON", now=NOW)
    session.flush()
    apply(session, at=after(0.1))
    assert (state(session, first), deliveries.waiting_count(session)) == ("delivered", 1)


def test_the_failure_of_a_try_that_a_person_had_sent_again_is_neither_held_back_nor_believed(
    session: Session, number: Account, campaign: Campaign
) -> None:
    settle(session, claim(session, number, campaign), Accepted("3EB0A1", None))
    receive(session, number, "3EB0A1", at=after(1), word="ERROR")
    apply(session, at=after(1))
    session.refresh(campaign)
    retrying.retry(session, campaign, classes=ErrorClass, now=after(2))
    again = claim(session, number, campaign, at=after(3))
    receive(session, number, "3EB0A1", at=after(4), word="ERROR")
    apply(session, at=after(4))
    assert (state(session, again), deliveries.waiting_count(session)) == ("sending", 0)
    settle(session, again, Accepted("3EB0A2", None))
    receive(session, number, "3EB0A2", at=after(5), word="ERROR")
    apply(session, at=after(5))
    assert state(session, again) == "failed"
