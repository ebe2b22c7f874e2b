"""Timers: when a lane's next turn is, and why it waits, as Redis knows it.

A timer belongs to a lane, never to a message: each line of a lane has at most one waiting turn, the first line on
`campaign-messages` and the second on `message-retry`. All of this may be lost at any time; the periodic verification
writes it again from PostgreSQL.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from redis import Redis
from redis.exceptions import RedisError
from rq.job import JobStatus

from campaign_engine.rules.waiting import Wait
from campaign_engine.services.messages.planning import Line
from jobs import lease, queues
from jobs.rq_extensions import script

TURN = "jobs.lane.turns.run_turn"
RETRY_TURN = "jobs.lane.turns.run_retry_turn"
_KIND_OF = {Line.FIRST: "turn", Line.SECOND: "retry turn"}
QUEUE_OF = {Line.FIRST: queues.CAMPAIGN_MESSAGES, Line.SECOND: queues.MESSAGE_RETRY}


def _turn_key(account_id: int, line: Line) -> str:
    return f"lane:{account_id}:turn" if line is Line.FIRST else f"lane:{account_id}:retry-turn"


def _wait_key(account_id: int) -> str:
    return f"lane:{account_id}:wait"


def arm(connection: Redis, account_id: int, *, at: datetime, line: Line = Line.FIRST) -> None:
    """Make sure that the lane has a waiting turn, at `at` or earlier. One that waits for later is brought forward.

    Idempotent: any number of calls leave one waiting turn.
    """
    queue = queues.queue(QUEUE_OF[line], connection)
    policy = queues.POLICIES[QUEUE_OF[line]]
    job = queue.create_job(
        TURN if line is Line.FIRST else RETRY_TURN,
        args=(account_id,),
        job_id=f"{_KIND_OF[line].replace(' ', '-')}-{account_id}-{uuid.uuid4().hex[:12]}",
        status=JobStatus.SCHEDULED,
        timeout=policy.timeout_s,
        result_ttl=queues.RESULT_TTL_S,
        failure_ttl=queues.FAILURE_TTL_S,
        description=f"{_KIND_OF[line]} of account {account_id}",
    )
    with connection.pipeline() as pipeline:
        # Not RQ's `enqueue_at`: that puts the job into the registry, but whether it is needed is decided below.
        pipeline.sadd(queue.redis_queues_keys, queue.key)
        job.save(pipeline=pipeline)
        pipeline.execute()
    taken = script(connection, "arm")(
        keys=[
            _turn_key(account_id, line),
            queue.scheduled_job_registry.key,
            queue.key,
        ],
        args=[job.id, repr(at.timestamp())],
    )
    if taken != 1:
        connection.delete(job.key)


def turn_began(connection: Redis, account_id: int, job_id: str, line: Line = Line.FIRST) -> None:
    """Note that the waiting turn has begun, so that the next one can be armed."""
    key = _turn_key(account_id, line)
    # This need not be atomic: if another turn is armed in between, a second one is armed later.
    if connection.get(key) == job_id.encode():
        connection.delete(key)


def lanes_with_a_turn(connection: Redis, account_ids: Iterable[int], line: Line = Line.FIRST) -> set[int]:
    """Return the lanes that are at work or have a turn waiting (see `lua/arm.lua` for what counts)."""
    wanted = list(account_ids)
    if not wanted:
        return set()
    queue = queues.queue(QUEUE_OF[line], connection)
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.mget([lease.key(account_id) for account_id in wanted])
        pipeline.mget([_turn_key(account_id, line) for account_id in wanted])
        pipeline.lrange(queue.key, 0, -1)
        pipeline.zrange(queue.scheduled_job_registry.key, 0, -1)
        leases, turns, queued, scheduled = pipeline.execute()
    somewhere = {*queued, *scheduled}
    return {
        account_id
        for account_id, holder, turn in zip(wanted, leases, turns, strict=True)
        if holder is not None or turn in somewhere
    }


def note_wait(connection: Redis, account_id: int, *, reason: str, until: datetime) -> None:
    """Store why a lane waits, for the progress to show."""
    ttl_s = max(1, int((until - datetime.now(UTC)).total_seconds()) + 60)
    value = json.dumps({"reason": reason, "until": until.isoformat()})
    connection.set(_wait_key(account_id), value, ex=ttl_s)


def waits_of(connection: Redis, account_ids: Iterable[int]) -> Mapping[int, Wait]:
    """Return why lanes wait; empty if Redis does not answer, since this is only an explanation."""
    wanted = list(account_ids)
    if not wanted:
        return {}
    try:
        values = connection.mget([_wait_key(account_id) for account_id in wanted])
    except RedisError:
        return {}
    found = {}
    for account_id, value in zip(wanted, values, strict=True):
        if value is not None:
            stored = json.loads(value)
            found[account_id] = Wait(reason=stored["reason"], until=datetime.fromisoformat(stored["until"]))
    return found


def others_wait(connection: Redis, account_id: int, line: Line) -> bool:
    """Say whether a turn of `line` should make room: another lane wants its worker, or a turn was turned away.

    That may be a turn of the other line, or one of its own line that was armed for something new.
    """
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.llen(queues.queue(QUEUE_OF[line], connection).key)
        pipeline.exists(lease.turned_away_key(account_id))
        queued, turned_away = pipeline.execute()
    return bool(queued or turned_away)
