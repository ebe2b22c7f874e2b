"""The lease: which turn holds a lane, and whom it turned away.

Both lines of a lane share one lease, because they share the account. A turn that finds it taken leaves word, and its
holder wakes the line that was turned away. The lease lives in Redis and may be lost at any time.
"""

import threading
import uuid
from collections.abc import Iterable
from types import TracebackType

from redis import Redis
from redis.exceptions import RedisError

from campaign_engine.services.messages.planning import Line
from jobs.rq_extensions import script

LEASE_TTL_S = 15.0
LEASE_RENEW_S = 4.0

_HELD = "lanes:held"
"""Every lane at work, by when its lease ends (milliseconds). A lane still here after that time was not given up."""


def key(account_id: int) -> str:
    """Return the key under which Redis has the token of the turn that holds the lane."""
    return f"lane:{account_id}:lease"


def turned_away_key(account_id: int) -> str:
    """Return the key of the set of lines that found the lane taken."""
    return f"lane:{account_id}:turned-away"


def holders(connection: Redis, account_ids: Iterable[int]) -> dict[int, str]:
    """Return the token of the turn that holds each lane; lanes that nobody holds are absent."""
    wanted = list(account_ids)
    if not wanted:
        return {}
    tokens = connection.mget([key(account_id) for account_id in wanted])
    held = zip(wanted, tokens, strict=True)
    return {account_id: token.decode() for account_id, token in held if isinstance(token, bytes)}


def release(connection: Redis, account_id: int, token: uuid.UUID) -> list[Line]:
    """Give a lane up, if this turn still holds it; return the lines that were turned away meanwhile."""
    keys = [key(account_id), turned_away_key(account_id), _HELD]
    lines = script(connection, "release_lease")(keys=keys, args=[str(token), account_id])
    return [Line(line.decode()) for line in lines]


def take_abandoned(connection: Redis, *, now_ms: int = 0) -> list[int]:
    """Return, once, the lanes whose lease ran out before it was given up: their holders are dead.

    `now_ms` is filled by tests only: 0 is the server's clock.
    """
    return [int(account_id) for account_id in script(connection, "take_abandoned")(keys=[_HELD], args=[now_ms])]


class Lease:
    """Holding a lane: taken once, renewed by a thread until the turn ends.

    `lost` says that another turn has taken it. `turned_away` names, after the end, the lines that wanted it meanwhile.

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
        """Take the lane, or leave word for the turn that holds it and return None."""
        keys = [key(account_id), turned_away_key(account_id), _HELD]
        taken = script(connection, "take_lease")(
            keys=keys, args=[str(token), int(LEASE_TTL_S * 1000), str(line), account_id]
        )
        return cls(connection, account_id, token) if taken else None

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.turned_away = release(self._connection, self._account_id, self._token)

    def _renew(self) -> None:
        while not self._ended.wait(LEASE_RENEW_S):
            try:
                held = script(self._connection, "renew_lease")(
                    keys=[key(self._account_id), _HELD],
                    args=[str(self._token), int(LEASE_TTL_S * 1000), self._account_id],
                )
            except RedisError:
                continue  # Redis is away: nobody else can take the lane either.
            if not held:
                self.lost = True
                return
