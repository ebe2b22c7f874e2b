"""What a worker process has at hand: the parts of the core, and parts that only workers need. Built before the fork.

Building it opens no connection. Jobs get it with `runtime()`.
"""

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from flask import Flask
from redis import Redis
from sqlalchemy.orm import Session

from campaign_engine import db
from campaign_engine.config import Config
from campaign_engine.core import create_core, engine
from campaign_engine.providers import REGISTRY
from campaign_engine.providers.base import Provider
from campaign_engine.vault import Vault
from jobs import enqueueing
from ratelimit import Limiter

Kept = TypeVar("Kept")


@dataclass(slots=True)
class Runtime:
    """What jobs work with; `limiter` returns the limiter of a company.

    `stopping` is set when the process was asked to end: a long job then ends at the next good place.
    """

    config: Config
    app: Flask
    vault: Vault
    redis: Redis
    brief_redis: Redis  # for what must not wait for a Redis that is away; the pool's parent uses no other
    limiter: Callable[[int], Limiter]
    providers: Mapping[str, Provider]
    journal_dir: Path
    host: str = field(default_factory=socket.gethostname)
    stopping: threading.Event = field(default_factory=threading.Event)
    _kept: dict[object, object] = field(default_factory=dict)

    def kept(self, make: "Callable[[Runtime], Kept]") -> Kept:
        """Return what `make` makes of this runtime: made at the first call, and kept until the process ends."""
        if make not in self._kept:
            self._kept[make] = make(self)
        return cast(Kept, self._kept[make])


def transaction() -> AbstractContextManager[Session]:
    """Open the transaction of a job, in the engine's own name; a worker waits for a Redis that is away."""
    return db.transaction(give=lambda follows: enqueueing.give(runtime().redis, follows))


_current: Runtime | None = None


def build(config: Config, *, registry: Sequence[type[Provider]] = REGISTRY) -> Runtime:
    """Build the runtime of this process and make it the current one."""
    global _current
    app = create_core(config, registry=registry)
    with app.app_context():
        core = engine()
    _current = Runtime(
        config=config,
        app=app,
        vault=core.vault,
        redis=core.patient_redis,
        brief_redis=core.redis,
        limiter=core.limiter,
        providers=core.providers,
        journal_dir=config.var_dir / "journal",
    )
    return _current


def runtime() -> Runtime:
    """Return the runtime of this process.

    Raises:
        RuntimeError: nobody built one; jobs run in processes that `jobs.workers` made.
    """
    if _current is None:
        raise RuntimeError("this process has no runtime; call jobs.runtime.build(config) first")
    return _current
