"""Checks of health while campaigns run: on their own queue, and whatever becomes of them the campaign goes on."""

import json
import socket
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
import redis as redis_package
from rq import Queue
from rq.job import Job
from sqlalchemy import text
from structlog.testing import capture_logs

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.models import Account
from campaign_engine.services.accounts import health
from jobs import enqueueing, health_checks, queues, scheduling
from jobs.lane import turns
from jobs.runtime import Runtime
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.providers.wire import Behaviour, Request, answering, response, serving
from tests.simulator.running import wait_for

NODE = response(200, {"id": "1", "quality_rating": "YELLOW", "status": "CONNECTED"})


@pytest.fixture
def at_work(current: Runtime) -> Callable[..., int]:
    """Make an account of a running campaign; return the account's id."""

    def make(base_url: str, *, count: int = 3, first: int = 0) -> int:
        with transaction() as session:
            owner = factories.user(session, factories.company(session))
            owner.company.settings = {"campaign_rate_limit": "60000/minute"}
            made = numbered.account(session, owner.company, base_url=base_url, rate_limit="60000/minute", burst=500)
            numbered.running(session, owner, accounts=[made], count=count, first=first, now=utc_now())
            return made.id

    return make


def checks(connection: redis_package.Redis) -> list[Job]:
    waiting = Queue(queues.CAMPAIGN_NOTIFICATIONS, connection=connection).jobs
    return [job for job in waiting if job.func_name == "jobs.health_checks.check_accounts"]


def account(account_id: int) -> Account:
    with transaction() as session:
        return session.get_one(Account, account_id, populate_existing=True)


def sent_count(account_id: int) -> int:
    with transaction() as session:
        found: int = session.execute(
            text("SELECT count(*) FROM messages WHERE account_id = :id AND status = 'sent'"), {"id": account_id}
        ).scalar_one()
        return found


def test_the_verification_enqueues_a_check_once_and_again_when_it_is_due_again(
    current: Runtime, at_work: Callable[..., int]
) -> None:
    with serving(answering(NODE)) as server:
        account_id = at_work(server.url)
        for _ in range(3):
            scheduling.verify_campaigns()
        [job] = checks(current.redis)
        assert (job.args, job.description) == (([account_id],), "check accounts")
        health_checks.check_accounts(*job.args)
        assert len(server.requests) == 1
    assert (account(account_id).health or {})["quality_rating"] == "YELLOW"
    job.delete()
    scheduling.verify_campaigns()
    assert checks(current.redis) == []  # it is fresh
    with transaction() as session:
        session.execute(
            text("UPDATE accounts SET health_checked_at = :old WHERE id = :id"),
            {"old": utc_now() - health.REFRESH_AFTER, "id": account_id},
        )
    scheduling.verify_campaigns()
    assert len(checks(current.redis)) == 1


def test_many_checks_are_a_few_jobs_with_ids_alone(current: Runtime) -> None:
    ids = list(range(1, 41))
    enqueueing.enqueue_health_checks(current.redis, ids)
    enqueueing.enqueue_health_checks(current.redis, ids)
    assert [len(job.args[0]) for job in checks(current.redis)] == [16, 16, 8]
    assert sorted(each for job in checks(current.redis) for each in job.args[0]) == ids


def test_the_accounts_of_a_job_are_checked_at_the_same_time(current: Runtime, at_work: Callable[..., int]) -> None:
    together = threading.Barrier(4)

    def behave(connection: socket.socket, request: Request) -> bool:
        together.wait(60)
        connection.sendall(NODE)
        return True

    with serving(behave) as server:
        health_checks.check_accounts([at_work(server.url, first=10 * each) for each in range(4)])


def test_what_is_gone_unreadable_or_asked_about_by_others_ends_quietly(
    current: Runtime, at_work: Callable[..., int]
) -> None:
    with serving(answering(NODE)) as server:
        unreadable, asked = at_work(server.url), at_work(server.url, first=10)
        with transaction() as session:
            session.execute(
                text("UPDATE accounts SET access_token_encrypted = 'xx' WHERE id = :id"), {"id": unreadable}
            )
            health.claim(session, asked, vault=current.vault, config=current.config, now=utc_now())
        with capture_logs() as logged:
            health_checks.check_accounts([2**40, unreadable, asked])
        assert server.requests == []
    [line] = [line for line in logged if line["event"] == "account.health_check_failed"]
    assert line["account_id"] == unreadable
    assert account(unreadable).health_claimed_at is None


def answering_sends_but_no_health(hang: threading.Event | None) -> Behaviour:
    """Take every message; refuse every question about health or, with `hang`, leave it open until that is set."""
    accepted = {"messages": [{"id": "wamid.%d"}], "contacts": [{"input": "1", "wa_id": "1"}]}
    numbers = iter(range(1, 1000))

    def behave(connection: socket.socket, request: Request) -> bool:
        if request.line.startswith("POST"):
            connection.sendall(response(200, json.loads(json.dumps(accepted) % next(numbers))))
        elif hang is not None:
            hang.wait(60)
            return False
        else:
            connection.sendall(response(500, {"error": {"code": 1, "message": "away"}}))
        return True

    return behave


@pytest.mark.parametrize("hangs", [False, True], ids=["fails", "hangs"])
def test_a_campaign_goes_on_while_the_health_check_fails_or_hangs(
    current: Runtime, at_work: Callable[..., int], hangs: bool
) -> None:
    over = threading.Event()
    with serving(answering_sends_but_no_health(over if hangs else None)) as server:
        account_id = at_work(server.url, count=12)
        checking = threading.Thread(target=health_checks.check_accounts, args=([account_id],))
        checking.start()
        wait_for(lambda: any(request.line.startswith("GET") for request in server.requests))
        assert checking.is_alive() or not hangs
        turns.run_turn(account_id)
        assert sent_count(account_id) == 12
        assert checking.is_alive() or not hangs
        over.set()
        checking.join(60)
    found = account(account_id)
    assert (found.status, found.consecutive_failures) == ("active", 0)


def test_the_verification_warns_of_accounts_that_nothing_acknowledges(
    current: Runtime, at_work: Callable[..., int]
) -> None:
    account_id = at_work("http://127.0.0.1:9")
    since = utc_now() - timedelta(seconds=current.config.acknowledgement_s + 1)
    with transaction() as session:
        session.execute(
            text("UPDATE accounts SET unacknowledged_since = :since WHERE id = :id"), {"since": since, "id": account_id}
        )
    with capture_logs() as logged:
        for _ in range(2):
            scheduling.verify_campaigns()
    [line] = [line for line in logged if line["event"] == "account.unacknowledged"]
    assert line["account_id"] == account_id
    assert (account(account_id).warning or "").startswith("Messages are accepted but no status has come since ")
    assert account(account_id).status == "active"


def test_the_verification_waits_for_the_first_acknowledgement_before_it_warns(
    current: Runtime, at_work: Callable[..., int]
) -> None:
    account_id = at_work("http://127.0.0.1:9")
    since = utc_now() - timedelta(seconds=current.config.acknowledgement_s - 30)
    with transaction() as session:
        session.execute(
            text("UPDATE accounts SET unacknowledged_since = :since WHERE id = :id"), {"since": since, "id": account_id}
        )
    scheduling.verify_campaigns()
    assert account(account_id).warning is None
