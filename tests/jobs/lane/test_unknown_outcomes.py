"""The whole way of an answer that was lost, against the real simulator: twice only because a person asked for it."""

import uuid
from datetime import timedelta
from functools import partial

import pytest
import redis as redis_package
from sqlalchemy import text

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.models import Account, Campaign, Notification
from campaign_engine.providers.base import Accepted
from campaign_engine.services.campaigns import drafts, lifecycle, test_sends
from campaign_engine.services.messages import resending, retrying, settling
from campaign_engine.services.outlook import progress
from jobs import enqueueing, scheduling, waking
from jobs.lane import turns
from jobs.runtime import Runtime
from tests.campaign_engine import numbered
from tests.jobs.lane.laying import lane, received, states
from tests.simulator.running import Simulator


def _campaign(campaign_id: int) -> Campaign:
    with transaction() as session:
        return session.get_one(Campaign, campaign_id, populate_existing=True)


def _time_passes(current: Runtime) -> None:
    """Let the grace time of every unknown message be over."""
    with transaction() as session:
        session.execute(
            text("UPDATE messages SET claimed_at = :at WHERE status = 'unknown'"),
            {"at": utc_now() - timedelta(seconds=current.config.unknown_grace_s)},
        )


def _notices(kind: str) -> list[str]:
    with transaction() as session:
        return [each.text for each in session.query(Notification).filter(Notification.kind == kind)]


@pytest.fixture
def lost(current: Runtime, ledger: Simulator) -> tuple[int, int]:
    """An account and its completed campaign to three people; the answer for one of them was lost."""
    ledger.behave(lost_answer_next=1)
    account_id, [campaign_id] = lane(ledger, count=3, max_in_flight=1)
    turns.run_turn(account_id)
    assert states() == {"unknown": 1, "sent": 2}
    return account_id, campaign_id


def test_a_lost_answer_is_never_sent_again_by_itself_and_once_more_when_a_person_asks(
    current: Runtime, ledger: Simulator, lost: tuple[int, int], redis_client: redis_package.Redis
) -> None:
    account_id, campaign_id = lost
    assert _campaign(campaign_id).status == "completed"
    [completed] = _notices("campaign_completed")
    assert "1 unknown: look at them" in completed

    for _ in range(2):
        scheduling.verify_campaigns()
        turns.run_turn(account_id)
    assert _notices("unknown_outcomes") == [], "a webhook may still come"
    _time_passes(current)
    for _ in range(3):
        scheduling.verify_campaigns()
        turns.run_turn(account_id)
    assert len(_notices("unknown_outcomes")) == 1
    assert len(received(ledger)) == 3, "nobody got it twice while nobody asked for it"

    with transaction() as session:
        campaign = session.get_one(Campaign, campaign_id)
        grace_s = current.config.unknown_grace_s
        done = resending.resend_all(session, campaign, grace_s=grace_s, now=utc_now())
        assert done.count == 1
    scheduling.verify_campaigns()
    assert waking.lanes_with_a_turn(redis_client, [account_id]) == {account_id}, "the hint may have been lost"
    turns.run_turn(account_id)

    assert states() == {"sent": 3}
    to = [entry["to"] for entry in received(ledger)]
    assert sorted(to.count(each) for each in set(to)) == [1, 1, 2]
    campaign = _campaign(campaign_id)
    assert (campaign.status, campaign.sent_count, campaign.unknown_count) == ("completed", 3, 0)
    assert _notices("campaign_completed") == [completed], "whoever resent it is looking"
    with transaction() as session:
        assert progress.miscounted(session) == []


def test_a_dismissed_message_is_sent_no_more(current: Runtime, ledger: Simulator, lost: tuple[int, int]) -> None:
    account_id, campaign_id = lost
    _time_passes(current)
    with transaction() as session:
        campaign = session.get_one(Campaign, campaign_id)
        grace_s = current.config.unknown_grace_s
        assert resending.dismiss_all(session, campaign, grace_s=grace_s, now=utc_now()) == 1
    scheduling.verify_campaigns()
    turns.run_turn(account_id)
    assert _notices("unknown_outcomes") == []
    assert len(received(ledger)) == 3


def test_failed_messages_go_out_again_when_a_person_asks(current: Runtime, ledger: Simulator) -> None:
    ledger.behave(refuse_next=2, refuse_next_code=131026)
    account_id, [campaign_id] = lane(ledger, count=3, max_in_flight=1)
    turns.run_turn(account_id)
    assert states() == {"failed": 2, "sent": 1}
    with transaction() as session:
        campaign = session.get_one(Campaign, campaign_id)
        retrying.retry(session, campaign, classes=["recipient"], now=utc_now())
    turns.run_turn(account_id)
    assert states() == {"sent": 3}
    assert _campaign(campaign_id).status == "completed"
    assert len(_notices("campaign_completed")) == 1


def test_a_test_that_waits_ends_with_its_draft_and_a_call_under_way_is_settled(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, [campaign_id] = lane(ledger, count=1)
    with transaction() as session:
        draft = session.get_one(Campaign, campaign_id)
        draft.status = "draft"
        under_way, waiting = (
            test_sends.send(
                session,
                draft,
                owner_id=draft.owner_id,
                values={"phone": numbered.phone(number), "name": "Tess"},
                default_region="BR",
                now=utc_now(),
            )
            for number in (77, 78)
        )
    token = uuid.uuid4()
    with transaction() as session:
        account = session.get_one(Account, account_id)
        [row] = numbered.claim_next(
            session, account=account, token=token, sequence=[under_way.campaign.id], now=utc_now()
        )
    with transaction() as session:
        drafts.delete_draft(session, session.get_one(Campaign, campaign_id), now=utc_now())
    with transaction() as session:
        settlement = settling.settlement_of(row, Accepted("wamid.1", wa_id=None), now=utc_now())
        assert settling.settle(session, token=token, settlements=[settlement]) == 1
    turns.run_turn(account_id)
    scheduling.verify_campaigns()
    turns.run_turn(account_id)
    assert received(ledger) == []
    assert [_campaign(each.campaign.id).status for each in (under_way, waiting)] == ["cancelled"] * 2
    assert states() == {"sent": 1, "pending": 1}


def test_a_test_goes_out_by_the_normal_way_and_says_nothing_of_its_end(
    current: Runtime, ledger: Simulator, redis_client: redis_package.Redis
) -> None:
    account_id, [campaign_id] = lane(ledger, count=3)
    with transaction(give=partial(enqueueing.give, redis_client)) as session:
        campaign = session.get_one(Campaign, campaign_id)
        lifecycle.pause(session, campaign)
        sent = test_sends.send(
            session,
            campaign,
            owner_id=campaign.owner_id,
            values={"phone": numbered.phone(77), "name": "Tess"},
            default_region="BR",
            now=utc_now(),
        )
    turns.run_turn(account_id)
    [entry] = received(ledger)
    assert (entry["to"], entry["summary"]) == (numbered.phone(77), "Hello Tess")
    assert _campaign(sent.campaign.id).status == "completed"
    assert _campaign(campaign_id).pending_count == 3
    assert _notices("campaign_completed") == []
