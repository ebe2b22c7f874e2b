"""The life of a campaign: every transition is a compare-and-set."""

import threading
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.errors import InvalidInput, NotFound, TransitionNotAllowed
from campaign_engine.models import Campaign
from campaign_engine.rules.states import CAMPAIGN_TRANSITIONS, CampaignStatus
from campaign_engine.services import accounts, campaigns, contacts, drafts
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
@pytest.mark.parametrize(
    ("verb", "action"), [("pause", campaigns.pause), ("resume", partial(campaigns.resume, now=NOW))]
)
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
    ends = {CampaignStatus.CANCELLED, CampaignStatus.FAILED}
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
        drafts.create(
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
