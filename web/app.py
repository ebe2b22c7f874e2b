"""The web application: JSON API, pages, dashboard, webhooks, operations."""

from collections.abc import Sequence
from datetime import timedelta

import structlog
from flask import Flask, Response, request
from flask_wtf.csrf import CSRFProtect

from campaign_engine.config import Config, ConfigError
from campaign_engine.core import create_core, engine
from campaign_engine.providers import REGISTRY
from campaign_engine.providers.base import Provider
from web import api, api_limits, bodies, dashboard, docs, errors, operations, pages, webhooks

SESSION_LIFETIME = timedelta(hours=12)

# `data:` is for the small pictures inside style sheets. The dashboard needs more and sets a header of its own.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


def create_app(config: Config, *, registry: Sequence[type[Provider]] = REGISTRY) -> Flask:
    """Return the web application, which knows the providers of `registry`; opens no connection.

    Raises:
        ConfigError: an address or a secret is missing.
    """
    if not config.secret_key:
        raise ConfigError(["SECRET_KEY: not set; the sessions of the pages are signed with it."])
    app = create_core(config, registry=registry)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config.update(
        SECRET_KEY=config.secret_key,
        SESSION_COOKIE_NAME="campaign_engine",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=(config.public_url or "").startswith("https://"),
        PERMANENT_SESSION_LIFETIME=SESSION_LIFETIME,
        # The answer to a poll, if it comes after a sign-out, must not sign the person in again.
        SESSION_REFRESH_EACH_REQUEST=False,
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session
    )
    with app.app_context():
        providers = engine().providers
    api_limits.register(app)
    app.before_request(_begin_log_context)
    app.teardown_request(_end_log_context)
    app.after_request(_secure)
    bodies.register(app)
    errors.register(app)
    csrf = CSRFProtect(app)
    doors = webhooks.doors_of(providers.values())
    app.register_blueprint(doors)
    for blueprint in (doors, *api.register(app)):
        csrf.exempt(blueprint)
    docs.register(app)
    operations.register(app)
    pages.register(app)
    dashboard.register(app)
    return app


def _begin_log_context() -> None:
    structlog.contextvars.bind_contextvars(method=request.method, path=webhooks.loggable_path(request.path))


def _end_log_context(error: BaseException | None) -> None:  # noqa: ARG001 - Flask's signature
    # Threads are kept between requests, and so is everything that a request bound.
    structlog.contextvars.clear_contextvars()


def _secure(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response
