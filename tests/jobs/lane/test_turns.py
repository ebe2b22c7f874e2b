"""Turns of a lane, in this process, against the real simulator."""

import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis as redis_package
import requests
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from campaign_engine.clock import utc_now
from campaign_engine.core import prefix_of
from campaign_engine.db import transaction
from campaign_engine.models import Account, Campaign, Company
from campaign_engine.providers.base import Outcome, Outgoing, Sender
from campaign_engine.providers.cloud_api.adapter import CloudApi
from campaign_engine.rules.cool_down import RECOVERY
from campaign_engine.rules.hours.working_hours import WEEKDAYS
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.company import limits
from campaign_engine.services.messages import claiming
from campaign_engine.services.outlook import progress
from jobs import lease, queues, waking
from jobs.lane import turns
from jobs.runtime import Runtime
from ratelimit import Limiter, Rate
from tests import factories
from tests.campaign_engine import numbered
from tests.jobs.lane.laying import lane, received, states
from tests.simulator.running import Simulator, wait_for


def _next_turn(current: Runtime, account_id: int) -> float | None:
    registry = queues.queue(queues.CAMPAIGN_MESSAGES, current.redis).scheduled_job_registry
    scores = [score for _, score in current.redis.zrange(registry.key, 0, -1, withscores=True)]
    assert len(scores) <= 1
    return scores[0] if scores else None


def test_a_turn_sends_all_it_may_settles_it_and_completes_the_campaign(current: Runtime, ledger: Simulator) -> None:
    account_id, [campaign_id] = lane(ledger, count=40)
    turns.run_turn(account_id)
    assert len(received(ledger)) == 40
    assert {entry["callback_data"] for entry in received(ledger)} == _message_ids()
    with transaction() as session:
        campaign = session.get_one(Campaign, campaign_id)
        assert (campaign.status, campaign.sent_count) == ("completed", 40)
        assert progress.miscounted(session) == []
    assert _next_turn(current, account_id) is None, "a lane with nothing to do has no timer"


def _message_ids() -> set[str]:
    with transaction() as session:
        return {str(identity) for identity in session.scalars(text("SELECT id FROM messages"))}


def test_campaigns_take_turns_in_quanta(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=9, campaigns=2, max_in_flight=1)
    turns.run_turn(account_id)
    order = ["a" if int(entry["to"][-8:]) - 90000000 < 1000 else "b" for entry in received(ledger)]
    assert order.count("a") == order.count("b") == 9
    # At no moment is one campaign more than a quantum ahead of the other.
    ahead = [order[: at + 1].count("a") - order[: at + 1].count("b") for at in range(18)]
    assert max(map(abs, ahead)) <= current.config.campaign_batch


def test_a_turn_stops_at_the_limit_and_is_deferred_to_its_exact_time(current: Runtime, ledger: Simulator) -> None:
    account_id, [campaign_id] = lane(ledger, count=5, rate_limit="1/minute", burst=1)
    before = utc_now()
    turns.run_turn(account_id)
    assert len(received(ledger)) == 1
    at = _next_turn(current, account_id)
    assert at is not None
    # With half a percent of margin: one each 60.3 s.
    assert before.timestamp() + 59 < at < received(ledger)[0]["received_at"] + 61
    wait = waking.waits_of(current.redis, [account_id])[account_id]
    assert wait.reason == WaitReason.ACCOUNT_LIMIT
    with transaction() as session:
        shown = progress.read(
            session,
            [session.get_one(Campaign, campaign_id)],
            config=current.config,
            now=utc_now(),
            waits={account_id: wait},
        )[0]
    assert shown.waiting[0].until == wait.until


def test_a_turn_before_its_time_sends_nothing(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, rate_limit="1/minute", burst=1)
    for _ in range(5):
        turns.run_turn(account_id)
    assert len(received(ledger)) == 1


def test_an_accounts_pace_is_a_floor_kept_over_campaigns(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, campaigns=2, message_interval_s=20)
    for _ in range(3):
        turns.run_turn(account_id)
    assert len(received(ledger)) == 1
    at = _next_turn(current, account_id)
    assert at is not None
    assert at >= received(ledger)[0]["received_at"] + 20
    assert waking.waits_of(current.redis, [account_id])[account_id].reason == WaitReason.PACING


