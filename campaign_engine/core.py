"""The application without routes: what jobs, commands and the web have in common.

Building it opens no connection, so that a parent process can build it once and fork.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flask import Flask, current_app

from campaign_engine.config import Config, ConfigError
from campaign_engine.db import database_url_for_sqlalchemy, db, ping_after_idling
from campaign_engine.providers import REGISTRY
from campaign_engine.providers import build as build_providers
from campaign_engine.providers.base import Provider
from campaign_engine.vault import Vault

_KEY = "campaign_engine"


@dataclass(frozen=True, slots=True)
class Engine:
    """What belongs to the process and not to a request: its configuration, its keys and its ways to WhatsApp."""

    config: Config
    vault: Vault
    providers: Mapping[str, Provider]


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
        config=config, vault=Vault(config.encryption_key), providers=build_providers(config, registry)
    )
    db.init_app(app)
    with app.app_context():
        ping_after_idling(db.engine)
    return app


def engine() -> Engine:
    """Return the engine of the current application context."""
    found: Engine = current_app.extensions[_KEY]
    return found
