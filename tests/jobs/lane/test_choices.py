"""Whom a lane serves next, and what each of its messages costs."""

import itertools
import threading
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, text

from campaign_engine.clock import utc_now
from campaign_engine.db import db, transaction
from campaign_engine.models import Account, Campaign, CampaignAccount, Company, User
from campaign_engine.rules.waiting import WaitReason
from jobs import lease, queues, waking
from jobs.lane import calls, turns
from jobs.rq_extensions import Promoter
from jobs.runtime import Runtime
from tests.campaign_engine import numbered
from tests.jobs.lane.laying import lane, received, states
from tests.simulator.running import Simulator, wait_for


@pytest.mark.parametrize("quantum", [1, 3])
def test_a_campaign_is_served_as_many_times_in_a_row_as_the_quantum_says(
    current: Runtime, ledger: Simulator, quantum: int
) -> None:
    current.config = replace(current.config, campaign_batch=quantum)
    account_id, _ = lane(ledger, count=9, campaigns=2, max_in_flight=1)
    turns.run_turn(account_id)
    served = [int(entry["to"][-8:]) - 90000000 >= 1000 for entry in received(ledger)]
    assert max(len(list(run)) for _, run in itertools.groupby(served)) == quantum


def test_jitter_adds_to_each_pause_and_never_shortens_one(current: Runtime, ledger: Simulator) -> None:
    account_id, [campaign_id] = lane(ledger, message_interval_s=20)
    with transaction() as session:
        session.get_one(Campaign, campaign_id).pacing = {"message_delay_s": 0, "jitter_s": 100_000}
    pauses = []
    for _ in range(3):
        before = utc_now()
        turns.run_turn(account_id)
        with transaction() as session:
            paced_until = session.get_one(Account, account_id, populate_existing=True).paced_until
            assert paced_until is not None
            pauses.append(paced_until - before)
            session.execute(text("UPDATE accounts SET paced_until = now()"))  # the pause is over
    assert min(pauses) >= timedelta(seconds=20)
    assert max(pauses) < timedelta(seconds=100_030)
    assert max(pauses) - min(pauses) > timedelta(seconds=10), "at random, not three times the same"


def test_who_has_had_enough_from_all_campaigns_is_left_out_of_the_next(current: Runtime, ledger: Simulator) -> None:
    account_id, [first] = lane(ledger, count=3)
    with transaction() as session:
        owner = session.get_one(User, session.get_one(Campaign, first).owner_id)
        owner.company.settings = {**owner.company.settings, "frequency_cap": "1/7 days"}
        accounts = [session.get_one(Account, account_id)]
        second = numbered.running(session, owner, accounts=accounts, count=4, now=utc_now()).id
    turns.run_turn(account_id)
    assert states() == {"sent": 4, "skipped": 3}
    assert len({entry["to"] for entry in received(ledger)}) == 4
    with transaction() as session:
        assert session.get_one(Campaign, second).status == "completed"


def test_who_is_left_out_costs_no_permit(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=5, rate_limit="3/minute", burst=3)
    with transaction() as session:
        for at in range(2):
            session.execute(
                text(
                    "INSERT INTO opt_outs (company_id, phone_key, source, opted_out_at)"
                    " SELECT company_id, :key, 'reply', now() FROM accounts"
                ),
                {"key": numbered.phone_key(at)},
            )
    turns.run_turn(account_id)
    assert states() == {"sent": 3, "skipped": 2}


