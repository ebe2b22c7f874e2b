"""Who is asking, and what that person may do.

Programs show a bearer token, people a session. The session holds the user's id and a mark of the password at that time,
so that a new password ends every session that began with the old one.
"""

import hashlib
import hmac
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar
from urllib.parse import urlencode, urlsplit

import structlog
from flask import Response, g, redirect, request
from flask import session as browser
from flask_wtf.csrf import ValidationError, validate_csrf
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as WerkzeugResponse

from campaign_engine.clock import utc_now
from campaign_engine.errors import NotAllowed, NotAuthenticated
from campaign_engine.models import Role, User
from campaign_engine.services.company import users
from web import api_limits
from web.transactions import transaction

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

LOGIN_PATH = "/login"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


def current_user() -> User:
    """Return who is asking, with `company` loaded.

    Raises:
        NotAuthenticated: nobody has been recognised in this request.
    """
    user = user_or_none()
    if user is None:
        raise NotAuthenticated("Sign in first.")
    return user


def user_or_none() -> User | None:
    """Return who is asking, or None: the bearer of the token (API), or the owner of the session (pages)."""
    if "user" not in g:
        g.user = _user_of_session()
    user: User | None = g.user
    return user


def may(role: Role) -> bool:
    """Say whether the present user has `role` or more; pages hide what would be refused."""
    user = user_or_none()
    return user is not None and _RANK[Role(user.role)] >= _RANK[role]


def require_role(role: Role) -> None:
    """Refuse a user who has less than `role`.

    Raises:
        NotAuthenticated: nobody is signed in.
        NotAllowed: the role does not suffice.
    """
    current_user()
    if not may(role):
        raise NotAllowed(f"This needs the role {role}; yours is {current_user().role}.")


def login_required(view: Callable[Parameters, Result]) -> Callable[Parameters, Result | WerkzeugResponse]:
    """Let only signed-in people into a page; others are sent to the login page and back afterwards."""

    @wraps(view)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result | WerkzeugResponse:
        if user_or_none() is None:
            return _to_login()
        return view(*args, **kwargs)

    return guarded


def role_required(
    role: Role,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result | WerkzeugResponse]]:
    """Let only people with `role` or more into a page; implies `login_required`, others get 403."""

    def decorate(view: Callable[Parameters, Result]) -> Callable[Parameters, Result | WerkzeugResponse]:
        @login_required
        @wraps(view)
        def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            require_role(role)
            return view(*args, **kwargs)

        return guarded

    return decorate


def sign_in(session: Session, *, email: str, password: str) -> User:
    """Begin the session of the person who knows this password; whatever the browser had before is dropped.

    Raises:
        TooManyRequests: too many attempts from this address or for this e-mail address.
        NotAuthenticated: address or password is wrong; the error does not say which.
    """
    api_limits.charge_login(address=request.remote_addr or "unknown", email=email)
    # PostgreSQL takes no NUL characters, so no stored address has one.
    user = users.authenticate(session, email=email.replace("\0", "\ufffd"), password=password)
    browser.clear()
    browser.permanent = True
    browser["user_id"] = user.id
    browser["password_mark"] = _password_mark(user)
    g.user = user
    return user


def sign_out() -> None:
    """End the session of this browser."""
    browser.clear()
    g.user = None


def local_target(target: str | None, *, default: str = "/") -> str:
    """Return where to go after signing in: `target` when it is a path of ours, else `default`."""
    if not target or not target.startswith("/") or target.startswith("//") or "\\" in target:
        return default
    parts = urlsplit(target)
    return default if parts.scheme or parts.netloc or any(ord(char) < 33 for char in target) else target


def authenticate_api() -> None:
    """Recognise who calls the API: by bearer token, or by the session of our own pages.

    A session alone may read; a change also needs the header `X-CSRFToken`, so that no foreign page can make one.

    Raises:
        NotAuthenticated: no credentials, or wrong ones.
        NotAllowed: a change with a session and no matching CSRF header.
    """
    given = request.headers.get("Authorization")
    if given is not None:
        g.user = _user_of_bearer(given)
    elif user_or_none() is None:
        raise NotAuthenticated("Send the header Authorization: Bearer TOKEN.")
    elif request.method not in SAFE_METHODS:
        _require_csrf_header()
    structlog.contextvars.bind_contextvars(user_id=current_user().id)


def _user_of_bearer(given: str) -> User:
    scheme, _, secret = given.strip().partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise NotAuthenticated("The header Authorization is not of the form: Bearer TOKEN.")
    with transaction() as session:
        return users.user_of_token(session, secret.strip(), now=utc_now())


def _require_csrf_header() -> None:
    try:
        validate_csrf(request.headers.get("X-CSRFToken"))
    except ValidationError as error:
        raise NotAllowed(
            "A change with a session needs the header X-CSRFToken of the page; programs use a bearer token.",
            code="csrf_failed",
        ) from error


def _user_of_session() -> User | None:
    user_id, mark = browser.get("user_id"), browser.get("password_mark")
    if user_id is None or mark is None:
        return None
    with transaction() as session:
        user = session.get(User, user_id)
    if user is None or not hmac.compare_digest(_password_mark(user), mark):
        browser.clear()
        return None
    return user


def _password_mark(user: User) -> str:
    # A mark of the salted hash: the owner can read the cookie, so it must say nothing about the password.
    return hashlib.sha256(user.password_hash.encode()).hexdigest()[:32]


def _to_login() -> WerkzeugResponse:
    if request.method in SAFE_METHODS:
        target = request.full_path if request.query_string else request.path
        return redirect(f"{LOGIN_PATH}?{urlencode({'next': target})}")
    return Response("Sign in first.\n", 401, mimetype="text/plain")