def test_the_long_pause_comes_after_the_series(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, message_interval_s=20, longer_interval_after=3, greater_interval_s=60)
    for pause in (timedelta(seconds=each) for each in (20, 20, 60, 20, 20)):
        before = utc_now()
        turns.run_turn(account_id)
        with transaction() as session:
            paced_until = session.get_one(Account, account_id, populate_existing=True).paced_until
            assert paced_until is not None
            assert before + pause <= paced_until <= utc_now() + pause
            session.execute(text("UPDATE accounts SET paced_until = now()"))  # the pause is over


def test_one_campaigns_delay_does_not_hold_another(current: Runtime, ledger: Simulator) -> None:
    account_id, [slow, quick] = lane(ledger, count=6, campaigns=2)
    with transaction() as session:
        session.execute(
            text("""UPDATE campaigns SET pacing = '{"message_delay_s": 60}' WHERE id = :id"""), {"id": slow}
        )
    turns.run_turn(account_id)
    with transaction() as session:
        sent = {
            campaign_id: session.get_one(Campaign, campaign_id, populate_existing=True).sent_count
            for campaign_id in (slow, quick)
        }
    assert sent == {slow: 1, quick: 6}
    assert waking.waits_of(current.redis, [account_id])[account_id].reason == WaitReason.CAMPAIGN_DELAY


def test_an_owners_limit_does_not_hold_another_owners_campaign(current: Runtime, ledger: Simulator) -> None:
    account_id, [limited] = lane(ledger, count=6)
    with transaction() as session:
        account = session.get_one(Account, account_id)
        colleague = factories.user(session, session.get_one(Company, account.company_id))
        other = numbered.running(session, colleague, accounts=[account], count=6, first=5000, now=utc_now()).id
        # Enough for one message of each owner at once, and then one a minute.
        session.execute(text("""UPDATE companies SET settings = '{"campaign_rate_limit": "1/minute"}'"""))
    turns.run_turn(account_id)
    with transaction() as session:
        sent = [session.get_one(Campaign, each, populate_existing=True).sent_count for each in (limited, other)]
    assert sent == [1, 1]
    assert waking.waits_of(current.redis, [account_id])[account_id].reason == WaitReason.USER_LIMIT


def test_a_second_turn_on_a_held_lane_ends_at_once(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger)
    assert lease.Lease.take(current.redis, account_id, uuid.uuid4()) is not None
    turns.run_turn(account_id)
    assert received(ledger) == []


def test_without_its_limiter_a_lane_sends_nothing_and_comes_back(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger)
    reachable, away = current.limiter, redis_package.Redis(port=1, socket_connect_timeout=0.2, retry=None)
    current.limiter = lambda company_id: Limiter(away, prefix=prefix_of(company_id))
    turns.run_turn(account_id)
    assert received(ledger) == []
    assert states() == {"pending": 5}
    at = _next_turn(current, account_id)
    assert at is not None
    assert at - utc_now().timestamp() < 3
    current.limiter = reachable
    turns.run_turn(account_id)
    assert len(received(ledger)) == 5


