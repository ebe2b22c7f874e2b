"""What every resource of the API shares: who may call it, how often, and how its arguments are read."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import flask
import flask_smorest
import marshmallow as ma
from webargs import core
from webargs.flaskparser import FlaskParser, abort
from werkzeug.datastructures import MultiDict
from werkzeug.routing import BaseConverter, ValidationError

from campaign_engine.errors import InvalidInput
from campaign_engine.models import Role
from web import api_limits, auth
from web.bodies import whole_body
from web.schemas.fields import MAX_ID, Body, unstorable

View = TypeVar("View", bound=Callable[..., Any])


class IdConverter(BaseConverter):
    """An id in a path; anything else leads nowhere (404)."""

    regex = "[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        """Return the number, within the range of the database's ids."""
        number = int(value)
        if number > MAX_ID:
            raise ValidationError
        return number


class Parser(FlaskParser):
    """Reads arguments and refuses unknown ones, wherever they stand."""

    DEFAULT_UNKNOWN_BY_LOCATION = {  # noqa: RUF012
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": ma.RAISE,
        "multipart": ma.RAISE,
    }
    __location_map__ = {**FlaskParser.__location_map__, "multipart": "load_multipart"}  # noqa: RUF012

    def load_json(self, req: flask.Request, schema: ma.Schema) -> Any:  # noqa: ARG002
        """Return the JSON body; refuse a body of another type, or one that cannot be read."""
        body = whole_body()
        if not body.strip():
            return core.missing
        if not core.is_json(req.mimetype):
            abort(415, messages={"json": {"body": ["Send JSON, with Content-Type: application/json."]}})
        try:
            return json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "not readable"
            where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
            abort(400, exc=error, messages={"json": {"body": [f"This is not valid JSON: {reason}{where}."]}})

    def load_multipart(self, req: flask.Request, schema: ma.Schema) -> Any:
        """Return the fields of a form together with its files."""
        both = MultiDict([*req.form.items(multi=True), *req.files.items(multi=True)])
        return self._makeproxy(both, schema)

    def pre_load(
        self,
        location_data: Body,
        *,
        schema: ma.Schema,  # noqa: ARG002
        req: flask.Request,  # noqa: ARG002
        location: str,  # noqa: ARG002
    ) -> Body:
        """Refuse texts that cannot be stored, before any field looks at them."""
        faults = unstorable(location_data)
        if faults:
            raise ma.ValidationError(faults)
        return location_data


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]
    """A resource. Reading needs the role `reads`, changing the role `writes`."""

    ARGUMENTS_PARSER = Parser()
    DEFAULT_LOCATION_CONTENT_TYPE_MAPPING = {  # noqa: RUF012
        **flask_smorest.Blueprint.DEFAULT_LOCATION_CONTENT_TYPE_MAPPING,
        "multipart": "multipart/form-data",
    }

    def __init__(
        self,
        name: str,
        import_name: str,
        *,
        reads: Role = Role.VIEWER,
        writes: Role = Role.OPERATOR,
        description: str = "",
    ) -> None:
        super().__init__(name, import_name, url_prefix="/api/v1", description=description)
        self._reads = reads
        self._writes = writes
        self.before_request(self._admit)
        self.after_request(api_limits.add_headers)

    # The three decorators of a view, with types; flask-smorest has none.

    def route(self, rule: str, **options: Any) -> Callable[[View], View]:
        """Serve the view at `rule` and document it."""
        decorator: Callable[[View], View] = super().route(rule, **options)
        return decorator

    def arguments(self, schema: Any, **options: Any) -> Callable[[View], View]:
        """Read the arguments in the shape of `schema` and give them to the view as its first parameter."""
        decorator: Callable[[View], View] = super().arguments(schema, **options)
        return decorator

    def response(self, status_code: int, schema: Any = None, **options: Any) -> Callable[[View], View]:
        """Answer with what the view returns, in the shape of `schema`."""
        decorator: Callable[[View], View] = super().response(status_code, schema, **options)
        return decorator

    def _admit(self) -> None:
        auth.authenticate_api()
        api_limits.charge_api(auth.current_user().id)
        auth.require_role(self._reads if flask.request.method in auth.SAFE_METHODS else self._writes)


def company_id() -> int:
    """Return the caller's company."""
    return auth.current_user().company_id


def encode_cursor(position: Sequence[Any]) -> str:
    """Return an opaque mark for how far a list was read."""
    return base64.urlsafe_b64encode(json.dumps(list(position)).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, *types: type) -> list[Any] | None:
    """Return what `encode_cursor` was given, or None without a cursor.

    Raises:
        InvalidInput: it is not a cursor of ours.
    """
    if cursor is None:
        return None
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        position = None
    if (
        not isinstance(position, list)
        or [type(each) for each in position] != list(types)
        or any(isinstance(each, int) and not 0 <= each <= MAX_ID for each in position)
        or unstorable(position)
    ):
        raise InvalidInput.field("cursor", "Give the next_cursor of the page before, as it is.")
    return position


def page(
    found: Sequence[Any], *, limit: int, position: Callable[[Any], Sequence[Any]] = lambda item: [item.id]
) -> dict[str, Any]:
    """Return a page of a list that was asked for `limit` + 1 items; `position(item)` is where it ends."""
    items = found[:limit]
    return {"items": items, "next_cursor": encode_cursor(position(items[-1])) if len(found) > limit else None}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
