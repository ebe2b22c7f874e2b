"""Confirming opt-outs: once, in the person's language, at the account's pace; what leaves is read off the wire."""

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from campaign_engine.clock import utc_now
from campaign_engine.core import prefix_of
from campaign_engine.db import transaction
from campaign_engine.models import Account, Company, Reply
from campaign_engine.providers.base import Inbound
from campaign_engine.services.company import limits
from campaign_engine.services.people import confirmations, opt_outs
from campaign_engine.services.webhooks import replies
from campaign_engine.services.webhooks.replies import Received
from jobs import lease, queues, scheduling, waking
from jobs.lane import turns
from jobs.rq_extensions import Promoter
from jobs.runtime import Runtime
from ratelimit import Limit, Limiter
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.providers.wire import Behaviour, Server, closing_after, cutting, response, serving
from tests.jobs.lane.laying import lane, states
from tests.jobs.lane.laying import received as ledger_of
from tests.simulator.running import Simulator, wait_for

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
    inbound = Inbound(number.phone_number_id or "", f"wamid.{uuid.uuid4()}", sender, at or utc_now(), "text", text=said)
    with transaction() as session:
        [reply_id] = replies.receive(session, [Received(number.id, number.company_id, inbound)], now=utc_now())
        assert confirmations.owe(session, [reply_id]) == [number.id]
        return reply_id


def received(provider: Server) -> list[tuple[str, str]]:
    return [(request.json["to"], request.json["text"]["body"]) for request in provider.requests]


def next_try(current: Runtime) -> list[float]:
    registry = queues.queue(queues.CAMPAIGN_MESSAGES, current.redis).scheduled_job_registry
    return [score for _, score in current.redis.zrange(registry.key, 0, -1, withscores=True)]


def is_owed(reply_id: int) -> bool:
    with transaction() as session:
        return session.get_one(Reply, reply_id, populate_existing=True).confirm_until is not None


def owing() -> list[int]:
    """Return the accounts whose lanes the verification would wake."""
    with transaction() as session:
        return list(confirmations.owing(session, now=utc_now()))


@pytest.mark.parametrize(
    ("said", "words"), [("SAIR", "Pronto"), ("darme de baja", "Listo"), ("unsubscribe me", "Done"), ("STOP", "Pronto")]
)
def test_an_opt_out_is_confirmed_once_in_its_language(
    current: Runtime, provider: Server, said: str, words: str
) -> None:
    number = account(provider)
    reply_id = opted_out(number, said)
    for _ in range(3):
        turns.run_turn(number.id)
    [(to, body)] = received(provider)
    assert to == PHONE
    assert body.startswith(words)
    assert not is_owed(reply_id)
    assert next_try(current) == []


@pytest.mark.parametrize(("locale", "words"), [("pt_BR", "Pronto"), ("en", "Done")])
def test_an_opt_out_that_tells_no_language_is_confirmed_in_that_of_the_installation(
    current: Runtime, provider: Server, locale: str, words: str
) -> None:
    current.config = replace(current.config, default_locale=locale)
    number = account(provider)
    opted_out(number, "STOP", sender="12125550147")  # a number of a country whose languages are none of ours
    turns.run_turn(number.id)
    [(_, body)] = received(provider)
    assert body.startswith(words)


@pytest.mark.parametrize("sender", ["5511987654321", "5511987650001", "5215512345678"])
def test_who_is_no_contact_gets_it_by_the_spelling_of_the_provider(
    current: Runtime, provider: Server, sender: str
) -> None:
    number = account(provider)
    opted_out(number, sender=sender)
    turns.run_turn(number.id)
    assert [to for to, _ in received(provider)] == [f"+{sender}"]


def test_either_line_of_a_lane_confirms_all_that_is_owed(current: Runtime, provider: Server) -> None:
    number = account(provider, rate_limit="6000/minute", burst=10)
    for at in range(3):
        opted_out(number, sender=f"551198765000{at}")
    turns.run_retry_turn(number.id)
    assert len(received(provider)) == 3


