"""Health: one question at a time per account over all processes, its answer shared, and never in a send's way."""

import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from campaign_engine import providers
from campaign_engine.clock import utc_now
from campaign_engine.core import create_core
from campaign_engine.db import db, transaction
from campaign_engine.errors import NotFound
from campaign_engine.models import Account, Company, Notification
from campaign_engine.providers.base import Health
from campaign_engine.services.accounts import accounts, health
from campaign_engine.services.accounts.health import Checked
from campaign_engine.services.campaigns import lifecycle
from tests import factories
from tests.campaign_engine import cloned, numbered
from tests.campaign_engine.providers.wire import Behaviour, Request, answering, response, serving

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NODE = {
    "id": "100000000000001",
    "display_phone_number": "+55 11 90000-0000",
    "verified_name": "Bakery",
    "quality_rating": "GREEN",
    "status": "CONNECTED",
    "throughput": {"level": "STANDARD"},
    "whatsapp_business_manager_messaging_limit": "TIER_2K",
    "health_status": {"can_send_message": "AVAILABLE", "entities": []},
}
CONFIG = factories.config(
    database_url="postgresql://nobody@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0", PROVIDER_TIMEOUT_S="60"
)
PROVIDERS = providers.build(CONFIG)
WITH = {"vault": factories.VAULT, "providers": PROVIDERS, "config": CONFIG}
TTL = timedelta(seconds=CONFIG.health_check_ttl_s)

database_url = cloned.database_url


@pytest.fixture
def account(company: Company) -> Callable[..., int]:
    """Make an account whose provider is at an address; return its id."""

    def make(base_url: str = "http://127.0.0.1:9", **columns: Any) -> int:
        with transaction() as session:
            return factories.account(session, company, base_url=base_url, **columns).id

    return make


def node(**fields: Any) -> bytes:
    return response(200, {**NODE, **fields})


def slowly(answer: bytes, *, seconds: float) -> Behaviour:
    def behave(connection: socket.socket, request: Request) -> bool:
        time.sleep(seconds)
        connection.sendall(answer)
        return True

    return behave


def at(now: datetime) -> Callable[[], datetime]:
    return lambda: now


def row_of(session: Session, account_id: int) -> Mapping[str, Any]:
    return session.execute(text("SELECT * FROM accounts WHERE id = :id"), {"id": account_id}).mappings().one()


def told(session: Session, company: Company) -> list[tuple[str, str, str]]:
    found = session.query(Notification).filter(Notification.company_id == company.id).order_by(Notification.id)
    return [(each.kind, each.severity, each.text) for each in found]


def in_threads(app: Flask, jobs: list[Callable[[], Checked | None]]) -> list[Checked | None]:
    """Do all jobs at the same moment, each in a thread and an application context of its own."""
    together = threading.Barrier(len(jobs))

    def run(job: Callable[[], Checked | None]) -> Checked | None:
        with app.app_context():
            try:
                together.wait(60)
                return job()
            finally:
                db.session.remove()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


# --- One question at a time, its answer shared.


def test_of_twenty_who_ask_at_once_one_asks_the_provider_and_all_have_its_answer(
    app: Flask, account: Callable[..., int]
) -> None:
    with serving(slowly(node(), seconds=0.2)) as server:
        account_id = account(server.url)
        answers = in_threads(app, [lambda: health.check(account_id, **WITH)] * 20)
        assert len(server.requests) == 1
    assert {json.dumps(dict(each.health or {})) for each in answers if each} == {json.dumps(answers[0].health)}  # type: ignore[union-attr]
    assert answers[0] is not None
    assert answers[0].health is not None
    assert answers[0].health["quality_rating"] == "GREEN"


def ask_in_a_process(database_url: str, account_id: int, key: str, together: Any, answers: Any) -> None:
    config = factories.config(
        database_url=database_url, redis_url="redis://127.0.0.1:1/0", PROVIDER_TIMEOUT_S="60", ENCRYPTION_KEY=key
    )
    core = create_core(config)
    with core.app_context():
        vault = core.extensions["campaign_engine"].vault
        db.engine.connect().close()
        together.wait(60)
        checked = health.check(account_id, vault=vault, providers=providers.build(config), config=config)
        answers.put((checked.health or {}).get("quality_rating"))


