"""rq-dashboard with its guards: who gets in, from where, with what; and that what jobs hold stays text."""

import re

import pytest
import redis
from flask import Flask
from rq import Queue
from rq.job import Job
from rq.registry import FailedJobRegistry

from campaign_engine.models import Company, Role
from campaign_engine.services.company import users
from jobs import queues
from tests import factories
from tests.web.conftest import Database
from tests.web.visitor import Visitor, person, signed_in
from web import dashboard

OWN = {"Origin": "http://localhost"}
QUEUE = queues.CAMPAIGN_MESSAGES
HOSTILE = "<img src=x onerror=evil()>"
PAGES = (
    "/rq/",
    "/rq/0/view/workers",
    f"/rq/0/view/jobs/{QUEUE}/queued/8/asc/1",
    f"/rq/0/view/jobs/{QUEUE}/failed/200/dsc/7",
)
REDIRECTS = ("/rq", "/rq/0/", "/rq/0/view", "/rq/0/view/queues", "/rq/0/view/jobs")
DATA = (
    "/rq/0/data/queues.json",
    "/rq/0/data/workers.json",
    f"/rq/0/data/jobs/{QUEUE}/queued/8/asc/1.json",
    f"/rq/0/data/jobs/{QUEUE}/failed/8/dsc/1.json",
)
CHANGES = (
    "/rq/job/{job}/delete",
    "/rq/job/{job}/requeue",
    f"/rq/requeue/{QUEUE}",
    f"/rq/queue/{QUEUE}/failed/empty",
    f"/rq/queue/{QUEUE}/compact",
)


@pytest.fixture
def running_company(database: Database) -> Company:
    """The company that runs the installation: the oldest."""
    with database() as session:
        return users.first_company(session) or factories.company(session)


@pytest.fixture
def admin(app: Flask, database: Database, running_company: Company) -> Visitor:
    with database() as session:
        return signed_in(app, person(session, running_company))


@pytest.fixture
def failed_job(redis_client: redis.Redis) -> Job:
    """A failed job that holds markup wherever a job can."""
    queue = Queue(QUEUE, connection=redis_client, is_async=False)
    job = queue.enqueue_call("builtins.int", args=(HOSTILE,), description=HOSTILE, meta={"note": HOSTILE})
    assert job.id in FailedJobRegistry(QUEUE, connection=redis_client)
    return job


@pytest.mark.parametrize("who", ["nobody", "viewer", "operator", "administrator of another company"])
def test_for_everybody_else_the_dashboard_is_not_there(
    app: Flask, database: Database, running_company: Company, failed_job: Job, redis_client: redis.Redis, who: str
) -> None:
    with database() as session:
        if who == "nobody":
            visitor = Visitor(app)
        elif who in ("viewer", "operator"):
            visitor = signed_in(app, person(session, running_company, who))
        else:
            visitor = signed_in(app, person(session, factories.company(session), Role.ADMIN))
    for path in (*PAGES, *REDIRECTS, *DATA, "/rq/static/js/jquery-3.5.1.min.js", "/rq/favicon.ico"):
        assert visitor.get(path).status_code == 404, path
    for path in CHANGES:
        assert visitor.client.post(path.format(job=failed_job.id), headers=OWN).status_code == 404, path
    assert Job.exists(failed_job.id, connection=redis_client)


def test_a_bearer_token_opens_nothing(app: Flask, database: Database, running_company: Company) -> None:
    with database() as session:
        token = factories.token(session, person(session, running_company))
    answer = app.test_client().get("/rq/", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 404


def test_an_administrator_sees_every_page(admin: Visitor, failed_job: Job) -> None:
    for path in (*PAGES, f"/rq/0/view/job/{failed_job.id}"):
        assert 'href="/"' in admin.see(path), path
    for path in (*DATA, f"/rq/0/data/job/{failed_job.id}.json"):
        assert admin.get(path).is_json, path
    assert admin.get("/rq/0/view/jobs").location == f"/rq/0/view/jobs/{QUEUE}/queued/8/asc/1"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost:81"},
        {"Referer": "https://evil.example/localhost/"},
        {"Origin": "https://evil.example", "Referer": "http://localhost/rq/"},
    ],
)
def test_another_sites_page_changes_nothing(
    admin: Visitor, failed_job: Job, redis_client: redis.Redis, headers: dict[str, str]
) -> None:
    for path in CHANGES:
        assert admin.client.post(path.format(job=failed_job.id), headers=headers).status_code == 403, path
    assert failed_job.id in FailedJobRegistry(QUEUE, connection=redis_client)


@pytest.mark.parametrize("headers", [OWN, {"Referer": "http://localhost/rq/0/view/queues"}])
def test_our_own_page_changes_things(
    admin: Visitor, failed_job: Job, redis_client: redis.Redis, headers: dict[str, str]
) -> None:
    assert admin.client.post(f"/rq/requeue/{QUEUE}", headers=headers).json == {"status": "OK", "count": 1}
    assert Queue(QUEUE, connection=redis_client).job_ids == [failed_job.id]
    assert admin.client.post(f"/rq/job/{failed_job.id}/delete", headers=headers).json == {"status": "OK"}
    assert not Job.exists(failed_job.id, connection=redis_client)


def test_a_link_changes_nothing(admin: Visitor, failed_job: Job, redis_client: redis.Redis) -> None:
    assert admin.get(f"/rq/requeue/{QUEUE}").status_code == 405
    assert admin.client.head(f"/rq/requeue/{QUEUE}").status_code == 405
    assert failed_job.id in FailedJobRegistry(QUEUE, connection=redis_client)


