"""The two lines of a lane, and what makes one account's turn send less or other rows than usual."""

import socket
import threading
import uuid
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.models import Account, Campaign, CampaignAccount, Company
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.accounts import activation
from campaign_engine.services.campaigns import drafts, lifecycle
from campaign_engine.services.messages import planning
from campaign_engine.services.messages.planning import Line
from jobs import lease, queues, scheduling, waking
from jobs.lane import turns
from jobs.runtime import Runtime
from tests.campaign_engine import numbered
from tests.campaign_engine.providers.wire import Request, response, serving
from tests.jobs.lane.laying import lane, received, states
from tests.simulator.running import Simulator, wait_for


def _turns(current: Runtime, line: Line) -> dict[str, float]:
    """Return the waiting turns of a line, by id, with their times."""
    registry = queues.queue(waking.QUEUE_OF[line], current.redis).scheduled_job_registry
    return {name.decode(): at for name, at in current.redis.zrange(registry.key, 0, -1, withscores=True)}


def _make_due() -> None:
    with transaction() as session:
        session.execute(text("UPDATE messages SET next_attempt_at = now() - interval '1 s' WHERE status = 'pending'"))
        session.execute(text("UPDATE accounts SET paced_until = NULL"))


def test_what_fails_three_times_goes_to_the_second_line_and_on_from_there(current: Runtime, ledger: Simulator) -> None:
    account_id, [campaign_id] = lane(ledger, count=2)
    ledger.behave(refuse_next=6, refuse_next_code=131000)
    for attempts in (1, 2, 3):
        assert _turns(current, Line.SECOND) == {}
        turns.run_turn(account_id)
        with transaction() as session:
            assert set(session.scalars(text("SELECT attempts FROM messages"))) == {attempts}
        if attempts < 3:
            _make_due()
    [at] = _turns(current, Line.SECOND).values()
    with transaction() as session:
        due = session.scalar(text("SELECT min(next_attempt_at) FROM messages"))
    assert at == due.timestamp(), "its exact time"

    _make_due()
    turns.run_turn(account_id)
    assert states() == {"pending": 2}, "the first line leaves them alone"
    turns.run_retry_turn(account_id)
    assert states() == {"sent": 2}
    with transaction() as session:
        assert session.get_one(Campaign, campaign_id, populate_existing=True).status == "completed"


def test_the_verification_arms_a_second_line_whose_turn_was_lost(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=1)
    with transaction() as session:
        session.execute(text("UPDATE messages SET attempts = 3, next_attempt_at = now() + interval '1 h'"))
    scheduling.verify_campaigns()
    assert len(_turns(current, Line.SECOND)) == 1
    assert _turns(current, Line.FIRST) == {}, "the first line has nothing to send"
    current.redis.flushdb()
    turns.run_retry_turn(account_id)
    [at] = _turns(current, Line.SECOND).values()
    assert at > (utc_now() + timedelta(minutes=59)).timestamp(), "it comes back when the retry is due"


def test_a_line_that_is_turned_away_is_woken_by_whoever_holds_the_lane(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=1)
    token = uuid.uuid4()
    held = lease.Lease.take(current.redis, account_id, token)
    assert held is not None
    with held:
        turns.run_retry_turn(account_id)
        turns.run_turn(account_id)
        assert received(ledger) == []
        assert waking.others_wait(current.redis, account_id, Line.FIRST)
    assert set(held.turned_away) == {Line.FIRST, Line.SECOND}
    assert not waking.others_wait(current.redis, account_id, Line.FIRST)


