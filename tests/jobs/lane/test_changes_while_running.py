"""What people change while a turn runs takes effect at the next message, without a pause and without a restart."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.models import Account, Campaign, Company
from campaign_engine.rules.hours.working_hours import WEEKDAYS
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.accounts import accounts
from campaign_engine.services.campaigns import drafts
from campaign_engine.services.company import users
from campaign_engine.services.people import opt_outs
from jobs import waking
from jobs.lane import turns
from jobs.runtime import Runtime
from tests.campaign_engine import numbered
from tests.jobs.lane.laying import lane, received, states
from tests.simulator.running import Simulator, wait_for

COUNT = 60
"""More than can be sent before a change is felt: two in flight at 40 ms are some 50 a second."""

STILL_LEAVES = 20
"""What may leave after a change: 0.1 s by the plan in force, the calls in flight, and the rows ready behind them."""

Change = Callable[[Session, Campaign, Runtime], None]


def _account(values: dict[str, Any]) -> Change:
    def change(session: Session, campaign: Campaign, current: Runtime) -> None:
        account = session.scalars(select(Account)).one()
        vault = current.vault
        proposal = accounts.propose(values, account=account, vault=vault, providers=current.providers)
        accounts.update(session, account, proposal, vault=vault, now=utc_now())

    return change


def _campaign(values: dict[str, Any]) -> Change:
    def change(session: Session, campaign: Campaign, current: Runtime) -> None:
        drafts.update(session, campaign, values=values, default_region="BR", now=utc_now())

    return change


def _company(values: dict[str, Any]) -> Change:
    def change(session: Session, campaign: Campaign, current: Runtime) -> None:
        users.update_company(session, session.get_one(Company, campaign.company_id), values=values)

    return change


def _change_while_sending(current: Runtime, ledger: Simulator, change: Change) -> tuple[int, int]:
    """Change something in the middle of a turn; return the account, and how many had been sent before."""
    account_id, [campaign_id] = lane(ledger, count=COUNT, max_in_flight=2)
    ledger.behave(latency_ms=40)
    turn = threading.Thread(target=turns.run_turn, args=(account_id,))
    turn.start()
    try:
        wait_for(lambda: len(received(ledger)) >= 6)
        with transaction() as session:
            change(session, session.get_one(Campaign, campaign_id), current)
        return account_id, len(received(ledger))
    finally:
        turn.join()
        ledger.behave(latency_ms=5)


CLOSED = {"windows": [{"days": [WEEKDAYS[(utc_now().weekday() + 3) % 7]], "start": "08:00", "end": "09:00"}]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_account({"message_interval_s": 20}), WaitReason.PACING),
        (_account({"rate_limit": "1/minute", "burst": 1}), WaitReason.ACCOUNT_LIMIT),
        (_account({"warm_up": {"ladder": [[0, 10]]}}), WaitReason.WARM_UP),
        (_campaign({"pacing": {"message_delay_s": 60}}), WaitReason.CAMPAIGN_DELAY),
        (_campaign({"working_hours": CLOSED}), WaitReason.OUTSIDE_HOURS),
        (_company({"campaign_rate_limit": "1/minute"}), WaitReason.USER_LIMIT),
    ],
    ids=["pace", "rate", "warm-up", "delay", "hours", "owner's limit"],
)
def test_a_tighter_rule_holds_at_once(current: Runtime, ledger: Simulator, change: Change, reason: WaitReason) -> None:
    account_id, before = _change_while_sending(current, ledger, change)
    assert len(received(ledger)) - before <= STILL_LEAVES
    assert waking.waits_of(current.redis, [account_id])[account_id].reason == reason
    assert states() == {"sent": len(received(ledger)), "pending": COUNT - len(received(ledger))}


def test_another_text_is_what_the_next_ones_read(current: Runtime, ledger: Simulator) -> None:
    _, before = _change_while_sending(current, ledger, _campaign({"content": {"type": "text", "text": "Changed"}}))
    texts = [entry["summary"] == "Changed" for entry in received(ledger)]
    assert len(texts) == COUNT
    assert not any(texts[:before])
    assert all(texts[before + STILL_LEAVES :])


def test_who_opts_out_meanwhile_is_not_written_to(current: Runtime, ledger: Simulator) -> None:
    def the_last_opt_out(session: Session, campaign: Campaign, current: Runtime) -> None:
        for at in range(COUNT - 20, COUNT):
            opt_outs.add(
                session, company_id=campaign.company_id, phone=numbered.phone(at), default_region="BR", now=utc_now()
            )

    _change_while_sending(current, ledger, the_last_opt_out)
    assert states() == {"sent": COUNT - 20, "skipped": 20}
