"""Starting, preparing, verifying: each job may run twice, at any time, in any order."""

import io
import math
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis as redis_package
from rq import Queue
from rq.job import Job
from sqlalchemy import text
from structlog.testing import capture_logs

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.models import Campaign
from campaign_engine.rules.hours.working_hours import WEEKDAYS
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.campaigns import lifecycle, preparing
from campaign_engine.services.messages import planning
from campaign_engine.services.people import imports
from campaign_engine.services.webhooks import deliveries
from jobs import enqueueing, lease, queues, scheduling, start_times, waking
from jobs.lane import turns
from jobs.runtime import Runtime
from jobs.scheduler import ExactScheduler
from tests import factories
from tests.campaign_engine import numbered


def _campaign(*, scheduled_at: datetime | None = None, count: int = 3, **values: Any) -> tuple[int, int]:
    """Make a campaign; return its id and its account's."""
    with transaction() as session:
        owner = factories.user(session, factories.company(session))
        number = numbered.account(session, owner.company)
        members = numbered.people(session, owner.company, count=count)
        # Made before its time, as it would be.
        if scheduled_at is not None:
            values = {"scheduled_at": scheduled_at, "now": scheduled_at - timedelta(days=1), **values}
        made = numbered.draft(session, owner, accounts=[number], lists=[members], **values)
        return made.id, number.id


def _status(campaign_id: int) -> str:
    with transaction() as session:
        return session.get_one(Campaign, campaign_id, populate_existing=True).status


def _starts(current: Runtime) -> list[tuple[int, float]]:
    """Return (campaign id, seconds since the epoch) of the starts that are armed, the earliest first."""
    armed = current.redis.zrange("rq:scheduler:scheduled_jobs", 0, -1, withscores=True)
    return [(Job.fetch(job_id.decode(), connection=current.redis).args[0], score) for job_id, score in armed]


def _turns(current: Runtime) -> int:
    """Return how many turns of lanes wait for their time."""
    return queues.queue(queues.CAMPAIGN_MESSAGES, current.redis).scheduled_job_registry.count


def _queued(connection: redis_package.Redis, name: str) -> int:
    return len(Queue(name, connection=connection))


def test_a_campaign_missed_while_everything_was_down_starts_unless_it_is_too_late(current: Runtime) -> None:
    campaign_id, account_id = _campaign(scheduled_at=utc_now() - timedelta(minutes=55))
    missed_id, _ = _campaign(scheduled_at=utc_now() - timedelta(minutes=65))
    scheduling.verify_campaigns()
    assert _status(campaign_id) == "running"
    assert waking.lanes_with_a_turn(current.redis, [account_id]) == {account_id}
    assert _status(missed_id) == "draft"
    # Its own job comes in late, and the verification comes again.
    scheduling.start_campaign(missed_id)
    scheduling.verify_campaigns()
    assert _status(missed_id) == "draft"
    with transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM notifications WHERE kind = 'campaign_start_missed'")) == 1


def test_a_recurring_campaign_starts_again_and_again(current: Runtime) -> None:
    first_id, _ = _campaign(scheduled_at=utc_now() - timedelta(seconds=1), recurrence={"every": "day", "time": "09:00"})
    scheduling.verify_campaigns()
    assert _status(first_id) == "running"
    for occurrence in (2, 3):
        with transaction() as session:
            moved = "UPDATE campaigns SET scheduled_at = now() WHERE status = 'scheduled' RETURNING id, occurrence"
            head = session.execute(text(moved)).one()
        assert head.occurrence == occurrence
        scheduling.start_campaign(head.id)
        scheduling.verify_campaigns()
        assert _status(head.id) == "running"


def test_a_campaign_that_cannot_start_keeps_no_other_from_starting(current: Runtime) -> None:
    held_id, account_id = _campaign(scheduled_at=utc_now() - timedelta(seconds=30))
    with transaction() as session:
        session.execute(text("UPDATE accounts SET status = 'deactivated' WHERE id = :id"), {"id": account_id})
    campaign_id, _ = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    scheduling.verify_campaigns()
    assert (_status(held_id), _status(campaign_id)) == ("scheduled", "running")


