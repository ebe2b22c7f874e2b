"""Confirming opt-outs: once, in the person's language, at the account's pace; what leaves is read off the wire."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.models import Account, Company, Reply
from campaign_engine.providers.base import Inbound
from campaign_engine.services import confirmations, limits, opt_outs, replies
from campaign_engine.services.replies import Received
from jobs import confirming, queues
from jobs.runtime import Runtime
from ratelimit import Limit, Limiter
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.providers.wire import Behaviour, Server, closing_after, cutting, response, serving

PHONE = "+5511987654321"
CLOSE = {"Connection": "close"}


@pytest.fixture
def provider(current: Runtime) -> Iterator[Server]:
    """A server that takes every message."""
    with serving(closing_after(response(headers=CLOSE))) as server:
        yield server


def account(provider: Server, *, settings: dict[str, Any] | None = None, **columns: Any) -> Account:
    with transaction() as session:
        company = factories.company(session)
        company.settings = settings or {}
        factories.contact(session, company, phone=PHONE)
        return numbered.account(
            session, company, phone_number_id="111", base_url=provider.url, access_token="token", **columns
        )


def opted_out(number: Account, said: str = "SAIR", *, at: datetime | None = None, sender: str = "551187654321") -> int:
    """Let a person opt out; return the reply that is to be confirmed."""
    inbound = Inbound(number.phone_number_id or "", f"wamid.{said}{at}", sender, at or utc_now(), "text", text=said)
    with transaction() as session:
        [reply_id] = replies.receive(session, [Received(number.id, number.company_id, inbound)], now=utc_now())
        return reply_id


def received(provider: Server) -> list[tuple[str, str]]:
    return [(request.json["to"], request.json["text"]["body"]) for request in provider.requests]


def next_try(current: Runtime) -> list[float]:
    registry = queues.queue(queues.CAMPAIGN_NOTIFICATIONS, current.redis).scheduled_job_registry
    return [score for _, score in current.redis.zrange(registry.key, 0, -1, withscores=True)]


def claimed_at(reply_id: int) -> datetime | None:
    with transaction() as session:
        return session.get_one(Reply, reply_id, populate_existing=True).confirmation_claimed_at


@pytest.mark.parametrize(
    ("said", "words"), [("SAIR", "Pronto"), ("darme de baja", "Listo"), ("unsubscribe me", "Done"), ("STOP", "Pronto")]
)
def test_an_opt_out_is_confirmed_once_in_its_language(
    current: Runtime, provider: Server, said: str, words: str
) -> None:
    reply_id = opted_out(account(provider), said)
    for _ in range(3):
        confirming.confirm_opt_out(reply_id)
    [(to, body)] = received(provider)
    assert to == PHONE
    assert body.startswith(words)
    assert claimed_at(reply_id) is not None
    assert next_try(current) == []


def test_of_two_jobs_at_once_one_may_confirm(current: Runtime, provider: Server) -> None:
    reply_id = opted_out(account(provider))
    taken = []
    for _ in range(2):
        with transaction() as session:
            taken.append(confirmations.claim(session, reply_id, now=utc_now()))
    assert taken == [True, False]


def test_a_company_says_it_in_its_own_words_or_not_at_all(current: Runtime, provider: Server) -> None:
    confirming.confirm_opt_out(opted_out(account(provider, settings={"opt_out_confirmation_text": "Tchau!"})))
    confirming.confirm_opt_out(opted_out(account(provider, settings={"opt_out_confirmation": False})))
    assert [body for _, body in received(provider)] == ["Tchau!"]


def test_nothing_is_confirmed_too_late_or_to_who_changed_the_mind_or_from_a_dead_account(
    current: Runtime, provider: Server
) -> None:
    late = opted_out(account(provider), at=utc_now() - timedelta(hours=24))
    back = account(provider)
    changed = opted_out(back)
    dead = account(provider)
    from_dead = opted_out(dead)
    hidden = opted_out(account(provider), sender="BR.1349120865530274")
    with transaction() as session:
        opt_outs.lift(session, company_id=back.company_id, phone=PHONE, default_region="BR", now=utc_now())
        session.execute(text("UPDATE accounts SET status = 'deactivated' WHERE id = :id"), {"id": dead.id})
    for reply_id in (late, changed, from_dead, hidden):
        confirming.confirm_opt_out(reply_id)
        assert claimed_at(reply_id) is None
    assert received(provider) == []
    assert next_try(current) == []


def test_a_confirmation_waits_for_the_accounts_limit_to_the_exact_time(current: Runtime, provider: Server) -> None:
    number = account(provider, rate_limit="20/minute")
    reply_id = opted_out(number)
    limiter = Limiter(current.redis, prefix=limits.prefix_of(number.company_id))
    now = utc_now()
    assert limiter.acquire([_limit_of(current, number)]).granted == 1
    confirming.confirm_opt_out(reply_id)
    assert (received(provider), claimed_at(reply_id)) == ([], None)
    [at] = next_try(current)
    assert 2.5 < at - now.timestamp() < 4  # 20 a minute: one every 3 s


def _limit_of(current: Runtime, number: Account) -> Limit:
    with transaction() as session:
        company = session.get_one(Company, number.company_id)
        return limits.of_account(session.get_one(Account, number.id), company, current.config, now=utc_now())


def test_a_confirmation_keeps_the_accounts_pace_and_is_part_of_it(current: Runtime, provider: Server) -> None:
    number = account(provider, message_interval_s=20.0, rate_limit="6000/minute")
    first, second = opted_out(number), opted_out(number, "STOP", sender="5511987650000")
    confirming.confirm_opt_out(first)
    with transaction() as session:
        paced_until = session.get_one(Account, number.id, populate_existing=True).paced_until
    assert paced_until is not None
    assert 15 < (paced_until - utc_now()).total_seconds() <= 20
    confirming.confirm_opt_out(second)
    assert len(received(provider)) == 1
    assert next_try(current) == [pytest.approx(paced_until.timestamp(), abs=1e-3)]


@pytest.mark.parametrize(
    "behave", [closing_after(response(400, {"error": {"code": 131047, "message": "too late"}}, headers=CLOSE)), cutting]
)
def test_a_refused_or_lost_confirmation_is_not_repeated(current: Runtime, behave: Behaviour) -> None:
    with serving(behave) as provider:
        reply_id = opted_out(account(provider))
        confirming.confirm_opt_out(reply_id)
        confirming.confirm_opt_out(reply_id)
        assert len(provider.requests) == 1
    assert claimed_at(reply_id) is not None
