"""Turns of a lane whose account is the session of a phone."""

from typing import Any

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.models import Account, Campaign
from jobs.lane import turns
from jobs.runtime import Runtime
from tests import factories
from tests.campaign_engine import conftest, numbered
from tests.jobs.lane.laying import states
from tests.simulator.running import APIKEY, INSTANCE, Simulator

running_simulator, simulator = conftest.running_simulator, conftest.simulator


def lane_of_phone(simulator: Simulator, *, count: int, **values: Any) -> tuple[int, int]:
    """Make an account of the instance with a running campaign; return its id and the campaign's."""
    with transaction() as session:
        owner = factories.user(session, factories.company(session))
        owner.company.settings = {"campaign_rate_limit": "60000/minute"}
        account = numbered.account(
            session,
            owner.company,
            provider="evolution",
            phone_number_id=None,
            instance=INSTANCE,
            base_url=simulator.url,
            access_token=APIKEY,
            max_in_flight=1,
            rate_limit="60000/minute",
            burst=500,
        )
        people = numbered.people(session, owner.company, count=count)
        made = numbered.draft(session, owner, accounts=[account], lists=[people], **values)
        return account.id, numbered.started(session, made, now=utc_now()).id


def campaign(campaign_id: int) -> Campaign:
    with transaction() as session:
        return session.get_one(Campaign, campaign_id, populate_existing=True)


def test_messages_leave_one_after_the_other(current: Runtime, simulator: Simulator) -> None:
    account_id, campaign_id = lane_of_phone(simulator, count=8)
    turns.run_turn(account_id)
    assert (states(), campaign(campaign_id).status) == ({"sent": 8}, "completed")
    use = simulator.summary()["by_number"][INSTANCE]
    assert (use["accepted"], use["most_sends_at_once"]) == (8, 1)


def test_a_template_is_refused_in_words_and_nothing_leaves(current: Runtime, simulator: Simulator) -> None:
    content = {"type": "template", "name": "promo", "language": "pt_BR"}
    account_id, campaign_id = lane_of_phone(simulator, count=8)
    with transaction() as session:  # such a campaign is refused at the start; this one is older
        session.get_one(Campaign, campaign_id).content = content
    turns.run_turn(account_id)
    stopped = campaign(campaign_id)
    assert stopped.status == "paused"
    assert "Evolution API sends no templates" in (stopped.status_reason or "")
    assert simulator.summary()["requests"] == 0


def test_a_closed_session_deactivates_the_account_and_its_messages_wait(current: Runtime, simulator: Simulator) -> None:
    simulator.register_instance(state="close")
    account_id, _ = lane_of_phone(simulator, count=8)
    for _ in range(current.config.account_failure_threshold + 1):
        turns.run_turn(account_id)
        with transaction() as session:
            account = session.get_one(Account, account_id, populate_existing=True)
            account.paced_until = None
    with transaction() as session:
        account = session.get_one(Account, account_id, populate_existing=True)
        assert account.status == "deactivated"
        assert account.status_reason == "session_closed: Error: Connection Closed"
    assert states() == {"pending": 8}
    assert simulator.ledger() == []


def test_a_number_that_nobody_has_fails_alone(current: Runtime, simulator: Simulator) -> None:
    simulator.behave(number_rules={"90000003": "refuse:131026"})
    account_id, campaign_id = lane_of_phone(simulator, count=8)
    turns.run_turn(account_id)
    assert (states(), campaign(campaign_id).status) == ({"sent": 7, "failed": 1}, "completed")