def test_processes_share_the_answer_too(database_url: str, account: Callable[..., int]) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with serving(slowly(node(), seconds=0.2)) as server:
        account_id = account(server.url)
        given = (database_url, account_id, factories.ENCRYPTION_KEY, context.Barrier(2), answers)
        asking = [context.Process(target=ask_in_a_process, args=given) for _ in range(2)]
        for process in asking:
            process.start()
        assert [answers.get(timeout=60) for _ in asking] == ["GREEN", "GREEN"]
        for process in asking:
            process.join(60)
            process.close()
        assert len(server.requests) == 1
    answers.close()
    answers.join_thread()


def test_an_answer_is_shared_for_its_time_and_then_asked_for_again(account: Callable[..., int]) -> None:
    with serving(answering(node(), node(quality_rating="YELLOW"))) as server:
        account_id = account(server.url)
        first = health.check(account_id, clock=at(NOW), **WITH)
        assert first.checked_at is not None
        shared = health.check(account_id, clock=at(first.checked_at + TTL - timedelta(milliseconds=1)), **WITH)
        assert (shared, len(server.requests)) == (first, 1)
        renewed = health.check(account_id, clock=at(first.checked_at + TTL), **WITH)
        assert len(server.requests) == 2
    assert renewed.health is not None
    assert renewed.health["quality_rating"] == "YELLOW"


def test_accounts_do_not_wait_for_each_other(app: Flask, account: Callable[..., int]) -> None:
    together = threading.Barrier(6)  # every question waits until all six are there

    def behave(connection: socket.socket, request: Request) -> bool:
        together.wait(60)
        connection.sendall(node())
        return True

    with serving(behave) as server:
        ids = [account(server.url) for _ in range(6)]
        answers = in_threads(app, [lambda account_id=each: health.check(account_id, **WITH) for each in ids])  # type: ignore[misc]
    assert all(each is not None and each.is_good for each in answers)


def test_the_claim_of_a_dead_process_is_taken_over_when_it_has_run_out(
    session: Session, account: Callable[..., int]
) -> None:
    holds = timedelta(seconds=CONFIG.provider_timeout_s + health.CLAIM_MARGIN_S)
    with serving(answering(node())) as server:
        account_id = account(server.url)
        with transaction() as own:
            assert health.claim(own, account_id, vault=factories.VAULT, config=CONFIG, now=NOW) is not None
        before = health.attempt(account_id, now=NOW + holds - timedelta(milliseconds=1), **WITH)
        assert (before, server.requests) == (None, [])
        after = health.attempt(account_id, now=NOW + holds, **WITH)
    assert after is not None
    assert after.is_good
    assert row_of(session, account_id)["health_claimed_at"] is None