def test_a_campaign_is_not_started_before_its_time(current: Runtime) -> None:
    campaign_id, _ = _campaign(scheduled_at=utc_now() + timedelta(seconds=30))
    scheduling.start_campaign(campaign_id)
    scheduling.verify_campaigns()
    assert _status(campaign_id) == "scheduled"


def test_the_verification_makes_sure_of_starts_within_the_hour_once(current: Runtime) -> None:
    at = utc_now() + timedelta(minutes=30)
    campaign_id, _ = _campaign(scheduled_at=at)
    later_id, _ = _campaign(scheduled_at=utc_now() + timedelta(hours=3))
    for _ in range(2):
        scheduling.verify_campaigns()
    assert _starts(current) == [(campaign_id, math.ceil(at.timestamp()))]
    assert _status(later_id) == "scheduled"


def test_a_start_is_armed_once_for_the_second_after_its_time_and_moved_with_it(current: Runtime) -> None:
    at = datetime.now(UTC).replace(microsecond=250_000) + timedelta(minutes=30)
    for again in (at, at.astimezone(ZoneInfo("America/Sao_Paulo")), at):
        start_times.ensure(current.redis, [(7, again)])
    assert _starts(current) == [(7, math.ceil(at.timestamp()))]
    start_times.ensure(current.redis, [(7, at + timedelta(minutes=5))])
    assert _starts(current) == [(7, math.ceil(at.timestamp()) + 300)]


def test_a_start_outside_the_hours_waits_for_them_also_where_they_stop_the_campaign(current: Runtime) -> None:
    yesterday = WEEKDAYS[(utc_now() - timedelta(days=1)).weekday()]
    over = {"windows": [{"days": [yesterday], "start": "00:00", "end": "00:01"}], "timezone": "UTC", "at_close": "stop"}
    campaign_id, account_id = _campaign(scheduled_at=utc_now() - timedelta(seconds=1), working_hours=over)
    scheduling.verify_campaigns()
    turns.run_turn(account_id)
    assert _status(campaign_id) == "running"
    wait = waking.waits_of(current.redis, [account_id])[account_id]
    assert wait.reason == WaitReason.OUTSIDE_HOURS
    assert wait.until.timestamp() % 86400 == 0, "midnight, when the window opens"


def test_starting_twice_prepares_once(current: Runtime) -> None:
    campaign_id, _ = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    for _ in range(2):
        scheduling.start_campaign(campaign_id)
    assert _queued(current.redis, queues.CAMPAIGN_SCHEDULER) == 1
    for _ in range(2):
        scheduling.prepare_campaign(campaign_id)
    with transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM messages")) == 3


