"""The application without routes: what jobs, commands and the web have in common, put together once.

Building it opens no connection, so that a parent process can build it once and fork.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flask import Flask, current_app
from redis import Redis

from campaign_engine import redis_clients
from campaign_engine.config import Config, ConfigError
from campaign_engine.db import database_url_for_sqlalchemy, db, ping_after_idling
from campaign_engine.providers import REGISTRY
from campaign_engine.providers import build as build_providers
from campaign_engine.providers.base import Provider, Traits
from campaign_engine.vault import Vault
from ratelimit import Limiter

_KEY = "campaign_engine"


@dataclass(frozen=True, slots=True)
class Engine:
    """What belongs to the process and not to a request, a job or a command.

    Attributes:
        config: the configuration of the process.
        vault: the keys by which secrets in the database are encrypted.
        providers: by the name that accounts use.
        redis: gives up soon: for answers to people, and for calls that sending must not wait for.
        patient_redis: waits for a Redis that is away: for queues and workers.
        limiter_redis: where the limits live; gives up soon.
    """

    config: Config
    vault: Vault
    providers: Mapping[str, Provider]
    redis: Redis
    patient_redis: Redis
    limiter_redis: Redis
    _limiters: dict[int, Limiter] = field(default_factory=dict, init=False)

    def limiter(self, company_id: int) -> Limiter:
        """Return the limiter of a company."""
        if company_id not in self._limiters:
            self._limiters[company_id] = Limiter(self.limiter_redis, prefix=prefix_of(company_id))
        return self._limiters[company_id]


def prefix_of(company_id: int) -> str:
    """Return the key prefix of a company's limits; the braces are Redis Cluster's hash tag: all live in one slot."""
    return f"rl:{{company:{company_id}}}"


def create_core(config: Config, *, registry: Sequence[type[Provider]] = REGISTRY) -> Flask:
    """Return a Flask application with the database bound and no routes; `registry` are the providers it knows.

    Raises:
        ConfigError: an address or a secret that every process needs is missing.
    """
    missing = [
        f"{name.upper()}: not set, and no embedded server is running; start `campaign-engine up` or set it."
        for name in ("database_url", "redis_url", "encryption_key")
        if not getattr(config, name)
    ]
    if missing:
        raise ConfigError(missing)
    app = Flask("campaign_engine", static_folder=None)
    app.config["SQLALCHEMY_DATABASE_URI"] = database_url_for_sqlalchemy(config.database_url or "")
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "pool_size": 4,
        "max_overflow": config.web_threads,
        "hide_parameters": True,  # the text of errors is logged, and parameters are names, numbers and messages
        "connect_args": {
            "connect_timeout": 5,
            "application_name": "campaign-engine",
            "options": "-c timezone=UTC",
            # A connection may be lost without a word (a failover, a NAT that forgot it). By itself TCP notices after a
            # quarter of an hour; with these values in seconds.
            "keepalives_idle": 5,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,  # milliseconds
        },
    }
    app.extensions[_KEY] = Engine(
        config=config,
        vault=Vault(config.encryption_key),
        providers=build_providers(config, registry),
        redis=redis_clients.for_requests(config),
        patient_redis=redis_clients.for_workers(config),
        limiter_redis=redis_clients.for_limits(config),
    )
    db.init_app(app)
    with app.app_context():
        ping_after_idling(db.engine)
    return app


def engine() -> Engine:
    """Return the engine of the current application context."""
    found: Engine = current_app.extensions[_KEY]
    return found


def traits_of(provider: str) -> Traits:
    """Return what the provider of this name says of itself, of those that the current application was given."""
    return engine().providers[provider].traits