def test_of_two_turns_at_once_one_may_confirm(current: Runtime, provider: Server) -> None:
    reply_id = opted_out(account(provider))
    taken = []
    for _ in range(2):
        with transaction() as session:
            taken.append(confirmations.claim(session, reply_id, now=utc_now()))
    assert taken == [True, False]


def test_a_company_says_it_in_its_own_words_or_not_at_all(current: Runtime, provider: Server) -> None:
    for settings in ({"opt_out_confirmation_text": "Tchau!"}, {"opt_out_confirmation": False}):
        number = account(provider, settings=settings)
        opted_out(number)
        turns.run_turn(number.id)
    assert [body for _, body in received(provider)] == ["Tchau!"]
    assert owing() == []


def test_an_account_confirms_what_was_said_to_it_and_leaves_the_others_to_theirs(
    current: Runtime, provider: Server
) -> None:
    mine, theirs = account(provider, rate_limit="6000/minute", burst=10), account(provider)
    reply_id, other_id = opted_out(mine), opted_out(theirs)
    turns.run_turn(mine.id)
    assert (is_owed(reply_id), is_owed(other_id), owing()) == (False, True, [theirs.id])


def test_nothing_is_confirmed_too_late_or_to_who_is_back_hides_or_is_blocked_or_from_a_dead_account(
    current: Runtime, provider: Server
) -> None:
    numbers = late, back, dead, hiding, blocked = [account(provider) for _ in range(5)]
    opted_out(late, at=utc_now() - timedelta(hours=24))
    opted_out(back)
    opted_out(dead)
    opted_out(hiding, sender="BR.1349120865530274")
    opted_out(blocked)
    with transaction() as session:
        opt_outs.add(
            session,
            company_id=blocked.company_id,
            phone=PHONE,
            kind="blocked",
            default_region="BR",
            now=utc_now(),
        )
        opt_outs.lift(session, company_id=back.company_id, phone=PHONE, default_region="BR", now=utc_now())
        session.execute(text("UPDATE accounts SET status = 'deactivated' WHERE id = :id"), {"id": dead.id})
    for number in numbers:
        turns.run_turn(number.id)
    assert received(provider) == []
    assert next_try(current) == []
    assert owing() == [], "the verification wakes nobody for them"

    with transaction() as session:
        session.execute(text("UPDATE accounts SET status = 'active'"))
    turns.run_turn(dead.id)
    assert len(received(provider)) == 1, "an account that is back in time makes up for it"


def test_the_verification_makes_up_for_what_redis_has_lost_once(current: Runtime, provider: Server) -> None:
    number, silent = account(provider), account(provider)
    opted_out(number)
    for _ in range(2):
        scheduling.verify_campaigns()
    assert waking.lanes_with_a_turn(current.redis, [number.id, silent.id]) == {number.id}
    assert len(next_try(current)) + len(queues.queue(queues.CAMPAIGN_MESSAGES, current.redis)) == 1
    turns.run_turn(number.id)
    current.redis.flushdb()
    scheduling.verify_campaigns()
    assert waking.lanes_with_a_turn(current.redis, [number.id]) == set(), "nothing is owed any more"


def test_a_confirmation_waits_for_the_accounts_limit_to_the_exact_time(current: Runtime, provider: Server) -> None:
    number = account(provider, rate_limit="1/minute")
    reply_id = opted_out(number)
    limiter = Limiter(current.redis, prefix=prefix_of(number.company_id))
    before = utc_now().timestamp()
    assert limiter.acquire([_limit_of(current, number)]).granted == 1
    after = utc_now().timestamp()
    turns.run_turn(number.id)
    assert (received(provider), is_owed(reply_id)) == ([], True)
    [at] = next_try(current)
    assert before + 59 < at < after + 61


def _limit_of(current: Runtime, number: Account) -> Limit:
    with transaction() as session:
        company = session.get_one(Company, number.company_id)
        return limits.of_account(session.get_one(Account, number.id), company, current.config)


