"""What a web process has at hand: configuration, keys, connections, limiters, providers. Built once, before the fork.

Building it opens no connection. Views get it with `runtime()`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Flask, current_app
from redis import Redis

from campaign_engine.config import Config
from campaign_engine.core import Engine
from campaign_engine.providers.base import Provider
from campaign_engine.services.company import limits
from campaign_engine.vault import Vault
from jobs import connections
from ratelimit import Limiter
from web.lenient_limiter import LenientLimiter

_KEY = "campaign_engine.web"


@dataclass(frozen=True, slots=True)
class Runtime:
    """The composition root of the web.

    Attributes:
        redis: where hints are put and waits are read; gives up soon.
        limiter_redis: where the limits live.
        api_limiter: decides about calls of the API and attempts to sign in.
    """

    config: Config
    vault: Vault
    redis: Redis
    limiter_redis: Redis
    api_limiter: LenientLimiter
    providers: Mapping[str, Provider]

    def limiter(self, company_id: int) -> Limiter:
        """Return the limiter of a company's sends, to look at; the web never charges it."""
        return Limiter(self.limiter_redis, prefix=limits.prefix_of(company_id))


def build(app: Flask, *, redis: Redis | None = None) -> Runtime:
    """Build the runtime of `app` and keep it there; `redis` serves everything when given."""
    core: Engine = app.extensions["campaign_engine"]
    limiter_redis = redis if redis is not None else connections.for_limits(core.config)
    built = Runtime(
        config=core.config,
        vault=core.vault,
        redis=redis if redis is not None else connections.for_requests(core.config),
        limiter_redis=limiter_redis,
        api_limiter=LenientLimiter(Limiter(limiter_redis, prefix="rl:{api}")),
        providers=core.providers,
    )
    app.extensions[_KEY] = built
    return built


def runtime() -> Runtime:
    """Return the runtime of the current application."""
    found: Runtime = current_app.extensions[_KEY]
    return found
