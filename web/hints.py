"""What the web puts on queues: hints, given after the commit.

PostgreSQL is the truth, and the periodic verification does what a lost hint would have done. So a Redis that is away
fails no request whose rows are written: it is logged, and the answer stands.
"""

from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from campaign_engine.db import after_commit
from campaign_engine.logs import get_logger
from web.runtime import runtime

log = get_logger(__name__)


def hint(session: Session, enqueue: Callable[..., object], *args: Any) -> None:
    """Call `enqueue(redis, *args)` after the commit of the present transaction; one of `jobs.enqueueing`.

    Side effects: after the commit one log line instead of an error when Redis does not take it.
    """
    connection = runtime().redis

    def give() -> None:
        try:
            enqueue(connection, *args)
        except (RedisError, OSError) as error:
            log.warning("hint.lost", hint=getattr(enqueue, "__name__", "?"), reason=str(error))

    after_commit(session, give)