@pytest.mark.parametrize(
    "path",
    [
        "/rq/1/",
        "/rq/1/view/queues",
        "/rq/1/data/queues.json",
        "/rq/0/view/job/unknown",
        "/rq/0/data/job/unknown.json",
        f"/rq/0/view/jobs/{QUEUE}/nonsense/8/asc/1",
        f"/rq/0/data/jobs/{QUEUE}/nonsense/8/asc/1.json",
        f"/rq/0/data/jobs/{QUEUE}/queued/8/sideways/1.json",
        f"/rq/0/data/jobs/{QUEUE}/queued/0/asc/1.json",
        f"/rq/0/data/jobs/{QUEUE}/queued/x/asc/1.json",
        f"/rq/0/data/jobs/{QUEUE}/queued/8/asc/0.json",
        f"/rq/0/data/jobs/{QUEUE}/queued/8/asc/-1.json",
        f"/rq/0/data/jobs/{QUEUE}/queued/8/asc/x.json",
        f"/rq/0/data/jobs/{QUEUE}/queued/99999999/asc/1.json",
        f"/rq/0/view/jobs/{QUEUE}/queued/0/asc/1",
        f"/rq/0/view/jobs/{QUEUE}/queued/8/asc/99999999999999999999",
        "/rq/0/view/jobs/unknown/queued/8/asc/1",
        "/rq/0/data/jobs/unknown/queued/8/asc/1.json",
        "/rq/nonsense",
    ],
)
def test_what_is_unknown_is_not_found(admin: Visitor, path: str) -> None:
    assert admin.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/rq/job/unknown/delete", 404),
        ("/rq/job/unknown/requeue", 404),
        ("/rq/requeue/unknown", 404),
        ("/rq/queue/unknown/queued/empty", 404),
        ("/rq/queue/unknown/compact", 404),
        (f"/rq/queue/{QUEUE}/nonsense/empty", 404),
    ],
)
def test_what_is_unknown_cannot_be_changed(admin: Visitor, path: str, status: int) -> None:
    assert admin.client.post(path, headers=OWN).status_code == status


def test_a_job_that_has_not_failed_is_not_requeued(admin: Visitor, redis_client: redis.Redis) -> None:
    job = Queue(QUEUE, connection=redis_client).enqueue_call("os.getcwd", description="waiting")
    assert admin.client.post(f"/rq/job/{job.id}/requeue", headers=OWN).status_code == 409


def test_a_job_that_vanishes_while_it_is_looked_at_is_not_found(
    admin: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Job, "exists", classmethod(lambda *_, **__: True))
    assert admin.get("/rq/0/view/job/gone").status_code == 404
    assert admin.get("/rq/0/data/job/gone.json").status_code == 404


def test_what_jobs_hold_is_printed_as_text(admin: Visitor, failed_job: Job) -> None:
    """Every template of the pages escapes (`<%-`); none inserts as it is (`<%=`)."""
    for path in (*PAGES, f"/rq/0/view/job/{failed_job.id}"):
        html = admin.see(path)
        assert "<%=" not in html, path
        assert HOSTILE not in html
    data = admin.get(f"/rq/0/data/job/{failed_job.id}.json").json
    assert data is not None
    assert data["description"] == HOSTILE  # what the page's template is given
    assert HOSTILE in data["metadata"]
    assert HOSTILE in data["exc_info"]


@pytest.mark.parametrize("name", ["';evil();'", "</script><script>evil()</script>", "a b", "x" * 101])
def test_a_queue_with_an_odd_name_is_not_shown(admin: Visitor, redis_client: redis.Redis, name: str) -> None:
    """Its name would stand in a script of the dashboard as it is."""
    Queue(name, connection=redis_client).enqueue_call("os.getcwd", description="odd")
    answer = admin.get(f"/rq/0/view/jobs/{name}/queued/8/asc/1")
    assert answer.status_code == 404
    assert "evil();'" not in answer.get_data(as_text=True)


def test_scripts_run_by_nonce_and_the_looser_policy_ends_at_the_dashboard(admin: Visitor) -> None:
    nonces = set()
    for path in PAGES:
        response = admin.get(path)
        policy = response.headers["Content-Security-Policy"]
        [nonce] = re.findall(r"'nonce-([^']+)'", policy)
        nonces.add(nonce)
        assert "unsafe-inline" not in policy
        scripts = re.findall(r"<script([^>]*)>", response.get_data(as_text=True))
        assert scripts
        for attributes in scripts:
            assert re.search(rf'src="/rq/static/|type="text/template"|nonce="{nonce}"', attributes), attributes
        assert not re.search(r"\sstyle=|\son[a-z]+=", response.get_data(as_text=True))
    assert len(nonces) == len(PAGES)
    for path in ("/", "/accounts", "/api/v1/campaigns", "/rqx"):
        assert "unsafe" not in admin.get(path).headers["Content-Security-Policy"]


def test_the_pages_need_no_other_server(admin: Visitor) -> None:
    for path in PAGES:
        html = admin.see(path)
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html), path
        for asset in re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css|svg))"', html):
            with admin.get(asset) as answer:
                assert answer.status_code == 200, asset


def test_looking_opens_no_connections_of_its_own(app: Flask, admin: Visitor) -> None:
    before = app.redis_conn  # type: ignore[attr-defined]
    for path in (*PAGES, *DATA):
        admin.get(path)
    assert app.redis_conn is before  # type: ignore[attr-defined]
    assert before is app.extensions["campaign_engine"].redis


def test_the_address_of_redis_is_not_shown(admin: Visitor, redis_url: str) -> None:
    for path in PAGES:
        assert "redis://" not in admin.see(path)


def test_another_version_is_refused_since_its_guards_are_not_known(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "VERSION", "0.9.1")
    with pytest.raises(RuntimeError, match=r"guards were made for 0\.9\.0"):
        dashboard.register(app)