def test_whoever_waits_for_a_dead_process_waits_no_longer_than_its_claim_holds(
    account: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CLAIM_MARGIN_S", 0.3 - CONFIG.provider_timeout_s)
    account_id = account()
    with transaction() as own:
        health.claim(own, account_id, vault=factories.VAULT, config=CONFIG, now=NOW)
    began = time.monotonic()
    assert health.check(account_id, clock=at(NOW), **WITH) == Checked(account_id, None, None)
    assert time.monotonic() - began >= 0.3


def test_a_late_answer_of_a_claim_that_was_taken_over_is_not_written(
    session: Session, account: Callable[..., int]
) -> None:
    account_id = account()
    with transaction() as own:
        slow = health.claim(own, account_id, vault=factories.VAULT, config=CONFIG, now=NOW)
    later = NOW + timedelta(minutes=5)
    with transaction() as own:
        other = health.claim(own, account_id, vault=factories.VAULT, config=CONFIG, now=later)
    assert slow is not None
    assert other is not None
    good = Health(reachable=True, summary="connected", details={"quality_rating": "GREEN"})
    bad = Health(reachable=True, summary="connected", details={"quality_rating": "RED"}, warnings=("RED",))
    with transaction() as own:
        assert health.keep(own, other, good, now=later)
        assert not health.keep(own, slow, bad, now=later)
    assert row_of(session, account_id)["health"]["quality_rating"] == "GREEN"


def test_the_answer_about_credentials_that_were_changed_meanwhile_is_not_written(
    session: Session, account: Callable[..., int]
) -> None:
    with serving(answering(node(quality_rating="YELLOW"))) as server:
        account_id = account("http://127.0.0.1:9")
        with transaction() as own:
            mine = health.claim(own, account_id, vault=factories.VAULT, config=CONFIG, now=NOW)
        with transaction() as own:
            changed = own.get_one(Account, account_id, populate_existing=True)
        proposal = accounts.propose(
            {"base_url": server.url}, account=changed, vault=factories.VAULT, providers=PROVIDERS
        )
        with transaction() as own:
            accounts.update(own, changed, proposal, vault=factories.VAULT, now=NOW)
    assert mine is not None
    with transaction() as own:
        assert not health.keep(own, mine, Health(reachable=False, summary="away", details={}), now=NOW)
    assert row_of(session, account_id)["health"]["quality_rating"] == "YELLOW"


def test_no_transaction_and_no_connection_is_held_while_the_provider_is_asked(
    app: Flask, session: Session, account: Callable[..., int]
) -> None:
    held: list[tuple[int, bool]] = []

    def behave(connection: socket.socket, request: Request) -> bool:
        held.append((db_pool(app), session.in_transaction()))
        connection.sendall(node())
        return True

    with serving(behave) as server:
        account_id = account(server.url)
        health.check(account_id, **WITH)
    assert held == [(0, False)]


def db_pool(app: Flask) -> int:
    with app.app_context():
        return int(db.engine.pool.checkedout())  # type: ignore[attr-defined]


# --- What is stored.


def test_quality_tier_and_throughput_are_stored_and_nothing_else_changes(
    session: Session, account: Callable[..., int]
) -> None:
    with serving(answering(node())) as server:
        account_id = account(server.url)
        before = dict(row_of(session, account_id))
        session.rollback()
        checked = health.check(account_id, clock=at(NOW), **WITH)
    after = dict(row_of(session, account_id))
    assert {name for name in before if before[name] != after[name]} == {
        *("health", "health_checked_at"),
        *("daily_recipient_limit", "provider_recipient_limit"),
    }
    assert after["health"] == {
        "reachable": True,
        "summary": "connected",
        "display_phone_number": "+55 11 90000-0000",
        "verified_name": "Bakery",
        "quality_rating": "GREEN",
        "status": "CONNECTED",
        "throughput": "STANDARD",
        "tier": "TIER_2K",
        "can_send_message": "AVAILABLE",
    }
    assert (checked.health, checked.checked_at) == (after["health"], after["health_checked_at"])


def test_the_tier_is_the_limit_of_recipients_where_nobody_set_another(
    session: Session, account: Callable[..., int]
) -> None:
    tiers = ["TIER_2K", "TIER_10K", "", "TIER_250", "TIER_UNLIMITED", "TIER_100K"]
    nodes = [node(whatsapp_business_manager_messaging_limit=tier) for tier in tiers]
    followed = []
    for chosen in (None, 1500):
        with serving(answering(*nodes)) as server:
            account_id = account(server.url, daily_recipient_limit=chosen)
            for step in range(len(tiers)):
                health.check(account_id, clock=at(NOW + step * 2 * TTL), **WITH)
                row = row_of(session, account_id)
                followed.append((row["provider_recipient_limit"], row["daily_recipient_limit"]))
                session.rollback()
    limits = [2_000, 10_000, 10_000, 250, None, 100_000]
    assert followed == [(limit, limit) for limit in limits] + [(limit, 1500) for limit in limits]


def test_a_check_that_fails_is_logged_keeps_what_was_known_and_switches_nothing_off(
    session: Session, account: Callable[..., int]
) -> None:
    refusal = response(401, {"error": {"code": 190, "message": "The token has expired"}})
    with serving(answering(node(), refusal)) as server:
        account_id = account(server.url)
        health.check(account_id, clock=at(NOW), **WITH)
        with capture_logs() as logged:
            refused = health.check(account_id, clock=at(NOW + 2 * TTL), **WITH)
    with capture_logs() as logged_later:
        away = health.check(account_id, clock=at(NOW + 4 * TTL), **WITH)
    assert [(line["event"], line["account_id"]) for line in logged + logged_later] == [
        ("account.health_check_failed", account_id)
    ] * 2
    assert (refused.is_good, away.is_good) == (False, False)
    assert refused.health is not None
    assert (refused.health["refused_field"], refused.health["quality_rating"]) == ("access_token", "GREEN")
    row = row_of(session, account_id)
    assert (row["health"]["reachable"], row["health"]["tier"]) == (False, "TIER_2K")
    assert "refused_field" not in row["health"]
    assert (row["status"], row["consecutive_failures"], row["health_claimed_at"]) == ("active", 0, None)


def test_whatever_a_node_holds_can_be_stored(session: Session, account: Callable[..., int]) -> None:
    hostile = {"verified_name": "nul \0 and \ud800", "quality_rating": ["RED"], "throughput": 7, "status": None}
    with serving(answering(response(200, json.dumps({**NODE, **hostile}).encode()))) as server:
        account_id = account(server.url)
        health.check(account_id, **WITH)
    stored = row_of(session, account_id)["health"]
    assert stored["verified_name"] == "nul  and ?"
    assert {"quality_rating", "throughput", "status"} & set(stored) == set()


def test_an_account_that_is_gone_is_said_to_be(account: Callable[..., int]) -> None:
    account_id = account(status="deleted")
    for missing in (account_id, 2**40):
        with pytest.raises(NotFound):
            health.check(missing, **WITH)


# --- Warnings.


def test_a_fall_of_the_quality_is_told_once_and_again_only_after_it_was_good(
    session: Session, company: Company, account: Callable[..., int]
) -> None:
    ratings = ["GREEN", "RED", "RED", "GREEN", "RED"]
    with serving(answering(*(node(quality_rating=rating) for rating in ratings))) as server:
        account_id = account(server.url, name="Loja")
        counts, warned = [], []
        for step in range(len(ratings)):
            health.check(account_id, clock=at(NOW + step * 2 * TTL), **WITH)
            counts.append(len(told(session, company)))
            warned.append(bool(health.warnings_of(session.get_one(Account, account_id, populate_existing=True))))
            session.commit()
    assert counts == [0, 1, 1, 1, 2]
    assert warned == [False, True, True, False, True]
    kind, severity, sentence = told(session, company)[0]
    assert (kind, severity) == ("account_health", "warning")
    assert sentence.startswith("Loja: Meta rates the quality of this number RED")
    assert row_of(session, account_id)["status"] == "active"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"status": "FLAGGED"}, "Meta shows this number as FLAGGED, not as CONNECTED."),
        ({"health_status": {"can_send_message": "BLOCKED"}}, "Meta says that this number cannot send now"),
    ],
)
def test_a_number_that_is_no_longer_connected_is_told(
    session: Session, company: Company, account: Callable[..., int], fields: dict[str, Any], said: str
) -> None:
    with serving(answering(node(**fields))) as server:
        health.check(account(server.url, name="Loja"), clock=at(NOW), **WITH)
    [(_, _, sentence)] = told(session, company)
    assert sentence.startswith(f"Loja: {said}")


