"""What machines ask about the process: is it alive, and can it serve."""

from collections.abc import Callable

from flask import Blueprint, Flask, Response, jsonify
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from campaign_engine.core import engine
from web.transactions import transaction

blueprint = Blueprint("operations", __name__)


def register(app: Flask) -> None:
    """Serve /healthz and /readyz."""
    app.register_blueprint(blueprint)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Say that the process answers; asks nobody else."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Say which of the parts that requests need answer."""
    redis, limits = engine().redis, engine().limiter_redis
    parts = {"postgres": _state(_ask_postgres), "redis": _state(redis.ping), "limits": _state(limits.ping)}
    ready = all(state == "ok" for state in parts.values())
    return jsonify(status="ok" if ready else "unavailable", parts=parts), 200 if ready else 503


def _state(ask: Callable[[], object]) -> str:
    try:
        ask()
    except (SQLAlchemyError, RedisError, OSError):
        # The reason may hold an address with a password; the log of the request that fails has it.
        return "unavailable"
    return "ok"


def _ask_postgres() -> None:
    with transaction() as session:
        session.execute(text("SELECT 1"))