def test_a_turn_makes_room_for_one_of_its_own_line_that_was_armed_for_something_new(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, _ = lane(ledger, count=1)
    held = lease.Lease.take(current.redis, account_id, uuid.uuid4())
    assert held is not None
    with held:
        assert not waking.others_wait(current.redis, account_id, Line.FIRST)
        turns.run_turn(account_id)
        assert waking.others_wait(current.redis, account_id, Line.FIRST)
    assert held.turned_away == [Line.FIRST]


def test_a_turn_wakes_the_line_that_was_turned_away_while_it_worked(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=1)
    turned_away = threading.Event()

    def answer_then(connection: socket.socket, request: Request) -> bool:
        turned_away.wait(60)
        connection.sendall(response(200, {"messages": [{"id": "wamid.1"}]}))
        return True

    with serving(answer_then) as server:
        with transaction() as session:
            session.get_one(Account, account_id).base_url = server.url
        turn = threading.Thread(target=turns.run_turn, args=(account_id,))
        turn.start()
        wait_for(lambda: server.requests)
        turns.run_retry_turn(account_id)
        assert _turns(current, Line.SECOND) == {}
        turned_away.set()
        turn.join()
    assert len(_turns(current, Line.SECOND)) == 1


def test_five_failures_of_the_account_pause_its_campaign_and_one_message_goes_first_after_the_reactivation(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, [campaign_id] = lane(ledger, count=10, max_in_flight=1)
    ledger.behave(refuse_next=100, refuse_next_code=131031)
    turns.run_turn(account_id)
    with transaction() as session:
        account = session.get_one(Account, account_id, populate_existing=True)
        assert account.status == "deactivated"
        assert account.consecutive_failures >= 5, "a call that had begun may have failed as well"
        assert session.get_one(Campaign, campaign_id, populate_existing=True).status_code == "no_account"
        assert activation.reactivate(session, account, now=utc_now()) == [campaign_id]
    assert states() == {"pending": 10}, "only unsent rows are left behind"

    asked = ledger.summary()["requests"]
    turns.run_turn(account_id)
    with transaction() as session:
        assert session.get_one(Account, account_id, populate_existing=True).status == "deactivated", (
            "one refusal on probation is enough"
        )
        activation.reactivate(session, session.get_one(Account, account_id, populate_existing=True), now=utc_now())
    assert ledger.summary()["requests"] == asked + 1

    ledger.behave(refuse_next=0)
    turns.run_turn(account_id)
    assert states() == {"sent": 10}
    with transaction() as session:
        assert not session.get_one(Account, account_id, populate_existing=True).on_probation


def test_on_probation_nothing_else_leaves_before_the_first_is_accepted(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=20, max_in_flight=16)
    with transaction() as session:
        session.execute(text("UPDATE accounts SET on_probation = true"))
    ledger.behave(latency_ms=150)
    turns.run_turn(account_id)
    ledger.behave(latency_ms=5)
    first, second = (entry["received_at"] for entry in received(ledger)[:2])
    assert second - first >= 0.15
    assert states() == {"sent": 20}


def test_an_accepted_message_waits_for_its_acknowledgement(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=2)
    turns.run_turn(account_id)
    with transaction() as session:
        assert session.get_one(Account, account_id, populate_existing=True).unacknowledged_since is not None


def test_a_test_send_goes_before_a_campaign_that_has_waited_longer(current: Runtime, ledger: Simulator) -> None:
    account_id, [big] = lane(ledger, count=50, max_in_flight=1)
    with transaction() as session:
        parent = session.get_one(Campaign, big)
        test = _one_recipient(session, parent, kind="test")
        session.execute(
            text("UPDATE campaigns SET working_hours = cast(:hours AS jsonb) WHERE id = :id"),
            {"hours": '{"windows": [{"days": ["mon"], "start": "00:00", "end": "00:01"}]}', "id": test.id},
        )
        session.execute(text("UPDATE campaign_accounts SET served_at = now() WHERE campaign_id = :id"), {"id": test.id})
    turns.run_turn(account_id)
    assert received(ledger)[0]["to"] == numbered.phone(9999), "and it minds no working hours"


def _one_recipient(session: Any, parent: Campaign, **columns: Any) -> Campaign:
    account_ids = session.scalars(text("SELECT account_id FROM campaign_accounts")).all()
    made = drafts.create(
        session,
        company_id=parent.company_id,
        owner_id=parent.owner_id,
        values={
            "name": "Test",
            "account_ids": list(account_ids),
            "audience": {"recipients": [{"phone": numbered.phone(9999), "name": "Ana"}]},
            "content": parent.content,
            "pacing": {"message_delay_s": 0},
        },
        default_region="BR",
        default_timezone="UTC",
        now=utc_now(),
    )
    for name, value in columns.items():
        setattr(made, name, value)
    session.flush()
    return numbered.started(session, made, now=utc_now())


def test_planned_messages_go_from_their_account_and_from_the_others_when_it_falls_away(
    current: Runtime, ledger: Simulator
) -> None:
    first, [campaign_id] = lane(ledger, count=9)
    with transaction() as session:
        company = session.get_one(Company, session.get_one(Account, first).company_id)
        second = numbered.account(
            session,
            company,
            phone_number_id="112",
            base_url=ledger.url,
            rate_limit="60000/minute",
        ).id
        session.add(CampaignAccount(campaign_id=campaign_id, account_id=second))
        session.execute(
            text(
                "UPDATE messages SET planned_account_id = CASE WHEN position % 3 = 0 THEN :one"
                " WHEN position % 3 = 1 THEN :two END"
            ),
            {"one": first, "two": second},
        )
    turns.run_turn(first)
    assert states() == {"sent": 6, "pending": 3}, "its own, and those that anybody may send"
    with transaction() as session:
        planned = set(session.scalars(text("SELECT planned_account_id FROM messages WHERE status = 'pending'")))
        assert planned == {second}
        assert session.get_one(Campaign, campaign_id, populate_existing=True).status == "running"
        activation.deactivate(session, second, reason="131031: locked")
    turns.run_turn(first)
    assert states() == {"sent": 9}


def test_a_lane_whose_share_is_sent_is_not_busy_with_that_of_others(current: Runtime, ledger: Simulator) -> None:
    first, [campaign_id] = lane(ledger, count=2)
    with transaction() as session:
        company = session.get_one(Company, session.get_one(Account, first).company_id)
        second = numbered.account(session, company, phone_number_id="112", base_url=ledger.url).id
        session.add(CampaignAccount(campaign_id=campaign_id, account_id=second))
        session.execute(text("UPDATE messages SET planned_account_id = :two"), {"two": second})
    with transaction() as session:
        assert planning.busy_lanes(session, Line.FIRST) == [second]
        activation.deactivate(session, second, reason="131031: locked")
        assert planning.busy_lanes(session, Line.FIRST) == [first]


def test_a_campaign_that_only_waits_for_its_recipients_mornings_says_so(current: Runtime, ledger: Simulator) -> None:
    account_id, [campaign_id] = lane(ledger, count=2)
    in_three_days = f"{utc_now() + timedelta(days=3):%a}".lower()
    hours = {"windows": [{"days": [in_three_days], "start": "09:00", "end": "10:00"}], "timezone": "recipient"}
    with transaction() as session:
        session.get_one(Campaign, campaign_id).working_hours = hours
    turns.run_turn(account_id)
    assert waking.waits_of(current.redis, [account_id])[account_id].reason == WaitReason.OUTSIDE_HOURS
    with transaction() as session:
        lifecycle.cancel(session, session.get_one(Campaign, campaign_id), now=utc_now())
    turns.run_turn(account_id)
    assert received(ledger) == []


def test_a_small_campaign_is_through_after_some_twenty_messages_of_an_account_that_a_big_one_keeps_busy(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, [big] = lane(ledger, count=60, max_in_flight=1)
    with transaction() as session:
        parent = session.get_one(Campaign, big)
        people = [{"phone": numbered.phone(5000 + at), "name": "Ana"} for at in range(10)]
        small = drafts.create(
            session,
            company_id=parent.company_id,
            owner_id=parent.owner_id,
            values={
                "name": "Small",
                "account_ids": [account_id],
                "audience": {"recipients": people},
                "content": parent.content,
                "pacing": {"message_delay_s": 0},
            },
            default_region="BR",
            default_timezone="UTC",
            now=utc_now(),
        )
        numbered.started(session, small, now=utc_now())
    turns.run_turn(account_id)
    order = [int(entry["to"][-8:]) - 90000000 for entry in received(ledger)]
    assert len(order) == 70
    assert max(order.index(5000 + at) for at in range(10)) < 24
