"""Tests of a campaign: one message to one number, on the normal way, seen nowhere among the campaigns."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.errors import InvalidInput, NotFound, TransitionNotAllowed
from campaign_engine.models import Account, Campaign, CampaignRecipient, User
from campaign_engine.services.campaigns import drafts, lifecycle, reading, test_sends
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.numbered import NOW
from tests.simulator.running import wait_for

TESTER = numbered.phone(900)
LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def campaign(session: Session) -> Campaign:
    """A draft with hours and a pace of its own, from two accounts."""
    owner = factories.user(session, factories.company(session))
    numbers = [numbered.account(session, owner.company) for _ in range(2)]
    members = numbered.people(session, owner.company, count=2)
    return numbered.draft(
        session,
        owner,
        accounts=numbers,
        lists=[members],
        text="Hello {{name}}, {{n|none}}",
        pacing={"message_delay_s": 30, "message_interval_s": 90},
        working_hours={"windows": [{"days": ["mon"], "start": "03:00", "end": "03:01"}], "timezone": "UTC"},
    )


def _send(session: Session, campaign: Campaign, **values: Any) -> test_sends.TestSend:
    return test_sends.send(
        session,
        campaign,
        owner_id=campaign.owner_id,
        values={"phone": TESTER, "name": "Tess", **values},
        default_region="BR",
        now=NOW,
    )


def _accounts(session: Session, campaign: Campaign) -> list[Account]:
    return [session.get_one(Account, each) for each in reading.account_ids_of(session, [campaign.id])[campaign.id]]


def test_a_test_is_under_way_at_once_with_the_content_and_no_hours_or_delay(
    session: Session, campaign: Campaign
) -> None:
    sent = _send(session, campaign, variables={"n": "7"})
    test = sent.campaign
    assert (test.kind, test.parent_id, test.status) == ("test", campaign.id, "running")
    assert (test.content, test.pacing, test.working_hours) == (campaign.content, {"message_delay_s": 0}, None)
    assert sent.account_id == _accounts(session, campaign)[0].id
    assert reading.account_ids_of(session, [test.id])[test.id] == [sent.account_id]
    assert (sent.message.phone, sent.message.status) == (TESTER, "pending")
    assert sent.message.variables == {"name": "Tess", "n": "7"}
    assert campaign.status == "draft"
    audited = session.execute(text("SELECT action, subject_id FROM audit_log ORDER BY id")).all()
    assert [tuple(row) for row in audited] == [
        ("campaign.created", str(campaign.id)),
        ("campaign.tested", str(campaign.id)),
    ]


def test_the_campaigns_audience_gets_nothing_of_a_test(session: Session, campaign: Campaign) -> None:
    _send(session, campaign)
    assert session.scalars(text("SELECT phone FROM messages")).all() == [TESTER]


def test_tests_are_no_campaigns(session: Session, campaign: Campaign) -> None:
    test_id = _send(session, campaign).campaign.id
    assert [each.id for each in reading.of_company(session, campaign.company_id)] == [campaign.id]
    assert reading.some_of_company(session, campaign.company_id, [test_id]) == []
    with pytest.raises(NotFound):
        reading.get(session, campaign.company_id, test_id)


def test_the_tests_of_a_campaign_are_listed_newest_first(session: Session, campaign: Campaign) -> None:
    sent = [_send(session, campaign).campaign.id for _ in range(3)]
    listed = test_sends.of_campaign(session, campaign, limit=2)
    assert [each.campaign.id for each in listed] == [sent[2], sent[1]]
    older = test_sends.of_campaign(session, campaign, before_id=sent[1])
    assert [each.campaign.id for each in older] == [sent[0]]
    other = factories.campaign(session, factories.user(session, factories.company(session)))
    assert test_sends.of_campaign(session, other) == []


def test_the_first_active_account_sends_unless_another_is_named(session: Session, campaign: Campaign) -> None:
    first, second = _accounts(session, campaign)
    assert _send(session, campaign, account_id=second.id).account_id == second.id
    first.status, first.status_reason = "deactivated", "190: token expired"
    session.flush()
    assert _send(session, campaign).account_id == second.id
    stranger = factories.account(session, factories.company(session))
    colleague = factories.account(session, factories.user(session, factories.company(session)).company)
    for other in (first, stranger, colleague):
        with pytest.raises(InvalidInput) as caught:
            _send(session, campaign, account_id=other.id)
        assert list(caught.value.errors) == ["account_id"]
    second.status = "deactivated"
    session.flush()
    with pytest.raises(InvalidInput, match="token expired") as caught:
        _send(session, campaign)
    assert caught.value.code == "no_active_account"


@pytest.mark.parametrize("kind", ["opted_out", "blocked", "held"])
def test_a_number_that_may_not_be_written_to_gets_no_test_either(
    session: Session, campaign: Campaign, kind: str
) -> None:
    session.execute(
        text(
            "INSERT INTO opt_outs (company_id, phone_key, kind, source, opted_out_at)"
            " VALUES (:company, :key, :kind, 'api', now())"
        ),
        {"company": campaign.company_id, "key": numbered.phone_key(900), "kind": kind},
    )
    with pytest.raises(InvalidInput) as caught:
        _send(session, campaign)
    assert (list(caught.value.errors), caught.value.code) == (["phone"], "recipient_opted_out")
    assert session.query(CampaignRecipient).count() == 0


@pytest.mark.parametrize(
    ("values", "field"),
    [({"phone": "nobody"}, "phone"), ({"name": None}, "name"), ({"name": "  "}, "name")],
)
def test_what_could_not_be_written_is_refused_before_it_fails(
    session: Session, campaign: Campaign, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        _send(session, campaign, **values)
    assert list(caught.value.errors) == [field]


def test_variables_that_are_not_given_come_from_the_contact(session: Session, campaign: Campaign) -> None:
    campaign.content = {"type": "text", "text": "{{name}} {{n}}"}
    assert _send(session, campaign, phone=numbered.phone(1), name=None).message.status == "pending"
    with pytest.raises(InvalidInput) as caught:
        _send(session, campaign)
    assert list(caught.value.errors) == ["variables"]


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed"])
def test_a_campaign_that_is_over_is_not_tested(session: Session, campaign: Campaign, status: str) -> None:
    campaign.status = status
    session.flush()
    with pytest.raises(TransitionNotAllowed) as caught:
        _send(session, campaign)
    assert caught.value.code == f"campaign_{status}"


@pytest.mark.parametrize("end", [lifecycle.cancel, drafts.delete_draft])
def test_tests_that_wait_end_with_their_campaign_and_others_stay(
    session: Session, campaign: Campaign, end: Callable[..., None]
) -> None:
    waiting, paused, done, other = (_send(session, campaign).campaign for _ in range(4))
    paused.status, paused.status_code, paused.status_reason = "paused", "no_account", "none of its accounts is active"
    done.status, done.finished_at = "completed", NOW
    other.parent_id = _draft_like(session, campaign).id
    occurrence = _draft_like(session, campaign, parent_id=campaign.id)
    session.flush()
    end(session, campaign, now=LATER)
    for each in (waiting, paused, done, other, occurrence):
        session.refresh(each)
    assert [each.status for each in (waiting, paused)] == ["cancelled"] * 2
    assert [(each.finished_at, each.status_code, each.status_reason) for each in (waiting, paused)] == [
        (LATER, None, None)
    ] * 2
    assert (done.status, done.finished_at) == ("completed", NOW)
    assert (other.status, occurrence.status) == ("running", "draft")


def _draft_like(session: Session, campaign: Campaign, **columns: Any) -> Campaign:
    """Return another draft of the same owner."""
    made = factories.campaign(session, session.get_one(User, campaign.owner_id))
    for name, value in columns.items():
        setattr(made, name, value)
    session.flush()
    return made


def test_a_test_that_is_asked_for_while_its_draft_is_deleted_ends_with_it(
    session: Session, campaign: Campaign, other_session: Callable[[], Session]
) -> None:
    session.commit()
    deleting = other_session()
    test_id = _send(session, campaign).campaign.id  # not committed yet

    def delete() -> None:
        drafts.delete_draft(deleting, deleting.get_one(Campaign, campaign.id), now=LATER)
        deleting.commit()

    thread = threading.Thread(target=delete)
    thread.start()
    wait_for(lambda: _waits_for_a_lock(session))
    session.commit()
    thread.join(60)
    test = session.get_one(Campaign, test_id, populate_existing=True)
    assert (test.status, test.parent_id) == ("cancelled", None)


def _waits_for_a_lock(session: Session) -> bool:
    return bool(session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