def test_a_check_that_fails_neither_ends_nor_repeats_a_warning(
    session: Session, company: Company, account: Callable[..., int]
) -> None:
    red = node(quality_rating="RED")
    with serving(answering(red, response(503, b""), red)) as server:
        account_id = account(server.url)
        for step in range(3):
            health.check(account_id, clock=at(NOW + step * 2 * TTL), **WITH)
    assert len(told(session, company)) == 1


# --- Which accounts are asked about while campaigns run.


def test_active_accounts_of_running_campaigns_are_due_when_their_health_is_old(session: Session) -> None:
    with transaction() as own:
        owner = factories.user(own, factories.company(own))
        old, new, claimed, idle, paused, off = (
            numbered.account(own, owner.company, health_checked_at=checked_at, health_claimed_at=claimed_at)
            for checked_at, claimed_at in [
                (NOW - health.REFRESH_AFTER, None),
                (NOW - health.REFRESH_AFTER + timedelta(seconds=1), None),
                (None, NOW - timedelta(seconds=1)),
                (None, None),
                (None, None),
                (None, None),
            ]
        )
        never = numbered.account(own, owner.company)
        numbered.running(own, owner, accounts=[old, new, claimed, off, never])
        lifecycle.pause(own, numbered.running(own, owner, accounts=[paused], first=10))
        own.execute(text("UPDATE accounts SET status = 'deactivated' WHERE id = :id"), {"id": off.id})
    assert idle.id
    due = health.due(session, config=CONFIG, now=NOW)
    assert [each for each in due if each in {old.id, new.id, claimed.id, idle.id, paused.id, off.id, never.id}] == [
        never.id,
        old.id,
    ]


def test_the_clock_of_a_check_is_that_of_the_machine(account: Callable[..., int]) -> None:
    before = utc_now()
    checked = health.check(account(), **WITH)
    assert checked.checked_at is not None
    assert before <= checked.checked_at <= utc_now()