def test_a_provider_that_cannot_be_reached_costs_no_attempt_and_rests_the_lane(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, _ = lane(ledger)
    with transaction() as session:
        session.execute(text("UPDATE accounts SET base_url = 'http://127.0.0.1:9'"))
    before = utc_now()
    turns.run_turn(account_id)
    assert waking.waits_of(current.redis, [account_id])[account_id].reason == WaitReason.PROVIDER_UNREACHABLE
    with transaction() as session:
        rows = session.execute(text("SELECT status, attempts FROM messages")).all()
        assert {tuple(row) for row in rows} == {("pending", 0)}
        session.execute(text("UPDATE accounts SET base_url = :url"), {"url": ledger.url})
        paused = session.get_one(Account, account_id, populate_existing=True).paced_until
        assert paused is not None
        assert paused > before + timedelta(seconds=3)
        session.execute(text("UPDATE accounts SET paced_until = NULL"))
    turns.run_turn(account_id)
    assert len(received(ledger)) == 5


def test_a_throttled_account_rests_comes_back_at_half_its_rate_and_burns_no_attempt(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, _ = lane(ledger, count=5, rate_limit="1/minute", burst=1)
    ledger.behave(refuse_next=1, refuse_next_code=130429)
    before = utc_now()
    turns.run_turn(account_id)
    assert received(ledger) == []
    with transaction() as session:
        assert session.scalar(text("SELECT max(attempts) FROM messages")) == 0
        account = session.get_one(Account, account_id, populate_existing=True)
        assert account.throttle_step == 1
        assert account.paced_until is not None
        assert account.paced_until > before + timedelta(seconds=8)
        company = session.get_one(Company, account.company_id)
        limit, slowed = [each.limit for each in limits.of_call(account, company, current.config, now=utc_now())]
        assert (limit.rate, slowed.rate) == (Rate.parse("1/minute"), Rate.parse("1/2 minutes"))
        # The rest is over: the bucket is empty, so one message may go, and the next one at the slow rate.
        session.execute(text("UPDATE accounts SET paced_until = NULL"))
    wait = waking.waits_of(current.redis, [account_id])[account_id]
    assert wait.reason == WaitReason.COOL_DOWN
    turns.run_turn(account_id)
    assert received(ledger) == [], "the limiter knows of the rest too"
    current.redis.delete(current.limiter(account.company_id).prefix + limit.tail)
    before = utc_now()
    turns.run_turn(account_id)
    assert len(received(ledger)) == 1
    wait = waking.waits_of(current.redis, [account_id])[account_id]
    assert wait.reason == WaitReason.COOL_DOWN
    slow = timedelta(seconds=118), timedelta(seconds=122)  # one each two minutes instead of one each minute
    assert before + slow[0] < wait.until < utc_now() + slow[1]


def test_a_complaint_is_not_a_silence_of_a_whole_period(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=6, rate_limit="100/hour", burst=50, max_in_flight=1)
    ledger.behave(refuse_next=1, refuse_next_code=130429)
    turns.run_turn(account_id)
    with transaction() as session:
        account = session.get_one(Account, account_id, populate_existing=True)
        session.execute(text("UPDATE accounts SET paced_until = NULL"))
        # The rest is over.
        limit = limits.of_account(account, session.get_one(Company, account.company_id), current.config)
    current.redis.delete(current.limiter(account.company_id).prefix + limit.tail)
    sent, before = len(received(ledger)), utc_now()  # the call after the refused one had begun
    turns.run_turn(account_id)
    assert len(received(ledger)) == sent + 1
    wait = waking.waits_of(current.redis, [account_id])[account_id]
    # 100 in two hours are one each 72 s; a quarter of that fits into the margin of a limit that was not used yet.
    assert before + timedelta(seconds=50) < wait.until < utc_now() + timedelta(seconds=73)


def test_an_account_that_was_slowed_is_looked_at_when_its_rate_comes_back(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=6, rate_limit="2/hour", burst=2)
    back_at = utc_now() + timedelta(minutes=1)
    with transaction() as session:
        session.execute(text("UPDATE accounts SET throttle_step = 1, throttled_at = :at"), {"at": back_at - RECOVERY})
    turns.run_turn(account_id)
    assert len(received(ledger)) == 1
    at = _next_turn(current, account_id)
    assert at is not None
    assert at == pytest.approx(back_at.timestamp(), abs=0.01)


def test_a_limit_is_used_although_answers_take_longer_than_its_interval(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=16, rate_limit="1200/minute", burst=1, max_in_flight=16)
    ledger.behave(latency_ms=500)
    turns.run_turn(account_id)
    ledger.behave(latency_ms=5)
    assert len(received(ledger)) == 16
    # Twenty a second. Whoever waited for each answer would have one at once; how much is used is for the bench to say.
    assert ledger.summary()["by_number"]["111"]["most_sends_at_once"] > 2


def test_many_refusals_of_calls_in_flight_are_one_complaint(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=60, max_in_flight=16)
    ledger.behave(refuse_next=60, refuse_next_code=130429, jitter_ms=150)
    turns.run_turn(account_id)
    ledger.behave(refuse_next=0, jitter_ms=0)
    with transaction() as session:
        account = session.get_one(Account, account_id, populate_existing=True)
        assert account.throttle_step == 1, "the answers came one after the other, and it is one complaint"
    assert states() == {"pending": 60}


def test_the_pause_after_a_message_is_that_of_its_own_campaign(current: Runtime, ledger: Simulator) -> None:
    account_id, [slow, quick] = lane(ledger, count=1, campaigns=2)
    with transaction() as session:
        session.execute(
            text("UPDATE campaigns SET pacing = CAST(:pacing AS jsonb) WHERE id = :id"),
            {"pacing": '{"message_delay_s": 0, "message_interval_s": 30}', "id": slow},
        )
        session.execute(text("UPDATE campaign_accounts SET served_at = now() WHERE campaign_id = :id"), {"id": slow})
    turns.run_turn(account_id)
    # The quick one goes first and asks for no pause, so the slow one follows at once; the pause after that is its own.
    assert [int(entry["to"][-8:]) - 90000000 for entry in received(ledger)] == [1000, 0]
    with transaction() as session:
        assert session.get_one(Campaign, quick, populate_existing=True).status == "completed"
        paused = session.get_one(Account, account_id, populate_existing=True).paced_until
    assert paused is not None
    assert paused.timestamp() >= received(ledger)[1]["received_at"] + 30, "counted from when the provider had it"


def test_a_portfolio_reaches_so_many_different_people_a_day_and_no_more(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=6, campaigns=1, daily_recipient_limit=4)
    turns.run_turn(account_id)
    assert len(received(ledger)) == 4
    wait = waking.waits_of(current.redis, [account_id])[account_id]
    assert wait.reason == WaitReason.DAILY_RECIPIENTS
    assert wait.until is not None
    assert wait.until > utc_now() + timedelta(hours=23, minutes=59)


def test_a_number_that_warms_up_sends_its_days_share(current: Runtime, ledger: Simulator) -> None:
    warm_up = {"started_at": utc_now().isoformat(), "ladder": [[0, 3], [4, 50]], "ends_on_day": 30}
    account_id, _ = lane(ledger, count=6, warm_up=warm_up)
    turns.run_turn(account_id)
    assert len(received(ledger)) == 3
    assert waking.waits_of(current.redis, [account_id])[account_id].reason == WaitReason.WARM_UP


def test_one_person_is_not_flooded_from_one_number(current: Runtime, ledger: Simulator) -> None:
    ledger.behave(pair_interval_s=0)
    account_id, _ = lane(ledger, count=1)
    with transaction() as session:
        account = session.get_one(Account, account_id)
        owner = factories.user(session, session.get_one(Company, account.company_id))
        for _ in range(50):
            numbered.running(session, owner, accounts=[account], count=1, now=utc_now())
    before = utc_now()
    turns.run_turn(account_id)
    assert len(received(ledger)) == limits.PAIR_BURST + 1
    with transaction() as session:
        postponed = session.scalars(text("SELECT next_attempt_at FROM messages WHERE status = 'pending'")).all()
    assert all(before < at < utc_now() + timedelta(seconds=7) for at in postponed)
    assert waking.waits_of(current.redis, [account_id])[account_id].reason == WaitReason.PAIR_RATE_LIMIT
    ledger.behave(pair_interval_s=6)


def test_retries_of_one_message_are_limited(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=1)
    requests_before = ledger.summary()["requests"]
    ledger.behave(refuse_next=100, refuse_next_code=131057)
    for _ in range(20):
        with transaction() as session:
            session.execute(
                text("UPDATE messages SET next_attempt_at = :now, attempts = least(attempts, 2)"), {"now": utc_now()}
            )
        turns.run_turn(account_id)
    ledger.behave(refuse_next=0)
    # The first attempt, and ten retries in five minutes.
    assert ledger.summary()["requests"] - requests_before == 11
    with transaction() as session:
        again_at = session.scalar(text("SELECT next_attempt_at FROM messages"))
    assert again_at > utc_now() + timedelta(minutes=4)


@pytest.mark.parametrize("strategy", ["window", "moving-window"])
def test_another_strategy_lets_a_whole_limit_go_at_once(current: Runtime, ledger: Simulator, strategy: str) -> None:
    current.config = replace(current.config, rate_limit_strategy=strategy)
    account_id, _ = lane(ledger, count=8, rate_limit="5/minute", burst=1)
    turns.run_turn(account_id)
    assert len(received(ledger)) == 5


def test_five_account_failures_in_a_row_deactivate_and_an_acceptance_resets(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, _ = lane(ledger, count=20, max_in_flight=1)

    def refuse(count: int) -> None:
        requests.patch(
            f"{ledger.url}/simulator/behaviour", json={"refuse_next": count, "refuse_next_code": 131031}, timeout=60
        ).raise_for_status()

    refuse(4)
    turns.run_turn(account_id)
    with transaction() as session:
        account = session.get_one(Account, account_id, populate_existing=True)
        assert (account.status, account.consecutive_failures) == ("active", 0)
    assert len(received(ledger)) == 20

    with transaction() as session:
        session.execute(text("UPDATE messages SET status = 'pending', next_attempt_at = NULL"))
        session.execute(text("UPDATE campaigns SET status = 'running'"))
    refuse(100)
    turns.run_turn(account_id)
    with transaction() as session:
        account = session.get_one(Account, account_id, populate_existing=True)
        assert account.status == "deactivated"
        assert account.status_reason is not None
        assert account.status_reason.startswith("131031: ")
    assert states() == {"pending": 20}, "what an account could not send waits for another"


class _BreaksAfter:
    """A provider with a bug: the real one for some calls, then an exception nobody expects."""

    def __init__(self, real: CloudApi, calls: int) -> None:
        self._real = real
        self._left = calls

    def send(self, sender: Sender, message: Outgoing, *, leaving: Callable[[], object]) -> Outcome:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("a bug")
        return self._real.send(sender, message, leaving=leaving)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_a_turn_that_breaks_leaves_begun_calls_unknown_and_frees_the_others(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, _ = lane(ledger, count=40, max_in_flight=4)
    real = CloudApi(version="v26.0", timeout_s=60)
    current.providers = {"cloud_api": _BreaksAfter(real, 6)}
    with pytest.raises(RuntimeError, match="a bug"):
        turns.run_turn(account_id)
    left = states()
    assert left["unknown"] >= 1
    assert left["sent"] >= 1
    assert left["pending"] >= 1, "what had not begun waits again"
    assert sum(left.values()) == 40
    current.providers = {"cloud_api": real}
    turns.run_turn(account_id)
    numbers = [entry["to"] for entry in received(ledger)]
    assert len(numbers) == len(set(numbers))
    assert states() == {"sent": 40 - left["unknown"], "unknown": left["unknown"]}


def test_who_opted_out_since_the_start_is_skipped_and_his_permit_is_given_back(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, _ = lane(ledger, count=3)
    with transaction() as session:
        session.execute(
            text(
                "INSERT INTO opt_outs (company_id, phone_key, source, opted_out_at)"
                " SELECT company_id, :key, 'reply', now() FROM accounts"
            ),
            {"key": numbered.phone_key(1)},
        )
    turns.run_turn(account_id)
    assert states() == {"sent": 2, "skipped": 1}
    assert numbered.phone(1) not in {entry["to"] for entry in received(ledger)}


def test_a_message_that_cannot_be_written_for_one_person_fails_for_him_alone(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, [campaign_id] = lane(ledger, count=3)
    with transaction() as session:
        session.execute(
            text("""UPDATE campaigns SET content = '{"type": "text", "text": "Nr {{n}}"}' WHERE id = :id"""),
            {"id": campaign_id},
        )
        session.execute(
            text("UPDATE contacts SET variables = '{}' WHERE phone_key = :key"), {"key": numbered.phone_key(1)}
        )
    turns.run_turn(account_id)
    assert states() == {"sent": 2, "failed": 1}
    with transaction() as session:
        failed = session.execute(text("SELECT error_code, error_detail FROM messages WHERE status = 'failed'")).one()
    assert failed.error_code == "cannot_render"
    assert "n" in failed.error_detail
    assert sorted(entry["summary"] for entry in received(ledger)) == ["Nr 0", "Nr 2"]


def _hours_that_are_over(*, at_close: str) -> str:
    """An hour of today that is over, as JSON, in UTC."""
    day = utc_now() - timedelta(days=1)
    window = {"days": [WEEKDAYS[day.weekday()]], "start": "00:00", "end": "00:01"}
    return json.dumps({"windows": [window], "timezone": "UTC", "at_close": at_close})


def test_outside_its_hours_a_campaign_waits_for_them_and_others_go_on(current: Runtime, ledger: Simulator) -> None:
    account_id, [closed, always] = lane(ledger, count=4, campaigns=2)
    with transaction() as session:
        session.execute(
            text("UPDATE campaigns SET working_hours = CAST(:hours AS jsonb) WHERE id = :id"),
            {"hours": _hours_that_are_over(at_close="resume"), "id": closed},
        )
    turns.run_turn(account_id)
    with transaction() as session:
        counts = [session.get_one(Campaign, each, populate_existing=True).sent_count for each in (closed, always)]
    assert counts == [0, 4]
    wait = waking.waits_of(current.redis, [account_id])[account_id]
    assert wait.reason == WaitReason.OUTSIDE_HOURS
    at = _next_turn(current, account_id)
    assert at is not None
    assert at % 86400 == 0, "midnight of the day the window opens on"
    assert 5 * 86400 < at - utc_now().timestamp() < 7 * 86400


def test_a_campaign_that_is_to_stop_at_closing_time_pauses_with_the_reason(current: Runtime, ledger: Simulator) -> None:
    account_id, [campaign_id] = lane(ledger, count=4)
    with transaction() as session:
        session.execute(
            text("UPDATE campaigns SET working_hours = CAST(:hours AS jsonb), funnel_sent_count = 1"),
            {"hours": _hours_that_are_over(at_close="stop")},
        )
    turns.run_turn(account_id)
    assert received(ledger) == []
    with transaction() as session:
        campaign = session.get_one(Campaign, campaign_id, populate_existing=True)
        assert campaign.status == "paused"
        assert campaign.status_reason is not None
        assert "working hours are over" in campaign.status_reason


@pytest.mark.parametrize(
    ("rate", "pacing", "reason"),
    [
        ("1/hour", '{"message_delay_s": 0}', WaitReason.ACCOUNT_LIMIT),
        ("60000/minute", '{"message_delay_s": 86399}', WaitReason.CAMPAIGN_DELAY),
    ],
)
def test_whatever_it_waits_for_a_campaign_that_stops_at_closing_time_is_looked_at_then(
    current: Runtime, ledger: Simulator, rate: str, pacing: str, reason: WaitReason
) -> None:
    account_id, _ = lane(ledger, count=4, rate_limit=rate, burst=1)
    # By a clock on which it is about noon, so that midnight is far.
    ahead = 12 - utc_now().hour
    zone = ZoneInfo(f"Etc/GMT{-ahead:+d}" if ahead else "UTC")
    local = utc_now().astimezone(zone)
    closes = (local + timedelta(minutes=10)).replace(second=0, microsecond=0)
    again = closes + timedelta(minutes=5)
    hours = {
        "windows": [
            {"days": list(WEEKDAYS), "start": "00:00", "end": f"{closes:%H:%M}"},
            {"days": list(WEEKDAYS), "start": f"{again:%H:%M}", "end": "23:00"},
        ],
        "timezone": zone.key,
        "at_close": "stop",
    }
    with transaction() as session:
        session.execute(
            text("UPDATE campaigns SET working_hours = CAST(:hours AS jsonb), pacing = CAST(:pacing AS jsonb)"),
            {"hours": json.dumps(hours), "pacing": pacing},
        )
    turns.run_turn(account_id)
    assert len(received(ledger)) == 1
    assert _next_turn(current, account_id) == closes.timestamp()
    assert waking.waits_of(current.redis, [account_id])[account_id].reason == reason


def test_who_switched_our_marketing_off_is_not_written_to_again(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=1)
    ledger.behave(refuse_next=1, refuse_next_code=131050)
    turns.run_turn(account_id)
    assert states() == {"failed": 1}
    with transaction() as session:
        barred = session.execute(text("SELECT phone_key, kind, source FROM opt_outs")).all()
    assert [tuple(row) for row in barred] == [(numbered.phone_key(0), "opted_out", "provider")]


def test_a_pause_holds_after_the_calls_in_flight_however_slow_the_provider(current: Runtime, ledger: Simulator) -> None:
    account_id, [campaign_id] = lane(ledger, count=80, max_in_flight=4)
    ledger.behave(latency_ms=200)
    turn = threading.Thread(target=turns.run_turn, args=(account_id,))
    turn.start()
    wait_for(lambda: len(received(ledger)) >= 16)
    with transaction() as session:
        lifecycle.pause(session, session.get_one(Campaign, campaign_id))
    before = len(received(ledger))
    turn.join()
    ledger.behave(latency_ms=5)
    # Four are in flight and as many at most were waiting for them; the next claim finds the campaign paused.
    assert len(received(ledger)) - before <= 8
    assert states()["pending"] >= 80 - before - 8


def test_what_was_answered_before_the_database_broke_a_turn_is_not_unknown(
    current: Runtime, ledger: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id, _ = lane(ledger, count=40, max_in_flight=4)
    ledger.behave(latency_ms=150)
    real = claiming.next_rows
    calls: list[int] = []

    def breaks_at_the_second(*arguments: Any, **values: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise OperationalError("deadlock detected", None, Exception("deadlock detected"))
        return real(*arguments, **values)

    monkeypatch.setattr(claiming, "next_rows", breaks_at_the_second)
    with pytest.raises(OperationalError):
        turns.run_turn(account_id)
    ledger.behave(latency_ms=5)
    assert set(states()) == {"sent", "pending"}
    assert states()["sent"] == len(received(ledger))
    assert _next_turn(current, account_id) is not None, "the lane comes back by itself"
