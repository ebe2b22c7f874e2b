"""The JSON API under `/api/v1`: a blueprint a resource, one OpenAPI document."""

from typing import Any

import flask_smorest
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask

from web.api import (
    accounts,
    audit_log,
    campaign_actions,
    campaigns,
    company,
    contact_sync,
    contacts,
    imports,
    lists,
    notifications,
    opt_outs,
    preflight,
    replies,
    standing,
    templates,
)
from web.api.blueprint import Blueprint, IdConverter
from web.schemas.base import ProblemSchema
from web.schemas.fields import Id, Instant, Value

BLUEPRINTS: tuple[Blueprint, ...] = (
    accounts.blueprint,
    contact_sync.blueprint,
    contacts.blueprint,
    imports.blueprint,
    lists.blueprint,
    templates.blueprint,
    campaigns.blueprint,
    campaign_actions.blueprint,
    preflight.blueprint,
    opt_outs.blueprint,
    replies.blueprint,
    standing.rate_limits,
    standing.queues,
    company.tokens,
    company.people,
    company.company,
    notifications.blueprint,
    audit_log.blueprint,
)

DESCRIPTION = (
    "Every call needs the header “Authorization: Bearer TOKEN”. Errors are application/problem+json with a stable"
    " “code” and sentences per field. Lists answer {items, next_cursor} and take ?limit= and ?cursor=. Ids are"
    " strings, times RFC 3339 in UTC."
)


class Api(flask_smorest.Api):  # type: ignore[misc]
    """The document and its blueprints; errors are answered by `web.errors`, for the API and all else alike."""

    ERROR_SCHEMA = ProblemSchema

    def _register_error_handlers(self) -> None:
        pass


def register(app: Flask) -> tuple[Blueprint, ...]:
    """Serve the API in `app`; return its blueprints."""
    app.config.update(
        API_TITLE="Campaign engine",
        API_VERSION="v1",
        OPENAPI_VERSION="3.0.3",
        OPENAPI_URL_PREFIX="/api/v1",
        OPENAPI_JSON_PATH="openapi.json",
    )
    app.url_map.converters["id"] = IdConverter
    api = Api(
        app,
        spec_kwargs={
            "info": {"description": DESCRIPTION},
            "marshmallow_plugin": MarshmallowPlugin(schema_name_resolver=_schema_name),
            "security": [{"bearer": []}],
        },
    )
    api.spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    api.register_converter(IdConverter, lambda _: {"type": "string", "pattern": "[0-9]+"})
    api.register_field(Id, "string", None)
    api.register_field(Instant, "string", "date-time")
    api.register_field(Value, "string", None)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    return BLUEPRINTS


def _schema_name(schema: Any) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    name = kind.__name__.removesuffix("Schema")
    return f"{name.removesuffix('Change')}Change" if getattr(schema, "partial", False) else name
