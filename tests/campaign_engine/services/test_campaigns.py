"""The life of a campaign: every transition is a compare-and-set."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.errors import InvalidInput, NotFound, TransitionNotAllowed
from campaign_engine.models import Campaign
from campaign_engine.rules.states import CAMPAIGN_TRANSITIONS, CampaignStatus
from campaign_engine.services import accounts, campaigns, contacts, preparing, progress
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.numbered import NOW


def _draft(session: Session, **values: object) -> Campaign:
    owner = factories.user(session, factories.company(session))
    number = numbered.account(session, owner.company)
    members = numbered.people(session, owner.company, count=3)
    return numbered.draft(session, owner, accounts=[number], lists=[members], **values)  # type: ignore[arg-type]


def test_two_starts_at_once_start_once(session: Session, other_session: Callable[[], Session]) -> None:
    campaign_id = _draft(session).id
    session.commit()
    results: list[str] = []
    barrier = threading.Barrier(2)

    def start(own: Session) -> None:
        campaign = own.get_one(Campaign, campaign_id)
        barrier.wait()
        try:
            campaigns.start(own, campaign, now=NOW)
            own.commit()
            results.append("started")
        except TransitionNotAllowed as error:
            own.rollback()
            results.append(error.code)

    threads = [threading.Thread(target=start, args=(other_session(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["campaign_preparing", "started"]


@pytest.mark.parametrize("status", CampaignStatus)
@pytest.mark.parametrize(("verb", "action"), [("pause", campaigns.pause), ("resume", campaigns.resume)])
def test_a_verb_is_refused_in_every_state_it_does_not_start_from(
    session: Session, verb: str, action: Callable[[Session, Campaign], None], status: CampaignStatus
) -> None:
    campaign = _draft(session)
    campaign.status = status
    session.flush()
    starts_from, leads_to = CAMPAIGN_TRANSITIONS[verb]
    if status in starts_from:
        action(session, campaign)
        assert campaign.status == leads_to
    else:
        with pytest.raises(TransitionNotAllowed):
            action(session, campaign)
        assert campaign.status == status


def test_nothing_leads_out_of_an_end() -> None:
    ends = {CampaignStatus.COMPLETED, CampaignStatus.CANCELLED, CampaignStatus.FAILED}
    assert not any(starts_from & ends for starts_from, _ in CAMPAIGN_TRANSITIONS.values())


def test_a_campaign_nobody_would_get_is_not_started(session: Session) -> None:
    campaign = _draft(session)
    session.execute(text("DELETE FROM contact_list_members"))
    with pytest.raises(InvalidInput) as caught:
        campaigns.start(session, campaign, now=NOW)
    assert list(caught.value.errors) == ["audience"]
    assert caught.value.code == "no_recipients"
    assert campaigns.get(session, campaign.company_id, campaign.id).status == CampaignStatus.DRAFT


def test_a_campaign_without_an_active_account_is_not_started(session: Session) -> None:
    campaign = _draft(session)
    session.execute(text("UPDATE accounts SET status = 'deactivated', status_reason = '190: token expired'"))
    with pytest.raises(InvalidInput, match="token expired") as caught:
        campaigns.start(session, campaign, now=NOW)
    assert list(caught.value.errors) == ["account_ids"]


def test_a_faulty_draft_names_every_field_and_leaves_nothing(session: Session) -> None:
    owner = factories.user(session, factories.company(session))
    with pytest.raises(InvalidInput) as caught:
        campaigns.create(
            session,
            company_id=owner.company_id,
            owner_id=owner.id,
            values={
                "name": "x",
                "account_ids": [999],
                "audience": {"list_ids": [998], "recipients": [{"phone": "+5511987654321"}, {"phone": "nobody"}]},
                "content": {"type": "text", "text": "Hi {{name"},
            },
            default_region="BR",
            default_timezone="UTC",
            now=NOW,
        )
    assert set(caught.value.errors) == {
        "account_ids",
        "audience.list_ids",
        "audience.recipients.1.phone",
        "content.text",
    }
    assert session.scalar(text("SELECT count(*) FROM campaigns")) == 0


def test_an_unknown_variable_is_named_with_the_known_ones(session: Session) -> None:
    with pytest.raises(InvalidInput) as caught:
        _draft(session, text="Hello {{nmae}}")
    assert list(caught.value.errors) == ["content.text"]
    assert "nmae" in caught.value.detail
    assert "name" in caught.value.detail


def test_another_companys_things_look_like_none(session: Session) -> None:
    campaign = _draft(session)
    stranger = factories.user(session, factories.company(session))
    for look_up in (
        lambda: campaigns.get(session, stranger.company_id, campaign.id),
        lambda: contacts.get_list(session, stranger.company_id, campaign.audience["list_ids"][0]),
        lambda: accounts.get(
            session, stranger.company_id, campaigns.account_ids_of(session, [campaign.id])[campaign.id][0]
        ),
    ):
        with pytest.raises(NotFound):
            look_up()
    foreign_account = campaigns.account_ids_of(session, [campaign.id])[campaign.id]
    with pytest.raises(InvalidInput) as caught:
        campaigns.create(
            session,
            company_id=stranger.company_id,
            owner_id=stranger.id,
            values={
                "name": "x",
                "account_ids": foreign_account,
                "audience": campaign.audience,
                "content": {"type": "text", "text": "Hi"},
            },
            default_region="BR",
            default_timezone="UTC",
            now=NOW,
        )
    assert set(caught.value.errors) == {"account_ids", "audience.list_ids"}


def test_a_scheduled_campaign_is_due_at_its_time_and_not_before(session: Session) -> None:
    at = NOW + timedelta(hours=2)
    campaign = _draft(session, scheduled_at=at)
    assert campaign.status == CampaignStatus.SCHEDULED
    assert preparing.due(session, now=at - timedelta(microseconds=1)) == []
    assert preparing.due(session, now=at) == [campaign.id]
    assert preparing.due(session, now=at + timedelta(days=3)) == [campaign.id]
    assert preparing.due_within(session, now=NOW, until=at) == [(campaign.id, at)]


def test_preparing_twice_writes_each_recipient_once(session: Session) -> None:
    campaign = _draft(session)
    campaigns.start(session, campaign, now=NOW)
    preparing.prepare_chunk(session, campaign.id, now=NOW, chunk=2)
    session.execute(text("UPDATE campaigns SET prepared_through = 0"))  # as if the chunk's end had been lost
    while preparing.prepare_chunk(session, campaign.id, now=NOW, chunk=2):
        pass
    session.refresh(campaign)
    assert campaign.prepared_at == NOW
    assert (campaign.total_count, campaign.pending_count) == (3, 3)
    assert session.scalar(text("SELECT count(*) FROM messages")) == 3
    assert progress.miscounted(session) == []


def test_sending_may_start_with_the_first_chunk(session: Session) -> None:
    campaign = _draft(session)
    campaigns.start(session, campaign, now=NOW)
    preparing.prepare_chunk(session, campaign.id, now=NOW, chunk=2)
    session.refresh(campaign)
    assert (campaign.status, campaign.prepared_at, campaign.total_count) == (CampaignStatus.RUNNING, None, 2)
    session.execute(text("UPDATE messages SET status = 'sent'"))
    assert campaigns.complete_finished(session, None, now=NOW) == []


def test_who_opted_out_or_is_excluded_is_left_out_with_the_reason(session: Session) -> None:
    owner = factories.user(session, factories.company(session))
    number = numbered.account(session, owner.company)
    everyone = numbered.people(session, owner.company, count=5)
    staff = numbered.people(session, owner.company, count=1, first=4)
    session.execute(
        text("INSERT INTO opt_outs VALUES (:company, :key, 'test', now())"),
        {"company": owner.company_id, "key": numbered.phone_key(2)},
    )
    campaign = numbered.draft(
        session,
        owner,
        accounts=[number],
        audience={
            "list_ids": [everyone.id],
            "exclude_list_ids": [staff.id],
            # The same person as contact 3, spelt without the ninth digit: one message, with the inline values.
            "recipients": [{"phone": "+551190000003", "name": "Inline", "variables": {"n": "x"}}],
        },
    )
    campaigns.start(session, campaign, now=NOW)
    preparing.prepare_chunk(session, campaign.id, now=NOW)
    rows = session.execute(text("SELECT phone, status, status_reason, variables FROM messages ORDER BY position")).all()
    assert [tuple(row[:3]) for row in rows] == [
        ("+551190000003", "pending", None),
        (numbered.phone(0), "pending", None),
        (numbered.phone(1), "pending", None),
        (numbered.phone(2), "skipped", "opted_out"),
        (numbered.phone(4), "skipped", "excluded"),
    ]
    assert rows[0].variables == {"name": "Inline", "n": "x"}


def test_contacts_imported_after_the_start_are_not_of_the_audience(session: Session) -> None:
    campaign = _draft(session)
    campaigns.start(session, campaign, now=NOW)
    late = factories.contact(session, factories.company(session))
    owner_list = contacts.get_list(session, campaign.company_id, campaign.audience["list_ids"][0])
    latecomer = contacts.create(
        session, company_id=campaign.company_id, values={"phone": numbered.phone(50)}, default_region="BR"
    )
    contacts.add_to_list(session, owner_list, [latecomer.id, late.id])
    preparing.prepare_chunk(session, campaign.id, now=NOW)
    session.refresh(campaign)
    assert campaign.total_count == 3


def test_a_change_of_text_reaches_unsent_rows_and_the_audience_stays(session: Session) -> None:
    campaign = _draft(session)
    campaigns.start(session, campaign, now=NOW)
    campaigns.update(session, campaign, values={"content": {"type": "text", "text": "New {{n}}"}}, default_region="BR")
    assert campaign.content["text"] == "New {{n}}"
    with pytest.raises(InvalidInput) as caught:
        campaigns.update(session, campaign, values={"audience": {"tags": ["x"]}}, default_region="BR")
    assert list(caught.value.errors) == ["audience"]


def test_only_what_never_started_can_be_deleted(session: Session) -> None:
    campaign = _draft(session)
    running = _draft(session)
    campaigns.start(session, running, now=NOW)
    campaigns.delete_draft(session, campaign)
    with pytest.raises(TransitionNotAllowed):
        campaigns.delete_draft(session, running)
    assert session.scalars(text("SELECT id FROM campaigns")).all() == [running.id]
