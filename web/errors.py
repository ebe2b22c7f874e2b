"""Every failure as one kind of answer: `application/problem+json` (RFC 9457) for programs, a page for people.

Statuses live in one table. The last handler is one of the two places that catch everything: it answers with a
reference that the log line carries too.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus

from flask import Flask, Response, json, render_template, request
from jinja2 import TemplateNotFound
from markupsafe import escape
from psycopg import errors as postgres
from redis.exceptions import RedisError
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response as WerkzeugResponse

from campaign_engine.clock import utc_now
from campaign_engine.errors import (
    AlreadyExists,
    DependencyUnavailable,
    EngineError,
    GraceNotOver,
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    OutsideHours,
    TooManyRequests,
    TransitionNotAllowed,
)
from campaign_engine.logs import get_logger
from ratelimit import LimiterUnavailable
from web.api_limits import seconds_until
from web.schemas.base import flattened

log = get_logger(__name__)

STATUS_OF: Mapping[type[EngineError], HTTPStatus] = {
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    AlreadyExists: HTTPStatus.CONFLICT,
    TransitionNotAllowed: HTTPStatus.CONFLICT,
    GraceNotOver: HTTPStatus.CONFLICT,
    OutsideHours: HTTPStatus.CONFLICT,
    NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    NotAllowed: HTTPStatus.FORBIDDEN,
    TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    DependencyUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    EngineError: HTTPStatus.BAD_REQUEST,
}

CODE_OF: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "malformed_request",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid_input",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal_error",
}

RETRY_AFTER_S = 5
"""How long a client is told to wait while PostgreSQL or Redis is away."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure as it is shown; `errors` maps dotted field names to sentences."""

    status: HTTPStatus
    code: str
    detail: str
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None

    @property
    def title(self) -> str:
        """The status in words."""
        return self.status.phrase

    def to_json(self) -> dict[str, object]:
        """Return the members of the JSON answer."""
        members = {
            "type": "about:blank",
            "title": self.title,
            "status": int(self.status),
            "detail": self.detail,
            "code": self.code,
            "errors": self.errors,
        }
        return members if self.reference is None else {**members, "reference": self.reference}


def register(app: Flask) -> None:
    """Let every failure in `app` end as a problem."""
    app.register_error_handler(EngineError, lambda error: answer(_of_engine_error(error)))
    app.register_error_handler(IntegrityError, lambda error: answer(_of_integrity_error(error)))
    app.register_error_handler(DataError, lambda error: answer(_of_data_error(error)))
    for away in (OperationalError, InterfaceError, NoFreeConnection, RedisError, LimiterUnavailable):
        app.register_error_handler(away, lambda error: answer(_of_absence(error)))
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, lambda error: answer(_of_defect(error)))


def answer(problem: Problem) -> Response:
    """Return the answer: JSON for programs, a page for people."""
    if request.path.startswith("/api/") or not _wants_page():
        body = json.dumps(problem.to_json()) + "\n"
        response = Response(body, problem.status, mimetype="application/problem+json")
    else:
        response = Response(_page(problem), problem.status, mimetype="text/html")
    response.headers.update(problem.headers)
    return response


def _wants_page() -> bool:
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def _page(problem: Problem) -> str:
    try:
        return render_template("error.html", problem=problem)
    except TemplateNotFound:
        return f"<!doctype html><title>{problem.title}</title><h1>{problem.title}</h1><p>{escape(problem.detail)}</p>"


def _of_engine_error(error: EngineError) -> Problem:
    status = next(STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF)
    match error:
        case NotAuthenticated():
            fault = ', error="invalid_token"' if "Authorization" in request.headers else ""
            headers = {"WWW-Authenticate": f'Bearer realm="campaign-engine"{fault}'}
        case TooManyRequests(retry_at=at) | GraceNotOver(over_at=at) | OutsideHours(opens_at=datetime() as at):
            headers = {"Retry-After": str(seconds_until(at, now=utc_now()))}
        case DependencyUnavailable():
            headers = {"Retry-After": str(RETRY_AFTER_S)}
        case _:
            headers = {}
    return Problem(status, error.code, error.detail, errors=getattr(error, "errors", {}), headers=headers)


def _of_integrity_error(error: IntegrityError) -> Problem:
    """Of two requests at once that were both checked, one was faster: answer what the check would say now."""
    if isinstance(error.orig, postgres.UniqueViolation):
        return Problem(HTTPStatus.CONFLICT, AlreadyExists.code, "Somebody else has just made one of that name.")
    if isinstance(error.orig, postgres.ForeignKeyViolation):
        return Problem(HTTPStatus.CONFLICT, "in_use", "Something it belongs to has just changed; look again.")
    return _of_defect(error)


def _of_data_error(error: DataError) -> Problem:
    """PostgreSQL cannot store a value that no field refused by name: this is the net below the checks."""
    log.warning("request.value_refused_by_database", reason=type(error.orig).__name__)
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        InvalidInput.code,
        "A value of this request cannot be stored; nothing was changed.",
    )


def _of_absence(error: Exception) -> Problem:
    log.error("request.dependency_unavailable", reason=str(error)[:300])
    which = "Redis" if isinstance(error, RedisError | LimiterUnavailable) else "PostgreSQL"
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        DependencyUnavailable.code,
        f"{which} does not answer just now; nothing was changed. Try again in a few seconds.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def _of_http(error: HTTPException) -> WerkzeugResponse:
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error.get_response()
    if isinstance(error, InternalServerError) and error.original_exception is not None:
        return answer(_of_defect(error.original_exception))
    messages = getattr(error, "data", {}).get("messages")
    # webargs puts the place it read from (json, query, form, files) around the fields.
    parts = [flattened(part) for part in messages.values()] if messages else []
    errors = {name: sentences for part in parts for name, sentences in part.items()}
    first = next((f"{name}: {sentences[0]}" for name, sentences in errors.items()), None)
    return answer(
        Problem(
            HTTPStatus(error.code),
            CODE_OF.get(error.code, "http_error"),
            first or _detail_of(error),
            errors=errors,
            headers={name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")},
        )
    )


def _detail_of(error: HTTPException) -> str:
    if error.code == HTTPStatus.NOT_FOUND:
        return f"There is nothing at {request.path}."
    if error.code == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.path} does not answer {request.method}."
    if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and request.max_content_length is not None:
        return f"The body is larger than the {request.max_content_length:,} bytes accepted here."
    return error.description or "The request cannot be served."


def _of_defect(error: BaseException) -> Problem:
    reference = uuid.uuid4().hex[:12]
    log.error("request.failed", reference=reference, exc_info=error)
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        CODE_OF[HTTPStatus.INTERNAL_SERVER_ERROR],
        f"Something went wrong on our side. The log has the details under the reference {reference}.",
        reference=reference,
    )
