"""What the provider's answers mean, beyond the row: for the account, the campaign, the contact; and who writes it."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InternalError, OperationalError

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.models import Account, Campaign
from campaign_engine.services.messages import settling
from jobs import queues, workers
from jobs.lane import turns
from jobs.runtime import Runtime
from tests.campaign_engine import numbered
from tests.campaign_engine.providers.wire import answering, response, serving
from tests.jobs.lane.laying import lane, received, states
from tests.simulator.running import Simulator

AWAY = OperationalError("the server closed the connection", None, Exception("the connection is lost"))


def _after(real: Callable[..., Any], *errors: Exception) -> Callable[..., Any]:
    """Return `real`, which raises each of the errors first."""
    left = iter(errors)

    def call(*arguments: Any, **values: Any) -> Any:
        if (error := next(left, None)) is not None:
            raise error
        return real(*arguments, **values)

    return call


def test_a_throttled_account_rests_for_as_long_as_its_provider_asks(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=1)
    ledger.behave(refuse_next=1, refuse_next_code=130429, retry_after_s=120)
    before = utc_now().timestamp()
    turns.run_turn(account_id)
    ledger.behave(retry_after_s=0)
    registry = queues.queue(queues.CAMPAIGN_MESSAGES, current.redis).scheduled_job_registry
    [(_, at)] = current.redis.zrange(registry.key, 0, -1, withscores=True)
    assert before + 119 < at <= utc_now().timestamp() + 120


def test_what_is_the_fault_of_people_is_final_for_them_and_none_of_the_account(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, [campaign_id] = lane(ledger, count=8, max_in_flight=1)
    ledger.behave(refuse_next=100, refuse_next_code=131026)
    turns.run_turn(account_id)
    with transaction() as session:
        account = session.get_one(Account, account_id)
        assert (account.status, account.consecutive_failures) == ("active", 0)
        campaign = session.get_one(Campaign, campaign_id)
        assert (campaign.status, campaign.failed_count) == ("completed", 8)


def test_what_is_the_fault_of_the_content_stops_its_campaign_and_no_other(current: Runtime, ledger: Simulator) -> None:
    account_id, [refused, other] = lane(ledger, count=60, campaigns=2, max_in_flight=1)
    with transaction() as session:
        session.get_one(Campaign, other).status = "paused"
    ledger.behave(refuse_next=100, refuse_next_code=132015)
    turns.run_turn(account_id)
    ledger.behave(refuse_next=0)
    with transaction() as session:
        campaign = session.get_one(Campaign, refused)
        assert (campaign.status, campaign.status_code) == ("paused", "content_refused")
        assert "132015: The simulator was told to refuse" in (campaign.status_reason or "")
        assert 3 <= campaign.failed_count <= 10, "a few, and those that were answered together"
        account = session.get_one(Account, account_id)
        assert (account.status, account.consecutive_failures) == ("active", 0)
        session.get_one(Campaign, other).status = "running"
    turns.run_turn(account_id)
    with transaction() as session:
        assert session.get_one(Campaign, other).status == "completed"
    assert len(received(ledger)) == 60


def test_the_name_that_whatsapp_has_for_a_person_is_kept_until_it_gives_another(
    current: Runtime, ledger: Simulator
) -> None:
    account_id, _ = lane(ledger, count=2)
    with transaction() as session:
        for at, phone in enumerate(("+5531987654321", "+5511987654321")):
            values = {"phone": phone, "old": numbered.phone(at)}
            session.execute(text("UPDATE messages SET phone = :phone WHERE phone = :old"), values)
        session.execute(text("UPDATE contacts SET wa_id = 'kept'"))
    turns.run_turn(account_id)
    with transaction() as session:
        names = session.scalars(text("SELECT wa_id FROM contacts ORDER BY phone")).all()
    # The second answer spells the number as it was sent: nothing new is known.
    assert names == ["553187654321", "kept"]


def test_an_answer_without_a_name_for_the_person_forgets_none(current: Runtime, ledger: Simulator) -> None:
    account_id, _ = lane(ledger, count=1)
    nameless = response(200, {"messages": [{"id": "wamid.1"}], "contacts": [{"input": "5511900000000"}]})
    with serving(answering(nameless)) as server:
        with transaction() as session:
            session.get_one(Account, account_id).base_url = server.url
            session.execute(text("UPDATE contacts SET wa_id = 'kept'"))
        turns.run_turn(account_id)
    assert states() == {"sent": 1}
    with transaction() as session:
        assert session.scalar(text("SELECT wa_id FROM contacts")) == "kept"


def test_a_turn_keeps_what_it_knows_until_the_database_is_back(
    current: Runtime, ledger: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id, [campaign_id] = lane(ledger, count=5)
    monkeypatch.setattr(settling, "settle", _after(settling.settle, AWAY, AWAY))
    turns.run_turn(account_id)
    assert states() == {"sent": 5}
    with transaction() as session:
        assert session.get_one(Campaign, campaign_id).status == "completed"


def test_what_a_broken_turn_cannot_write_is_settled_by_the_pool(
    current: Runtime, ledger: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id, _ = lane(ledger, count=32, max_in_flight=16)
    ledger.behave(jitter_ms=300)
    broken = InternalError("cannot be written", None, Exception("cannot be written"))
    monkeypatch.setattr(settling, "settle", _after(settling.settle, broken))
    monkeypatch.setattr(settling, "abandon", _after(settling.abandon, AWAY))
    with pytest.raises(InternalError):
        turns.run_turn(account_id)
    ledger.behave(jitter_ms=0)
    assert states()["sending"] >= 2, "PostgreSQL is away, and nobody can write what had begun and what had not"
    workers.settle_testaments(current)
    assert set(states()) == {"sent", "unknown", "pending"}
    assert states()["pending"] == 32 - len(received(ledger)), "what had not begun waits again"
