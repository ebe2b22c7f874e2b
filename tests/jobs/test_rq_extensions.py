"""What each override gives; and that RQ does not give it by itself: where such a test fails, the override may go."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis as redis_package
from rq import Queue, SimpleWorker
from rq.cron import CronScheduler
from rq.job import Job, JobStatus
from rq.worker import WorkerStatus

from jobs import queues, status
from jobs.rq_extensions import Promoter, Worker

AT = datetime(2026, 11, 20, 12, 0, 0, 123457, tzinfo=UTC)
NAME = queues.DELIVERY_EVENTS
PATIENCE_S = 30


@pytest.fixture
def queue(redis_client: redis_package.Redis) -> Queue:
    return queues.queue(NAME, redis_client)


@pytest.fixture
def worker(redis_client: redis_package.Redis, queue: Queue) -> Worker:
    return Worker(queue, connection=redis_client)


@pytest.fixture
def rqs_worker(redis_client: redis_package.Redis, queue: Queue) -> SimpleWorker:
    """RQ's own, of two queues."""
    return SimpleWorker([queue, queues.queue(queues.CONTACT_SYNC, redis_client)], connection=redis_client)


@pytest.fixture
def signal_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_deferred_job_comes_at_its_microsecond(redis_client: redis_package.Redis, queue: Queue) -> None:
    job = queues.enqueue_at(redis_client, queues.CONTACT_SYNC, "builtins.len", (), at=AT, description="test")
    stored = Job.fetch(job.id, connection=redis_client)
    assert stored.get_status() == JobStatus.SCHEDULED
    assert (stored.retries_left, stored.timeout) == (2, queues.POLICIES[queues.CONTACT_SYNC].timeout_s)
    promoter = Promoter(redis_client, queues.NAMES)
    assert promoter.promote(now_s=(AT - timedelta(microseconds=1)).timestamp()).moved == 0
    assert promoter.promote(now_s=AT.timestamp()).moved == 1
    assert queues.queue(queues.CONTACT_SYNC, redis_client).job_ids == [job.id]


def test_rqs_registry_cuts_to_seconds(queue: Queue) -> None:
    job = queue.enqueue_at(AT, "builtins.len")
    assert queue.scheduled_job_registry.get_scheduled_time(job) == AT.replace(microsecond=0)


def _taken(worker: SimpleWorker, queue: Queue) -> list[str]:
    """Let a worker take the one job of a queue, as far as a kill would let it; return who still knows the job."""
    queue.enqueue("builtins.len", ())
    assert worker.dequeue_job_and_maintain_ttl(timeout=1) is not None
    return [*queue.job_ids, *queue.intermediate_queue.get_job_ids()]


def test_a_job_outlives_a_worker_that_is_killed_as_it_takes_it(worker: Worker, queue: Queue) -> None:
    assert len(_taken(worker, queue)) == 1


def test_rqs_worker_of_several_queues_loses_a_job(rqs_worker: SimpleWorker, queue: Queue) -> None:
    assert _taken(rqs_worker, queue) == []


def _workers_after_a_loss(worker: SimpleWorker, connection: redis_package.Redis) -> int:
    """Return how many workers the queue has after Redis has lost everything and `worker` has given a sign of life."""
    worker.register_birth()
    connection.flushall()
    worker.heartbeat()
    return {each.name: each.workers for each in status.of_queues(connection)}[NAME]


def test_a_worker_is_known_again_after_redis_lost_everything(worker: Worker, redis_client: redis_package.Redis) -> None:
    assert _workers_after_a_loss(worker, redis_client) == 1
    assert redis_client.hget(worker.key, "queues") == NAME.encode()


def test_rqs_worker_stays_forgotten(rqs_worker: SimpleWorker, redis_client: redis_package.Redis) -> None:
    assert _workers_after_a_loss(rqs_worker, redis_client) == 0


@pytest.mark.usefixtures("signal_handlers")
def test_a_second_signal_does_not_cut_the_job_in_hand(redis_client: redis_package.Redis, queue: Queue) -> None:
    told: list[str] = []
    worker = Worker(queue, connection=redis_client, on_stop=lambda: told.append("stop"))
    worker.set_state(WorkerStatus.BUSY)
    worker.request_stop(signal.SIGTERM, None)
    assert told == ["stop"]
    assert {signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} == {signal.SIG_IGN}


@pytest.mark.usefixtures("signal_handlers")
def test_rqs_worker_ends_at_a_second_signal(rqs_worker: SimpleWorker) -> None:
    rqs_worker.set_state(WorkerStatus.BUSY)
    rqs_worker.request_stop(signal.SIGTERM, None)
    rqs_worker._shutdown_requested_date -= timedelta(seconds=1)
    handler = signal.getsignal(signal.SIGTERM)
    assert callable(handler)
    with pytest.raises(SystemExit):
        handler(signal.SIGTERM, None)


_FAMILY = """
import os, signal
from jobs.rq_extensions import die_with_parent
parent = os.getpid()
if os.fork() == 0:
    die_with_parent(parent)
    print(os.getpid(), flush=True)
    signal.pause()
os.wait()
"""


def test_a_child_dies_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", _FAMILY], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        # The end of the pipe is closed when the last of both has gone.
        gone, _, _ = select.select([parent.stdout], [], [], PATIENCE_S)
        if not gone:
            os.kill(child, signal.SIGKILL)
        assert gone


def test_two_of_rqs_crons_do_everything_twice(redis_client: redis_package.Redis, queue: Queue) -> None:
    """Why rq-scheduler stays (docs/adr/0007)."""
    for _ in range(2):
        cron = CronScheduler(connection=redis_client)
        cron.register(os.getcwd, NAME, interval=20)
        cron.enqueue_jobs()
    assert len(queue) == 2