def test_a_confirmation_keeps_the_accounts_pace_and_is_part_of_it(current: Runtime, provider: Server) -> None:
    number = account(provider, message_interval_s=20.0, rate_limit="6000/minute")
    opted_out(number)
    opted_out(number, "STOP", sender="5511987650000")
    before = utc_now()
    turns.run_turn(number.id)
    with transaction() as session:
        paced_until = session.get_one(Account, number.id, populate_existing=True).paced_until
    assert paced_until is not None
    assert before + timedelta(seconds=20) <= paced_until <= utc_now() + timedelta(seconds=20)
    assert len(received(provider)) == 1
    assert next_try(current) == [pytest.approx(paced_until.timestamp(), abs=1e-3)]


def test_confirmations_go_before_the_messages_of_campaigns(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=50, message_interval_s=20.0)
    with transaction() as session:
        number = session.get_one(Account, account_id)
    for at in range(2):
        opted_out(number, sender=f"551198765000{at}")
    for expected in (["reply"], ["reply", "reply"], ["reply", "reply", "message"]):
        turns.run_turn(account_id)
        assert ["reply" if each["callback_data"].startswith("reply:") else "message" for each in ledger_of(ledger)] == (
            expected
        )
        with transaction() as session:
            session.execute(text("UPDATE accounts SET paced_until = NULL"))


def test_campaigns_are_served_between_many_confirmations(current: Runtime, ledger: Simulator) -> None:
    current.config = replace(current.config, turn_budget_s=0.01)
    account_id, _ = lane(ledger, count=1)
    with transaction() as session:
        number = session.get_one(Account, account_id)
    for at in range(10):
        opted_out(number, sender=f"551198765000{at}")
    turn_count = 0
    while owing():
        turns.run_turn(account_id)
        turn_count += 1
        assert next_try(current), "it comes back for the others"
    assert turn_count > 1
    order = [each["callback_data"].startswith("reply:") for each in ledger_of(ledger)]
    assert (order.count(True), order[-1]) == (10, True)
    assert False in order


def test_confirmations_and_messages_share_the_budget_of_a_turn(current: Runtime, ledger: Simulator) -> None:
    current.config = replace(current.config, turn_budget_s=0.3)
    account_id, _ = lane(ledger, count=3)
    with transaction() as session:
        opted_out(session.get_one(Account, account_id))
    ledger.behave(latency_ms=400)  # the one confirmation takes longer than the budget
    waking.arm(current.redis, 999, at=utc_now())
    Promoter(current.redis, queues.NAMES).promote()
    turns.run_turn(account_id)
    assert owing() == []
    assert states() == {"pending": 3}, "another lane waits for the worker"


def test_an_account_never_has_a_confirmation_in_flight_beside_another_call(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=1, max_in_flight=1)
    with transaction() as session:
        number = session.get_one(Account, account_id)
    ledger.behave(latency_ms=300)
    turn = threading.Thread(target=turns.run_turn, args=(account_id,))
    turn.start()
    wait_for(lambda: lease.holders(current.redis, [account_id]))
    wait_for(lambda: states() == {"sending": 1})
    reply_id = opted_out(number)
    turns.run_turn(account_id)
    assert is_owed(reply_id), "the lane is taken: its turn was turned away"
    turn.join()
    ledger.behave(latency_ms=5)
    assert len(next_try(current)) == 1, "and is woken when it is free"
    turns.run_turn(account_id)
    assert not is_owed(reply_id)


@pytest.mark.parametrize(
    "behave", [closing_after(response(400, {"error": {"code": 131047, "message": "too late"}}, headers=CLOSE)), cutting]
)
def test_a_refused_or_lost_confirmation_is_not_repeated(current: Runtime, behave: Behaviour) -> None:
    with serving(behave) as provider:
        number = account(provider)
        reply_id = opted_out(number)
        for _ in range(2):
            turns.run_turn(number.id)
        assert len(provider.requests) == 1
    assert not is_owed(reply_id)
