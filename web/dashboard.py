"""rq-dashboard at `/rq`, for administrators, with the guards it does not have itself.

What version 0.9.0 lacks, and where we mend it:

- it asks nobody who he is                         `_guard`: others get 404, as if it were not there
- its POSTs carry no token                         `_guard`: their Origin (or Referer) must be ours
- GET /requeue/<queue> changes things              `_guard`: 405
- job.html and others print what jobs hold as HTML our `templates/rq_dashboard/` prints it as text
- unknown jobs, registries, pages and Redis numbers end in 500   `_guard` and `_gone`: 404
- a new pool of connections to Redis a request, shared between threads   ours is used instead
- its scripts are inline and compile templates     the policy is loosened for `/rq` alone: a nonce for its own
                                                   scripts, and `unsafe-eval`, without which no template compiles

The queues are the installation's, not a company's. So that nothing of one company is visible to another, the dashboard
is for administrators of the company that runs the installation: the oldest.
"""

import re
import secrets
from http import HTTPStatus
from urllib.parse import urlsplit

import rq_dashboard
from flask import Flask, Response, abort, g, redirect, request, url_for
from rq import Queue
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq_dashboard.version import VERSION
from rq_dashboard.web import push_rq_connection
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as WerkzeugResponse

from campaign_engine.core import engine
from campaign_engine.models import Role
from campaign_engine.services.company import users
from jobs import queues
from web import auth, errors
from web.transactions import transaction

GUARDED_VERSION = "0.9.0"
URL_PREFIX = "/rq"
BLUEPRINT = "rq_dashboard"
OVERRIDDEN = ("base.html", "job.html", "jobs.html", "queues.html", "workers.html")

REGISTRIES = frozenset({"queued", "failed", "deferred", "started", "finished", "scheduled", "canceled"})
ORDERS = frozenset({"asc", "dsc"})
MAX_PER_PAGE = 200
MAX_PAGE = 1_000_000
_PLAIN_NAME = re.compile(r"[\w.:-]{1,100}", re.ASCII)


def register(app: Flask) -> None:
    """Serve the dashboard in `app`, guarded.

    Raises:
        RuntimeError: the installed version is not the one that the guards were made for, or its own templates would
            be used.
    """
    if VERSION != GUARDED_VERSION:
        raise RuntimeError(f"rq-dashboard is {VERSION}; its guards were made for {GUARDED_VERSION}.")
    app.config.update(
        RQ_DASHBOARD_REDIS_URL=("this installation",),  # a label on its pages; the connection is ours
        RQ_DASHBOARD_SHOW_FULL_ARGS=False,
        RQ_DASHBOARD_POLL_INTERVAL=2500,
    )
    with app.app_context():
        app.redis_conn = engine().redis  # type: ignore[attr-defined] # where the dashboard looks for it
    app.before_request(_guard)
    app.register_blueprint(rq_dashboard.blueprint, url_prefix=URL_PREFIX)
    app.before_request_funcs[BLUEPRINT].remove(push_rq_connection)
    app.after_request_funcs.setdefault(BLUEPRINT, []).append(_loosen_policy)
    app.template_context_processors[BLUEPRINT].append(lambda: {"csp_nonce": _nonce()})
    app.register_error_handler(NoSuchJobError, _gone)
    app.register_error_handler(InvalidJobOperation, _refused)
    app.extensions["csrf"].exempt(rq_dashboard.blueprint)
    _require_our_templates(app)


def _guard() -> WerkzeugResponse | None:
    """Let an administrator through, and only with what the dashboard can answer."""
    # By its path, not by its blueprint: redirects between its addresses have no blueprint.
    if request.path != URL_PREFIX and not request.path.startswith(f"{URL_PREFIX}/"):
        return None
    if not _is_for_present_user():
        raise NotFound
    if request.method not in auth.SAFE_METHODS:
        _require_own_origin()
    elif request.endpoint == f"{BLUEPRINT}.requeue_all":
        abort(HTTPStatus.METHOD_NOT_ALLOWED)
    arguments = request.view_args or {}
    if request.endpoint == f"{BLUEPRINT}.jobs_overview" and arguments.get("queue_name") is None:
        # It would show a queue called "default", which nobody uses.
        return redirect(_url_of_jobs(queues.CAMPAIGN_MESSAGES))
    if not _can_be_answered(arguments):
        raise NotFound
    return None


def _is_for_present_user() -> bool:
    user = auth.user_or_none()
    if user is None or not auth.may(Role.ADMIN):
        return False
    with transaction() as session:
        running = users.first_company(session)
    return running is not None and running.id == user.company_id


def _require_own_origin() -> None:
    """Refuse a POST from another site's page: a browser names the origin of every POST."""
    given = request.headers.get("Origin") or request.headers.get("Referer")
    if given is None or urlsplit(given).netloc != request.host:
        abort(HTTPStatus.FORBIDDEN)


def _can_be_answered(arguments: dict[str, object]) -> bool:
    if arguments.get("instance_number", 0) != 0:
        return False
    if arguments.get("registry_name", "queued") not in REGISTRIES or arguments.get("order", "asc") not in ORDERS:
        return False
    if not _within(arguments.get("page", 1), MAX_PAGE) or not _within(arguments.get("per_page", 1), MAX_PER_PAGE):
        return False
    connection = engine().redis
    if "job_id" in arguments and not Job.exists(str(arguments["job_id"]), connection=connection):
        return False
    name = arguments.get("queue_name")
    if name is None or name in queues.NAMES:
        return True
    # A script of the dashboard contains the queue's name unescaped.
    return _PLAIN_NAME.fullmatch(str(name)) is not None and name in {
        queue.name for queue in Queue.all(connection=connection)
    }


def _within(given: object, most: int) -> bool:
    text = str(given)
    return text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most


def _url_of_jobs(queue_name: str) -> str:
    return url_for(
        f"{BLUEPRINT}.jobs_overview",
        instance_number=0,
        queue_name=queue_name,
        registry_name="queued",
        per_page=8,
        order="asc",
        page=1,
    )


def _loosen_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = (
        f"default-src 'self'; script-src 'self' 'nonce-{_nonce()}' 'unsafe-eval';"
        " img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return response


def _nonce() -> str:
    nonce: str = g.setdefault("dashboard_nonce", secrets.token_urlsafe(16))
    return nonce


def _gone(_: Exception) -> Response:
    return errors.answer(errors.Problem(HTTPStatus.NOT_FOUND, "not_found", "This job is not there any more."))


def _refused(_: Exception) -> Response:
    return errors.answer(errors.Problem(HTTPStatus.CONFLICT, "job_state", "The state of the job does not allow this."))


def _require_our_templates(app: Flask) -> None:
    for name in OVERRIDDEN:
        path = app.jinja_env.get_template(f"rq_dashboard/{name}").filename or ""
        if rq_dashboard.__path__[0] in path:
            raise RuntimeError(f"rq-dashboard's own {name} would be used, which prints what jobs hold as HTML.")
