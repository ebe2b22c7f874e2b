"""Signing in and out."""

from http import HTTPStatus

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from campaign_engine.errors import NotAuthenticated, TooManyRequests
from web import auth
from web.pages.blueprint import blueprint
from web.transactions import transaction


@blueprint.get("/login")
def login() -> str | Response:
    """Ask for address and password; a person already signed in goes on."""
    target = auth.local_target(request.args.get("next"))
    if auth.user_or_none() is not None:
        return redirect(target)
    return _form(target=target)


@blueprint.post("/login", endpoint="login_attempt")
def log_in() -> Response | tuple[str, HTTPStatus]:
    """Begin a session, or say what is wrong without saying which part."""
    target = auth.local_target(request.form.get("next"))
    email = request.form.get("email", "").strip()
    try:
        with transaction() as session:
            auth.sign_in(session, email=email, password=request.form.get("password", ""))
    except NotAuthenticated as error:
        return _form(target=target, email=email, error=error.detail), HTTPStatus.UNAUTHORIZED
    except TooManyRequests as error:
        return _form(target=target, email=email, error=error.detail), HTTPStatus.TOO_MANY_REQUESTS
    return redirect(target, HTTPStatus.SEE_OTHER)


@blueprint.post("/logout")
def logout() -> Response:
    """End the session of this browser."""
    auth.sign_out()
    return redirect(url_for("pages.login"), HTTPStatus.SEE_OTHER)


def _form(*, target: str, email: str = "", error: str | None = None) -> str:
    return render_template("login.html", target=target, email=email, error=error)
