"""The transaction of a use case that a request asks for.

It acts in the name of the user who asks. What follows it goes to the queues after the commit, as a hint: PostgreSQL is
the truth, and the periodic verification does what a lost hint would have done. So if Redis is away, a request whose
rows are written does not fail: the absence is logged, and the answer stands.
"""

from contextlib import AbstractContextManager

from flask import g
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from campaign_engine import db
from campaign_engine.core import engine
from campaign_engine.db import Actor, Follows
from campaign_engine.logs import get_logger
from jobs import enqueueing

log = get_logger(__name__)


def transaction() -> AbstractContextManager[Session]:
    """Open a transaction in the name of the user that `web.auth` has recognised in this request, if any."""
    user = g.get("user")
    return db.transaction(actor=Actor(user.email, user.id) if user is not None else None, give=_give)


def _give(follows: Follows) -> None:
    """Put what follows on the queues; one log line instead of an error when Redis does not take it."""
    try:
        enqueueing.give(engine().redis, follows)
    except (RedisError, OSError) as error:
        log.warning("hints.lost", count=len(follows), first=str(follows[0]), reason=str(error))
