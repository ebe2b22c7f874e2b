"""Lanes and their turns, as Redis knows them: who holds a lane, when its next turn is, why it waits.

A timer belongs to a lane, never to a message: each line of a lane has at most one waiting turn, the first line on
`campaign-messages` and the second on `message-retry`. Both lines share one lease, because the account is one; a turn
that finds it taken leaves word, and whoever holds it wakes the line that was turned away. All of this may be lost at
any time; the periodic verification writes it again from PostgreSQL.
"""

import json
import threading
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType

from redis import Redis
from redis.exceptions import RedisError
from rq.job import JobStatus

from campaign_engine.rules.waiting import Wait
from campaign_engine.services.messages.planning import Line
from jobs import queues
from jobs.rq_extensions import script

LEASE_TTL_S = 15.0
LEASE_RENEW_S = 4.0
TURN = "jobs.lane.turns.run_turn"
RETRY_TURN = "jobs.lane.turns.run_retry_turn"
_KIND_OF = {Line.FIRST: "turn", Line.SECOND: "retry turn"}
QUEUE_OF = {Line.FIRST: queues.CAMPAIGN_MESSAGES, Line.SECOND: queues.MESSAGE_RETRY}


def _lease_key(account_id: int) -> str:
    return f"lane:{account_id}:lease"


def _turn_key(account_id: int, line: Line) -> str:
    return f"lane:{account_id}:turn" if line is Line.FIRST else f"lane:{account_id}:retry-turn"


def _turned_away_key(account_id: int) -> str:
    return f"lane:{account_id}:turned-away"


def _wait_key(account_id: int) -> str:
    return f"lane:{account_id}:wait"


_HELD = "lanes:held"
"""Every lane at work, by when its lease ends (milliseconds): one that is still here then was not given up."""


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
        # Not RQ's `enqueue_at`, which puts the job into the registry: whether it is needed is decided below.
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
    """Note that the waiting turn is not waiting any more, so that the next one can be armed."""
    key = _turn_key(account_id, line)
    # Not atomic, and need not be: were another turn armed in between, a second one would be armed later.
    if connection.get(key) == job_id.encode():
        connection.delete(key)


def lanes_with_a_turn(connection: Redis, account_ids: Iterable[int], line: Line = Line.FIRST) -> set[int]:
    """Return those lanes that are at work or have a turn waiting (see `lua/arm.lua` for what counts)."""
    wanted = list(account_ids)
    if not wanted:
        return set()
    queue = queues.queue(QUEUE_OF[line], connection)
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.mget([_lease_key(account_id) for account_id in wanted])
        pipeline.mget([_turn_key(account_id, line) for account_id in wanted])
        pipeline.lrange(queue.key, 0, -1)
        pipeline.zrange(queue.scheduled_job_registry.key, 0, -1)
        leases, turns, queued, scheduled = pipeline.execute()
    somewhere = {*queued, *scheduled}
    return {
        account_id
        for account_id, lease, turn in zip(wanted, leases, turns, strict=True)
        if lease is not None or turn in somewhere
    }


def lease_holders(connection: Redis, account_ids: Iterable[int]) -> dict[int, str]:
    """Return the token of the turn that holds each lane, for those that are held."""
    wanted = list(account_ids)
    if not wanted:
        return {}
    tokens = connection.mget([_lease_key(account_id) for account_id in wanted])
    held = zip(wanted, tokens, strict=True)
    return {account_id: token.decode() for account_id, token in held if isinstance(token, bytes)}


def note_wait(connection: Redis, account_id: int, *, reason: str, until: datetime) -> None:
    """Keep why a lane waits, for whoever looks at the progress."""
    ttl_s = max(1, int((until - datetime.now(UTC)).total_seconds()) + 60)
    value = json.dumps({"reason": reason, "until": until.isoformat()})
    connection.set(_wait_key(account_id), value, ex=ttl_s)


def waits_of(connection: Redis, account_ids: Iterable[int]) -> Mapping[int, Wait]:
    """Return why lanes wait; empty when Redis does not answer, since it is only an explanation."""
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


_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# A command whose answer was lost is sent again: the lane is ours already then.
_TAKE = f"""
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  redis.call('SADD', KEYS[2], ARGV[3])
  redis.call('EXPIRE', KEYS[2], 3600)
  return 0
end
{_NOW}
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[3], now + ARGV[2], ARGV[4])
return 1
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {} end
local turned_away = redis.call('SMEMBERS', KEYS[2])
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[2])
return turned_away
"""
_RENEW = f"""
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
{_NOW}
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[3])
return 1
"""
_OVERDUE = f"""
{_NOW}
if ARGV[1] ~= '0' then now = tonumber(ARGV[1]) end
local lanes = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return lanes
"""


def release_lease(connection: Redis, account_id: int, token: uuid.UUID) -> list[Line]:
    """Give a lane up, if this turn still holds it; return the lines that were turned away meanwhile."""
    lines = connection.eval(
        _RELEASE, 3, _lease_key(account_id), _turned_away_key(account_id), _HELD, str(token), account_id
    )
    return [Line(line.decode()) for line in lines]


def take_abandoned(connection: Redis, *, now_ms: int = 0) -> list[int]:
    """Return, once, the lanes whose lease has run out without being given up: whoever held them is dead.

    `now_ms` is filled by tests only: 0 is the server's clock.
    """
    return [int(account_id) for account_id in connection.eval(_OVERDUE, 1, _HELD, now_ms)]


def others_wait(connection: Redis, account_id: int, line: Line) -> bool:
    """Say whether a turn of `line` should make room: another lane wants its worker, or somebody has been turned away.

    That is the other line, or a turn of its own that was armed for something new.
    """
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.llen(queues.queue(QUEUE_OF[line], connection).key)
        pipeline.exists(_turned_away_key(account_id))
        queued, turned_away = pipeline.execute()
    return bool(queued or turned_away)


class Lease:
    """Holding a lane: taken once, renewed by a thread until the turn ends. `lost` says that somebody else has it;
    `turned_away`, once it has ended, which lines wanted it meanwhile.

    Two turns at once would be harmless (claims and limits are atomic); the lease keeps them from wasting work.
    """

    def __init__(self, connection: Redis, account_id: int, token: uuid.UUID) -> None:
        self._connection = connection
        self._account_id = account_id
        self._token = token
        self._ended = threading.Event()
        self.lost = False
        self.turned_away: list[Line] = []
        self._thread = threading.Thread(target=self._renew, name=f"lease-{account_id}", daemon=True)

    @classmethod
    def take(cls, connection: Redis, account_id: int, token: uuid.UUID, line: Line = Line.FIRST) -> "Lease | None":
        """Take the lane; or leave word for the turn that holds it, and return None."""
        keys = [_lease_key(account_id), _turned_away_key(account_id), _HELD]
        taken = connection.eval(_TAKE, 3, *keys, str(token), str(int(LEASE_TTL_S * 1000)), line, account_id)
        return cls(connection, account_id, token) if taken else None

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.turned_away = release_lease(self._connection, self._account_id, self._token)

    def _renew(self) -> None:
        while not self._ended.wait(LEASE_RENEW_S):
            try:
                keys = [_lease_key(self._account_id), _HELD]
                ttl_ms = str(int(LEASE_TTL_S * 1000))
                held = self._connection.eval(_RENEW, 2, *keys, str(self._token), ttl_ms, self._account_id)
            except RedisError:
                continue  # Redis is away: nobody else can take the lane either.
            if not held:
                self.lost = True
                return