def test_a_turn_whose_lane_somebody_else_has_taken_claims_no_more(
    current: Runtime, ledger: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_RENEW_S", 0.02)
    account_id, _ = lane(ledger, count=500, max_in_flight=1)
    ledger.behave(latency_ms=20)
    turn = threading.Thread(target=turns.run_turn, args=(account_id,))
    turn.start()
    wait_for(lambda: received(ledger))
    current.redis.set(f"lane:{account_id}:lease", str(uuid.uuid4()), ex=60)
    turn.join()
    ledger.behave(latency_ms=5)
    assert states() == {"sent": len(received(ledger)), "pending": 500 - len(received(ledger))}
    assert len(received(ledger)) < 500


def test_when_its_time_is_over_a_turn_makes_room_for_other_lanes_and_only_then(
    current: Runtime, ledger: Simulator
) -> None:
    current.config = replace(current.config, turn_budget_s=0.0)
    account_id, _ = lane(ledger, count=40, max_in_flight=1)
    waking.arm(current.redis, 999, at=utc_now())
    Promoter(current.redis, queues.NAMES).promote()
    turns.run_turn(account_id)
    assert len(received(ledger)) < 40
    assert waking.waits_of(current.redis, [account_id])[account_id].reason == WaitReason.TURN_OVER
    assert waking.lanes_with_a_turn(current.redis, [account_id]) == {account_id}, "at the end of the queue"
    queues.queue(queues.CAMPAIGN_MESSAGES, current.redis).empty()
    turns.run_turn(account_id)
    assert states() == {"sent": 40}


def test_the_numbers_of_a_portfolio_reach_so_many_people_a_day_together(current: Runtime, ledger: Simulator) -> None:
    first, [campaign_id] = lane(ledger, count=6, daily_recipient_limit=4)
    with transaction() as session:
        company = session.get_one(Company, session.get_one(Account, first).company_id)
        second = numbered.account(
            session, company, phone_number_id="112", base_url=ledger.url, daily_recipient_limit=4
        ).id
        session.add(CampaignAccount(campaign_id=campaign_id, account_id=second))
    for account_id in (first, second):
        turns.run_turn(account_id)
        assert waking.waits_of(current.redis, [account_id])[account_id].reason == WaitReason.DAILY_RECIPIENTS
    assert states() == {"sent": 4, "pending": 2}


def test_a_turn_that_is_to_end_lets_the_calls_in_flight_finish_and_begins_no_more(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, _ = lane(ledger, count=40, max_in_flight=4)
    ledger.behave(latency_ms=500)
    turn = threading.Thread(target=turns.run_turn, args=(account_id,), daemon=True)
    turn.start()
    wait_for(lambda: ledger.summary()["by_number"].get("111", {}).get("most_sends_at_once") == 4)
    current.stopping.set()
    turn.join(60)
    ledger.behave(latency_ms=5)
    assert not turn.is_alive()
    current.stopping.clear()
    assert states() == {"sent": 4, "pending": 36}
    assert waking.lanes_with_a_turn(current.redis, [account_id]) == {account_id}, "for the next worker"


def test_many_messages_cost_a_fifth_of_a_statement_each_at_the_most(
    current: Runtime, ledger: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All answers of what is in hand are gathered, however slowly they come: how many come in time, the bench says.
    monkeypatch.setattr(calls, "GATHER_S", 60.0)
    account_id, _ = lane(ledger, count=400, max_in_flight=64)
    ledger.behave(latency_ms=50)
    statements = []
    note = lambda *given: statements.append(given[2])  # noqa: E731
    event.listen(db.engine, "before_cursor_execute", note)
    try:
        turns.run_turn(account_id)
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
        ledger.behave(latency_ms=5)
    assert len(received(ledger)) == 400
    assert len(statements) / 400 <= 0.2


def test_the_limit_of_an_owner_holds_over_all_accounts(current: Runtime, ledger: Simulator) -> None:
    first, [campaign_id] = lane(ledger, count=3)
    with transaction() as session:
        company = session.get_one(Company, session.get_one(Account, first).company_id)
        company.settings = {**company.settings, "campaign_rate_limit": "1/minute"}
        second = numbered.account(session, company, phone_number_id="112", base_url=ledger.url).id
        session.add(CampaignAccount(campaign_id=campaign_id, account_id=second))
    for account_id in (first, second):
        turns.run_turn(account_id)
        assert waking.waits_of(current.redis, [account_id])[account_id].reason == WaitReason.USER_LIMIT
    assert states() == {"sent": 1, "pending": 2}


def test_the_pace_and_the_delay_of_one_account_hold_no_other(current: Runtime, ledger: Simulator) -> None:
    first, [campaign_id] = lane(ledger, count=3, message_interval_s=20)
    with transaction() as session:
        company = session.get_one(Company, session.get_one(Account, first).company_id)
        session.get_one(Campaign, campaign_id).pacing = {"message_delay_s": 60}
        ledger.control("POST", "numbers", {"phone_number_id": "112", "access_token": "token", "app_secret": "s"})
        second = numbered.account(
            session, company, phone_number_id="112", base_url=ledger.url, access_token="token", message_interval_s=20
        ).id
        session.add(CampaignAccount(campaign_id=campaign_id, account_id=second))
    for account_id in (first, second, first, second):
        turns.run_turn(account_id)
    assert [entry["phone_number_id"] for entry in received(ledger)] == ["111", "112"]
