"""How large a request's body may be: little by default, more where a view says so.

The limit is set before anything reads the body, CSRF protection included. So it is an attribute of the view function
and is not set inside the view.
"""

from collections.abc import Callable
from typing import TypeVar

from flask import Flask, request
from werkzeug.exceptions import RequestEntityTooLarge

from campaign_engine.config import Config
from campaign_engine.core import engine

MEBIBYTE = 1 << 20
DEFAULT_BYTES = 5 * MEBIBYTE
MULTIPART_OVERHEAD_BYTES = MEBIBYTE

View = TypeVar("View", bound=Callable[..., object])

_MARK = "_body_limit"


def body_limit(bytes_of: Callable[[Config], int]) -> Callable[[View], View]:
    """Let the decorated view take bodies of as many bytes as `bytes_of` says; write it below the route's decorator."""

    def mark(view: View) -> View:
        setattr(view, _MARK, bytes_of)
        return view

    return mark


def import_bytes(config: Config) -> int:
    """Return the most an upload of contacts may have, the form around the file included."""
    return config.import_max_mb * MEBIBYTE + MULTIPART_OVERHEAD_BYTES


def whole_body() -> bytes:
    """Return the body of the present request.

    werkzeug cuts a body that is sent in chunks at the limit without a word; this says so.

    Raises:
        RequestEntityTooLarge: it is larger than the limit.
    """
    body = request.get_data(cache=True)
    limit = request.max_content_length
    if request.content_length is None and limit is not None and len(body) >= limit:
        raise RequestEntityTooLarge
    return body


def register(app: Flask) -> None:
    """Set the limits of `app`; to be called before anything that reads bodies."""
    app.config["MAX_CONTENT_LENGTH"] = DEFAULT_BYTES

    @app.before_request
    def set_limit() -> None:
        view = app.view_functions.get(request.endpoint or "")
        bytes_of: Callable[[Config], int] | None = getattr(view, _MARK, None)
        if bytes_of is not None:
            request.max_content_length = bytes_of(engine().config)
