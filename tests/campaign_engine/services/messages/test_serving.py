"""Whose messages go next from an account, and claiming exactly what every limit grants."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import redis
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.core import prefix_of
from campaign_engine.models import Account, Campaign, Company, User
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.company import limits
from campaign_engine.services.messages import planning, serving
from campaign_engine.services.messages.planning import Candidate, Plan
from campaign_engine.services.messages.serving import Deferral, Serving
from ratelimit import Limiter, LimiterUnavailable, Rate
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.numbered import NOW

CONFIG = Config()
MANY = "60000/minute"


@pytest.fixture
def number(session: Session, company: Company) -> Account:
    company.settings = {"campaign_rate_limit": MANY}
    return numbered.account(session, company, rate_limit=MANY, burst=500)


@pytest.fixture
def limiter(redis_client: redis.Redis, company: Company) -> Limiter:
    return Limiter(redis_client, prefix=prefix_of(company.id))


@pytest.fixture
def served(limiter: Limiter) -> Serving:
    return Serving(token=uuid.uuid4(), config=CONFIG, limiter_of=lambda _: limiter)


def _plan(session: Session, number: Account) -> Plan:
    plan = planning.plan(session, number.id, config=CONFIG)
    assert plan is not None
    return plan


def _choose(served: Serving, plan: Plan, now: datetime = NOW) -> list[Candidate] | Deferral:
    return served.choose(plan, now, provider_is_away=False)


def _claim(session: Session, served: Serving, number: Account, *, room: int = 50, now: datetime = NOW) -> list[str]:
    """Choose and claim as a turn does; return the phones of the rows."""
    plan = _plan(session, number)
    ready = _choose(served, plan, now)
    assert not isinstance(ready, Deferral)
    claim = served.claim_next(session, plan, ready, now=now, room=room)
    session.commit()
    return [row.phone for row in claim.rows]


def _states(session: Session) -> dict[str, int]:
    rows = session.execute(text("SELECT status, count(*) AS n FROM messages GROUP BY status"))
    return {row.status: row.n for row in rows}


def test_exactly_what_the_tightest_limit_grants_is_charged_and_claimed(
    session: Session, owner: User, number: Account, served: Serving, limiter: Limiter
) -> None:
    number.rate_limit, number.burst = "20/minute", 4
    numbered.running(session, owner, accounts=[number], count=10)
    assert _claim(session, served, number) == [numbered.phone(at) for at in range(4)]
    assert _states(session) == {"sending": 4, "pending": 6}
    company = session.get_one(Company, number.company_id)
    [of_account, *_] = limits.of_send(number, owner.id, company, CONFIG, now=NOW)
    assert limiter.peek([of_account.limit]).usage[0].remaining == 0
    deferral = _choose(served, _plan(session, number), datetime.now(NOW.tzinfo) - timedelta(seconds=1))
    assert isinstance(deferral, Deferral)
    assert (deferral.reason, deferral.is_of_a_limit) == (WaitReason.ACCOUNT_LIMIT, True)


def test_a_claim_is_two_statements_and_one_round_trip_however_many_rows_and_campaigns(
    session: Session, owner: User, number: Account, served: Serving, redis_client: redis.Redis
) -> None:
    for at in range(3):
        numbered.running(session, owner, accounts=[number], count=20, first=at * 100)
    assert len(_claim(session, served, number, room=3)) == 3  # Redis has the script from here on
    plan = _plan(session, number)
    ready = _choose(served, plan)
    assert not isinstance(ready, Deferral)
    statements: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    before = redis_client.info("stats")["total_commands_processed"]
    claim = served.claim_next(session, plan, ready, now=NOW, room=50)
    asked = redis_client.info("stats")["total_commands_processed"] - before
    assert (len(claim.rows), len(statements)) == (50, 2)
    # The question itself, and what the script does within Redis for two limits.
    assert asked - 1 <= 1 + 2 * 4


def test_an_owner_who_is_blocked_lets_another_owners_campaigns_go(
    session: Session, company: Company, owner: User, number: Account, served: Serving
) -> None:
    company.settings = {"campaign_rate_limit": "1/hour"}
    other = factories.user(session, company)
    numbered.running(session, owner, accounts=[number], count=3)
    theirs = numbered.running(session, other, accounts=[number], count=3, first=100)
    at = datetime.now(NOW.tzinfo)  # the limiter goes by the clock of Redis
    assert _claim(session, served, number, now=at) == [numbered.phone(0)]
    ready = _choose(served, _plan(session, number), at)
    assert not isinstance(ready, Deferral)
    assert [each.campaign_id for each in ready] == [theirs.id]
    assert _claim(session, served, number, now=at) == [numbered.phone(100)]
    deferral = _choose(served, _plan(session, number), at)
    assert isinstance(deferral, Deferral)
    assert deferral.reason is WaitReason.USER_LIMIT
    assert served.waits_for_a_limit(at)


def test_a_row_that_its_own_limit_blocks_waits_while_the_others_go(
    session: Session, owner: User, number: Account, limiter: Limiter
) -> None:
    made = numbered.running(session, owner, accounts=[number], count=3)
    session.execute(
        text("UPDATE messages SET attempts = 1, next_attempt_at = :now WHERE phone = :phone"),
        {"now": NOW, "phone": numbered.phone(1)},
    )
    session.commit()
    [retried] = session.scalars(text("SELECT id FROM messages WHERE attempts = 1"))
    config = replace(CONFIG, retry_rate_limit=Rate.parse("1/hour"))
    limiter.acquire([limits.of_retry(retried, config).limit])
    serving_once = Serving(token=uuid.uuid4(), config=config, limiter_of=lambda _: limiter)
    assert _claim(session, serving_once, number) == [numbered.phone(0), numbered.phone(2)]
    until = session.scalar(text("SELECT next_attempt_at FROM messages WHERE id = :id"), {"id": retried})
    assert until > datetime.now(NOW.tzinfo) + timedelta(minutes=50)
    assert made.pending_count == 3


def test_nothing_is_claimed_without_the_limiter(session: Session, owner: User, number: Account) -> None:
    numbered.running(session, owner, accounts=[number], count=3)
    session.commit()
    gone = Limiter(redis.Redis(port=1, socket_connect_timeout=0.2), prefix="x")
    with pytest.raises(LimiterUnavailable):
        _claim(session, Serving(token=uuid.uuid4(), config=CONFIG, limiter_of=lambda _: gone), number)
    session.rollback()
    assert _states(session) == {"pending": 3}
    assert Deferral.limiter_away(NOW).until == NOW + serving.LIMITER_PAUSE


def test_a_paced_account_claims_one_and_books_its_pause(
    session: Session, owner: User, number: Account, served: Serving
) -> None:
    number.message_interval_s = 20
    numbered.running(session, owner, accounts=[number], count=3)
    assert _claim(session, served, number) == [numbered.phone(0)]
    assert _choose(served, _plan(session, number)) == Deferral(
        WaitReason.PACING, NOW + timedelta(seconds=20), [each.campaign_id for each in _plan(session, number).candidates]
    )


def test_a_turn_that_lost_its_pace_to_another_claims_nothing(
    session: Session, other_session: Callable[[], Session], owner: User, number: Account, served: Serving
) -> None:
    number.message_interval_s = 20
    numbered.running(session, owner, accounts=[number], count=3)
    session.commit()
    plan = _plan(session, number)
    ready = _choose(served, plan)
    assert not isinstance(ready, Deferral)
    with other_session() as other, other.begin():
        other.execute(text("UPDATE accounts SET paced_until = :until"), {"until": NOW + timedelta(seconds=20)})
    claim = served.claim_next(session, plan, ready, now=NOW, room=5)
    session.commit()
    assert (list(claim.rows), claim.found_count) == ([], 1)
    assert _states(session) == {"pending": 3}


def test_campaigns_go_in_turns_and_one_with_a_delay_sends_one_and_waits(
    session: Session, owner: User, number: Account, served: Serving
) -> None:
    first = numbered.running(session, owner, accounts=[number], count=30)
    slow = numbered.running(session, owner, accounts=[number], count=30, first=100)
    slow.pacing = {"message_delay_s": 9}
    session.commit()
    phones = _claim(session, served, number, room=30)
    assert phones.count(numbered.phone(100)) == 1
    assert len(phones) == 30
    candidates = {each.campaign_id: each for each in _plan(session, number).candidates}
    assert candidates[slow.id].delayed_until == NOW + timedelta(seconds=9)
    assert candidates[first.id].delayed_until is None


def test_on_probation_one_message_goes_first(session: Session, owner: User, number: Account, served: Serving) -> None:
    number.on_probation = True
    numbered.running(session, owner, accounts=[number], count=3)
    assert _claim(session, served, number) == [numbered.phone(0)]


def test_rows_that_another_account_has_locked_are_not_waited_for(
    session: Session, other_session: Callable[[], Session], owner: User, number: Account, served: Serving
) -> None:
    made: Campaign = numbered.running(session, owner, accounts=[number], count=3)
    session.commit()
    plan = _plan(session, number)
    ready = _choose(served, plan)
    assert not isinstance(ready, Deferral)
    with other_session() as other, other.begin():
        other.execute(text("SELECT 1 FROM messages WHERE campaign_id = :id FOR UPDATE"), {"id": made.id})
        claim = served.claim_next(session, plan, ready, now=NOW, room=5)
        session.commit()
    assert (list(claim.rows), claim.found_count, claim.wanted_count) == ([], 0, 3)
    served.note_crowded(NOW)
    deferral = _choose(served, plan)
    assert isinstance(deferral, Deferral)
    assert (deferral.reason, deferral.is_of_a_limit) == (WaitReason.OTHER_ACCOUNTS, False)
    assert not served.waits_for_a_limit(NOW), "the rows are free in a moment, whatever a limit says"


def test_the_worker_is_given_up_with_word_of_who_waits(session: Session, owner: User, number: Account) -> None:
    made = numbered.running(session, owner, accounts=[number], count=3)
    over = Deferral.turn_over(_plan(session, number), NOW)
    assert (over.reason, over.until, list(over.campaign_ids)) == (WaitReason.TURN_OVER, NOW, [made.id])