def test_a_deploy_interrupts_the_preparing_after_a_chunk_and_the_next_worker_goes_on(
    current: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id, _ = _campaign(count=5)
    monkeypatch.setattr(preparing, "prepare_chunk", partial(preparing.prepare_chunk, chunk=2))
    with transaction() as session:
        lifecycle.start(session, session.get_one(Campaign, campaign_id), now=utc_now())
    current.stopping.set()
    scheduling.prepare_campaign(campaign_id)
    current.stopping.clear()
    assert _total(campaign_id) == 2
    [job] = Queue(queues.CAMPAIGN_SCHEDULER, connection=current.redis).jobs
    scheduling.prepare_campaign(*job.args)
    assert _total(campaign_id) == 5


def _total(campaign_id: int) -> int:
    with transaction() as session:
        return session.get_one(Campaign, campaign_id, populate_existing=True).total_count


def test_a_lost_prepare_job_is_made_good(current: Runtime) -> None:
    campaign_id, _ = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    scheduling.start_campaign(campaign_id)
    current.redis.flushall()
    scheduling.verify_campaigns()
    assert _status(campaign_id) == "running"


def test_a_lane_that_lost_its_turn_gets_one_and_others_are_left_alone(current: Runtime) -> None:
    _, lost = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    scheduling.verify_campaigns()
    current.redis.flushall()
    tomorrow = utc_now() + timedelta(days=1)
    _, waiting = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    waking.arm(current.redis, waiting, at=tomorrow)
    registry = queues.queue(queues.CAMPAIGN_MESSAGES, current.redis).scheduled_job_registry
    with transaction() as session:
        session.execute(text("UPDATE campaigns SET status = 'running', prepared_at = now(), pending_count = 3"))
    scheduling.verify_campaigns()
    assert waking.lanes_with_a_turn(current.redis, [lost, waiting]) == {lost, waiting}
    scores = dict(current.redis.zrange(registry.key, 0, -1, withscores=True))
    assert len(scores) == 2
    assert max(scores.values()) == tomorrow.timestamp(), "a turn that waits on purpose is not brought forward"


def test_a_turn_on_its_way_from_its_queue_to_its_lease_is_not_taken_for_lost(current: Runtime) -> None:
    _, account_id = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    scheduling.verify_campaigns()
    current.redis.flushall()

    def begin(_: float) -> None:
        lease.Lease.take(current.redis, account_id, uuid.uuid4())

    with capture_logs() as logged:
        scheduling._rearm_lanes(current, pause=begin)
    assert [line["event"] for line in logged] == []
    assert _turns(current) == 0


def test_a_lane_that_is_found_done_a_moment_later_is_not_taken_for_one_without_a_turn(current: Runtime) -> None:
    campaign_id, _ = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    scheduling.verify_campaigns()
    current.redis.flushall()

    def finish(_: float) -> None:
        with transaction() as session:
            session.execute(text("UPDATE campaigns SET status = 'completed' WHERE id = :id"), {"id": campaign_id})

    scheduling._rearm_lanes(current, pause=finish)
    assert _turns(current) == 0


def test_only_a_lane_without_a_turn_costs_the_verification_a_pause(current: Runtime) -> None:
    _, account_id = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    scheduling.verify_campaigns()
    pauses: list[float] = []
    for expected in ([], [scheduling.HANDOVER_S]):
        with capture_logs() as logged:
            scheduling._rearm_lanes(current, pause=pauses.append)
        assert pauses == expected
        assert [line["account_ids"] for line in logged if line["event"] == "lanes.rearmed"] == [[account_id]] * len(
            pauses
        )
        assert _turns(current) == 1
        current.redis.flushall()


def test_claims_of_a_vanished_turn_become_unknown_and_those_of_a_living_one_stay(current: Runtime) -> None:
    campaign_id, account_id = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    scheduling.verify_campaigns()
    living, dead = uuid.uuid4(), uuid.uuid4()
    long_ago = utc_now() - timedelta(seconds=60)
    with transaction() as session:
        plan = planning.plan(session, account_id, config=current.config)
        assert plan is not None
        for token in (living, dead):
            numbered.claim_next(session, account=plan.account, token=token, sequence=[campaign_id], now=long_ago)
    assert lease.Lease.take(current.redis, account_id, living) is not None
    scheduling.verify_campaigns()
    with transaction() as session:
        states = dict(
            session.execute(text("SELECT claim_token, status FROM messages WHERE claim_token IS NOT NULL")).all()
        )  # type: ignore[arg-type]
    assert states == {living: "sending", dead: "unknown"}


def test_a_fresh_claim_is_never_taken_for_a_dead_one(current: Runtime) -> None:
    campaign_id, account_id = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    scheduling.verify_campaigns()
    with transaction() as session:
        plan = planning.plan(session, account_id, config=current.config)
        assert plan is not None
        numbered.claim_next(session, account=plan.account, token=uuid.uuid4(), sequence=[campaign_id], now=utc_now())
    scheduling.verify_campaigns()
    with transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM messages WHERE status = 'sending'")) == 1


def test_the_verification_pauses_what_has_no_account_left_and_lets_it_go_on_with_one(current: Runtime) -> None:
    campaign_id, account_id = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    scheduling.verify_campaigns()
    for account_status, expected in (("deactivated", "paused"), ("active", "running")):
        # As when a deactivation and a reactivation at the same moment have not seen each other.
        with transaction() as session:
            values = {"status": account_status, "id": account_id}
            session.execute(text("UPDATE accounts SET status = :status WHERE id = :id"), values)
        scheduling.verify_campaigns()
        assert _status(campaign_id) == expected


def test_the_verification_completes_what_nobody_has_completed(current: Runtime) -> None:
    campaign_id, _ = _campaign(scheduled_at=utc_now() - timedelta(seconds=1))
    scheduling.verify_campaigns()
    with transaction() as session:
        session.execute(text("UPDATE messages SET status = 'sent', accepted_at = now()"))
    scheduling.verify_campaigns()
    assert _status(campaign_id) == "completed"


def test_the_verification_takes_up_webhooks_and_imports_whose_jobs_were_lost(current: Runtime) -> None:
    with transaction() as session:
        owner = factories.user(session, factories.company(session))
        number = numbered.account(session, owner.company)
        deliveries.store(session, provider="cloud_api", account_ids=[number.id], body=b"{}", now=utc_now())
        imports.create(
            session,
            company_id=owner.company_id,
            user_id=owner.id,
            filename="people.csv",
            stream=io.BytesIO(b"phone\n+5511987654321\n"),
            list_name=None,
            mapping=None,
            default_region="BR",
            max_bytes=1000,
        )
    for _ in range(2):
        scheduling.verify_campaigns()
    assert [_queued(current.redis, name) for name in (queues.DELIVERY_EVENTS, queues.CONTACT_SYNC)] == [1, 1]


def test_one_waiting_job_is_enough_for_any_number_of_webhooks(current: Runtime) -> None:
    for _ in range(10):
        enqueueing.enqueue_delivery_events(current.redis)
    assert _queued(current.redis, queues.DELIVERY_EVENTS) == 1
    enqueueing.delivery_events_began(current.redis)
    enqueueing.enqueue_delivery_events(current.redis)
    assert _queued(current.redis, queues.DELIVERY_EVENTS) == 2


def test_the_verification_comes_back_a_moment_after_redis_lost_everything(
    current: Runtime, redis_client: redis_package.Redis
) -> None:
    scheduler = ExactScheduler(current.config)
    scheduler._pass()
    redis_client.flushall()
    scheduler._pass()
    score = redis_client.zscore("rq:scheduler:scheduled_jobs", start_times.VERIFY_JOB_ID)
    assert score is not None
    assert score <= datetime.now(UTC).timestamp() + 2
    assert redis_client.hget(f"rq:job:{start_times.VERIFY_JOB_ID}", "description") == b"verify campaigns"


def test_a_killed_scheduler_blocks_the_next_one_for_seconds_only(redis_client: redis_package.Redis) -> None:
    start_times.ensure(redis_client, [(7, utc_now() - timedelta(seconds=2))])
    killed = start_times.Starter(redis_client)
    assert killed._lock.acquire()
    start_times.Starter(redis_client).make_pass()
    assert _queued(redis_client, queues.CAMPAIGN_SCHEDULER) == 0
    [lock] = redis_client.keys("rq:scheduler_lock*")
    assert 0 < redis_client.ttl(lock) <= 3
    redis_client.delete(lock)  # as it does by itself
    for _ in range(2):
        start_times.Starter(redis_client).make_pass()
    assert _queued(redis_client, queues.CAMPAIGN_SCHEDULER) == 1
    assert redis_client.keys("rq:scheduler_lock*") == []


def test_a_scheduler_is_seen_while_it_works_and_again_after_redis_lost_everything(
    redis_client: redis_package.Redis,
) -> None:
    starter = start_times.Starter(redis_client)
    assert not start_times.is_alive(redis_client)
    for _ in range(2):
        starter.make_pass()
        assert start_times.is_alive(redis_client)
        redis_client.flushall()
    starter.make_pass()
    starter.end()
    assert not start_times.is_alive(redis_client)


def test_asking_for_the_verification_again_leaves_one_job(current: Runtime) -> None:
    for _ in range(3):
        ExactScheduler(current.config)._pass()
    assert current.redis.zcard("rq:scheduler:scheduled_jobs") == 1
