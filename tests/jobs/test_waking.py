"""Lanes and their turns in Redis: one waiting turn a lane, promoted exactly, found again when lost."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import redis as redis_package
from rq import Queue
from rq.job import Job, JobStatus

from campaign_engine.services.messages.planning import Line
from jobs import queues, waking
from jobs.rq_extensions import Promoter, Promotion
from jobs.scheduler import SHORTEST_TICK_S, TICK_S, tick_after

T0 = datetime(2026, 11, 20, 12, 0, 0, 123457, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def queue(redis_client: redis_package.Redis) -> Queue:
    return queues.queue(queues.CAMPAIGN_MESSAGES, redis_client)


@pytest.fixture
def promoter(redis_client: redis_package.Redis) -> Promoter:
    return Promoter(redis_client, queues.NAMES)


def _scheduled(queue: Queue) -> dict[str, float]:
    return {
        name.decode(): score
        for name, score in queue.connection.zrange(queue.scheduled_job_registry.key, 0, -1, withscores=True)
    }


def test_a_turn_is_promoted_at_its_microsecond_and_not_before(
    redis_client: redis_package.Redis, queue: Queue, promoter: Promoter
) -> None:
    waking.arm(redis_client, 7, at=T0)
    assert promoter.promote(now_s=(T0 - MICROSECOND).timestamp()).moved == 0
    assert promoter.promote(now_s=T0.timestamp()).moved == 1
    assert promoter.promote(now_s=T0.timestamp()).moved == 0
    [job_id] = queue.get_job_ids()
    job = Job.fetch(job_id, connection=redis_client)
    assert (job.func_name, job.args, job.get_status().value) == (waking.TURN, (7,), "queued")
    assert job.description == "turn of account 7"


def test_a_waiting_turn_is_to_rq_a_scheduled_job_of_a_queue_it_knows(
    redis_client: redis_package.Redis, queue: Queue
) -> None:
    waking.arm(redis_client, 7, at=T0)
    [job_id] = _scheduled(queue)
    job = Job.fetch(job_id, connection=redis_client)
    assert (job.get_status(), job.origin) == (JobStatus.SCHEDULED, queue.name)
    assert Queue.all(connection=redis_client) == [queue]


def test_the_promoter_says_when_the_next_turn_is_due(redis_client: redis_package.Redis, promoter: Promoter) -> None:
    assert promoter.promote(now_s=T0.timestamp()).next_in_s is None
    waking.arm(redis_client, 7, at=T0 + timedelta(milliseconds=30))
    waking.arm(redis_client, 8, at=T0 + timedelta(milliseconds=80), line=Line.SECOND)
    assert promoter.promote(now_s=T0.timestamp()).next_in_s == pytest.approx(0.03, abs=2e-6)
    later = promoter.promote(now_s=(T0 + timedelta(milliseconds=30)).timestamp())
    assert later.moved == 1
    assert later.next_in_s == pytest.approx(0.05, abs=2e-6)


@pytest.mark.parametrize(
    ("next_in_s", "tick_s"),
    [(None, TICK_S), (0.02, 0.02), (0.0, SHORTEST_TICK_S), (3600.0, TICK_S)],
)
def test_the_next_look_is_when_the_next_turn_is_due(next_in_s: float | None, tick_s: float) -> None:
    assert tick_after(Promotion(moved=1, next_in_s=next_in_s)) == tick_s


def test_many_turns_are_promoted_in_the_order_of_their_times(
    redis_client: redis_package.Redis, queue: Queue, promoter: Promoter
) -> None:
    for account in (3, 1, 2):
        waking.arm(redis_client, account, at=T0 + timedelta(milliseconds=account))
    assert promoter.promote(now_s=(T0 + timedelta(seconds=1)).timestamp()).moved == 3
    assert [Job.fetch(each, connection=redis_client).args[0] for each in queue.get_job_ids()] == [1, 2, 3]


def test_two_schedulers_promote_each_turn_once(redis_client: redis_package.Redis, queue: Queue) -> None:
    for account in range(50):
        waking.arm(redis_client, account, at=T0)
    promoters = [Promoter(redis_client, queues.NAMES) for _ in range(2)]
    assert sum(each.promote(now_s=T0.timestamp()).moved for each in promoters) == 50
    assert len(set(queue.get_job_ids())) == 50


def test_a_turn_whose_job_was_lost_is_dropped(
    redis_client: redis_package.Redis, queue: Queue, promoter: Promoter
) -> None:
    waking.arm(redis_client, 7, at=T0)
    redis_client.delete(*[f"rq:job:{job_id}" for job_id in _scheduled(queue)])
    assert promoter.promote(now_s=T0.timestamp()).moved == 0
    assert (_scheduled(queue), queue.get_job_ids()) == ({}, [])


def test_arming_any_number_of_times_leaves_one_waiting_turn(redis_client: redis_package.Redis, queue: Queue) -> None:
    for seconds in (5, 9, 5, 7):
        waking.arm(redis_client, 7, at=T0 + timedelta(seconds=seconds))
    [at] = _scheduled(queue).values()
    assert at == (T0 + timedelta(seconds=5)).timestamp()
    assert len(list(redis_client.scan_iter("rq:job:*"))) == 1


def test_an_earlier_time_brings_the_waiting_turn_forward(redis_client: redis_package.Redis, queue: Queue) -> None:
    waking.arm(redis_client, 7, at=T0 + timedelta(hours=8))
    [job_id] = _scheduled(queue)
    waking.arm(redis_client, 7, at=T0)
    assert _scheduled(queue) == {job_id: T0.timestamp()}


def test_a_turn_in_the_queue_is_a_waiting_turn(
    redis_client: redis_package.Redis, queue: Queue, promoter: Promoter
) -> None:
    waking.arm(redis_client, 7, at=T0)
    promoter.promote(now_s=T0.timestamp())
    waking.arm(redis_client, 7, at=T0)
    assert (len(queue.get_job_ids()), _scheduled(queue)) == (1, {})


def test_while_a_turn_runs_the_next_one_can_be_armed(
    redis_client: redis_package.Redis, queue: Queue, promoter: Promoter
) -> None:
    waking.arm(redis_client, 7, at=T0)
    promoter.promote(now_s=T0.timestamp())
    [job_id] = queue.get_job_ids()
    redis_client.lpop(queue.key)
    waking.turn_began(redis_client, 7, job_id)
    waking.arm(redis_client, 7, at=T0 + timedelta(seconds=3))
    assert list(_scheduled(queue).values()) == [(T0 + timedelta(seconds=3)).timestamp()]


def test_a_turn_lost_between_queue_and_worker_is_missed_and_armed_again(
    redis_client: redis_package.Redis, queue: Queue, promoter: Promoter
) -> None:
    waking.arm(redis_client, 7, at=T0)
    assert waking.lanes_with_a_turn(redis_client, [7, 8]) == {7}
    promoter.promote(now_s=T0.timestamp())
    assert waking.lanes_with_a_turn(redis_client, [7, 8]) == {7}
    # The worker was killed just after it took the job: RQ itself would find it after a minute or more.
    redis_client.lmove(queue.key, queue.intermediate_queue_key)
    assert waking.lanes_with_a_turn(redis_client, [7, 8]) == set()
    waking.arm(redis_client, 7, at=T0)
    assert waking.lanes_with_a_turn(redis_client, [7, 8]) == {7}


def test_why_a_lane_waits_can_be_read_until_it_is_over(redis_client: redis_package.Redis) -> None:
    until = datetime.now(UTC) + timedelta(seconds=30)
    waking.note_wait(redis_client, 7, reason="pacing of the account", until=until)
    waits = waking.waits_of(redis_client, [7, 8])
    assert {account: (wait.reason, wait.until) for account, wait in waits.items()} == {
        7: ("pacing of the account", until)
    }


def test_an_explanation_is_not_worth_an_error_when_redis_is_away() -> None:
    gone = redis_package.Redis(port=1, socket_connect_timeout=0.2, retry=None)
    assert waking.waits_of(gone, [7]) == {}


def test_promoting_with_the_servers_clock_is_never_early(
    redis_client: redis_package.Redis, queue: Queue, promoter: Promoter
) -> None:
    at = datetime.now(UTC) + timedelta(milliseconds=80)
    waking.arm(redis_client, 7, at=at)
    while not promoter.promote().moved:
        assert time.time() < at.timestamp() + 60
    seconds, microseconds = redis_client.time()
    assert seconds + microseconds / 1e6 >= at.timestamp()
