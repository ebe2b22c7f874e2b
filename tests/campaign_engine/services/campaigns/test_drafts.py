"""Drafts: every value is checked before it is stored."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.errors import InvalidInput, NotFound, TransitionNotAllowed
from campaign_engine.models import Campaign
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services.campaigns import drafts, lifecycle, reading
from tests import factories
from tests.campaign_engine import cloned, numbered
from tests.campaign_engine.numbered import NOW

database_url = cloned.database_url


def _draft(session: Session, *, senders: int = 1, **values: Any) -> Campaign:
    owner = factories.user(session, factories.company(session))
    numbers = [numbered.account(session, owner.company) for _ in range(senders)]
    members = numbered.people(session, owner.company, count=3)
    return numbered.draft(session, owner, accounts=numbers, lists=[members], **values)


def _update(session: Session, campaign: Campaign, **values: Any) -> None:
    drafts.update(session, campaign, values=values, default_region="BR", now=NOW)
    session.refresh(campaign)


def _weights(session: Session, campaign: Campaign) -> dict[int, int | None]:
    return reading.weights_of(session, [campaign.id])[campaign.id]


def test_a_faulty_draft_names_every_field_and_leaves_nothing(session: Session) -> None:
    owner = factories.user(session, factories.company(session))
    with pytest.raises(InvalidInput) as caught:
        drafts.create(
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


def test_a_change_of_text_reaches_unsent_rows_and_the_audience_stays(session: Session) -> None:
    campaign = _draft(session)
    lifecycle.start(session, campaign, now=NOW)
    drafts.update(
        session, campaign, values={"content": {"type": "text", "text": "New {{n}}"}}, default_region="BR", now=NOW
    )
    assert campaign.content["text"] == "New {{n}}"
    with pytest.raises(InvalidInput) as caught:
        drafts.update(session, campaign, values={"audience": {"tags": ["x"]}}, default_region="BR", now=NOW)
    assert list(caught.value.errors) == ["audience"]


def test_only_what_never_started_can_be_deleted(session: Session) -> None:
    campaign = _draft(session)
    running = _draft(session)
    lifecycle.start(session, running, now=NOW)
    drafts.delete_draft(session, campaign, now=NOW)
    with pytest.raises(TransitionNotAllowed):
        drafts.delete_draft(session, running, now=NOW)
    assert session.scalars(text("SELECT id FROM campaigns")).all() == [running.id]
    with pytest.raises(NotFound):
        drafts.delete_draft(session, campaign, now=NOW)


def test_what_was_deleted_meanwhile_is_not_found(session: Session, other_session: Callable[[], Session]) -> None:
    campaign = _draft(session)
    session.commit()
    elsewhere = other_session()
    seen = elsewhere.get_one(Campaign, campaign.id)
    drafts.delete_draft(session, campaign, now=NOW)
    session.commit()
    with pytest.raises(NotFound):
        _update(elsewhere, seen, name="Summer")


def test_weights_name_accounts_of_the_campaign_and_the_others_get_one(session: Session) -> None:
    campaign = _draft(session, senders=3)
    first, second, third = _weights(session, campaign)
    assert set(_weights(session, campaign).values()) == {None}
    _update(session, campaign, rotation={"sticky": True, "weights": {str(first): 5}})
    assert (campaign.sticky, _weights(session, campaign)) == (True, {first: 5, second: 1, third: 1})
    # Other accounts: those that stay keep their weight.
    _update(session, campaign, account_ids=[first, third])
    assert (campaign.sticky, _weights(session, campaign)) == (True, {first: 5, third: 1})
    with pytest.raises(InvalidInput) as caught:
        _update(session, campaign, rotation={"weights": {str(second): 5}})
    assert list(caught.value.errors) == ["rotation.weights"]
    assert str(second) in caught.value.detail
    _update(session, campaign, rotation={})
    assert (campaign.sticky, set(_weights(session, campaign).values())) == (False, {None})


@pytest.mark.parametrize("cap", ["1/day", "2/7 days", "none", None])
def test_a_frequency_cap_is_a_count_a_period_or_none(session: Session, cap: str | None) -> None:
    campaign = _draft(session, frequency_cap="3/day")
    _update(session, campaign, frequency_cap=cap)
    assert campaign.frequency_cap == cap


@pytest.mark.parametrize("cap", ["often", "0/day", "1/91 days", ""])
def test_a_frequency_cap_that_cannot_be_read_or_kept_is_refused(session: Session, cap: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        _draft(session, frequency_cap=cap)
    assert list(caught.value.errors) == ["frequency_cap"]


def test_hours_may_be_those_of_the_company_or_of_each_recipient(session: Session) -> None:
    window = {"days": ["mon"], "start": "09:00", "end": "18:00"}
    campaign = _draft(session, working_hours={"windows": [window], "timezone": "company"})
    _update(session, campaign, working_hours={"windows": [window], "timezone": "recipient"})
    with pytest.raises(InvalidInput) as caught:
        _update(session, campaign, working_hours={"windows": [window], "timezone": "nowhere"})
    assert list(caught.value.errors) == ["working_hours.timezone"]


def test_what_was_decided_at_the_start_says_why_it_cannot_change(session: Session) -> None:
    campaign = _draft(session)
    lifecycle.start(session, campaign, now=NOW)
    hours = {"windows": [{"days": ["mon"], "start": "09:00", "end": "18:00"}]}
    _update(session, campaign, frequency_cap="1/day", pacing={"message_delay_s": 2}, working_hours=hours)
    assert (campaign.frequency_cap, campaign.pacing, campaign.working_hours) == ("1/day", {"message_delay_s": 2}, hours)
    changes: dict[str, Any] = {
        "rotation": {"sticky": True},
        "recurrence": {"every": "day", "time": "09:00"},
        "scheduled_at": NOW + timedelta(days=1),
        "start_late_s": 5,
        "timezone": "UTC",
    }
    with pytest.raises(InvalidInput) as caught:
        _update(session, campaign, **changes)
    assert set(caught.value.errors) == set(changes)
    assert caught.value.errors["rotation"] == [
        "Its messages are dealt out to its accounts already; cancel and make a new campaign."
    ]
    assert not reading.get(session, campaign.company_id, campaign.id).sticky


def test_a_start_in_the_past_is_refused_whoever_asks(session: Session) -> None:
    a_moment_ago = _draft(session, scheduled_at=NOW - lifecycle.START_TOLERANCE)
    assert a_moment_ago.status == CampaignStatus.SCHEDULED
    for refused in (
        lambda: _draft(session, scheduled_at=NOW - lifecycle.START_TOLERANCE - timedelta(seconds=1)),
        lambda: _update(session, a_moment_ago, scheduled_at=NOW - timedelta(days=365)),
    ):
        with pytest.raises(InvalidInput) as caught:
            refused()
        assert list(caught.value.errors) == ["scheduled_at"]


def test_other_hours_free_those_who_waited_for_their_recipients_hours(session: Session) -> None:
    campaign = numbered.started(session, _draft(session))
    session.execute(
        text("UPDATE messages SET next_attempt_at = :later, attempts = CAST(position % 2 AS integer)"),
        {"later": NOW + timedelta(hours=5)},
    )
    tried = set(session.scalars(text("SELECT id FROM messages WHERE attempts > 0")))
    _update(session, campaign, name="Other")
    waiting = text("SELECT id FROM messages WHERE next_attempt_at IS NOT NULL")
    assert len(session.scalars(waiting).all()) == 3
    _update(session, campaign, working_hours=None)
    assert set(session.scalars(waiting)) == tried
    assert 0 < len(tried) < 3


TEMPLATE = {"type": "template", "name": "sale", "language": "en", "components": []}
UPLOADED = {"type": "media", "media_type": "image", "id": "4711"}


@pytest.mark.parametrize("content", [TEMPLATE, UPLOADED])
def test_content_that_no_account_of_a_campaign_can_send_is_refused(session: Session, content: dict[str, Any]) -> None:
    owner = factories.user(session, factories.company(session))
    phone = numbered.account(session, owner.company, provider="evolution")
    cloud = numbered.account(session, owner.company)
    members = numbered.people(session, owner.company, count=1)
    with pytest.raises(InvalidInput) as caught:
        numbered.draft(session, owner, accounts=[phone], lists=[members], content=content)
    assert list(caught.value.errors) == ["content"]
    of_phone = numbered.draft(session, owner, accounts=[phone], lists=[members])
    mixed = numbered.draft(session, owner, accounts=[phone, cloud], lists=[members], content=content)
    changes: list[tuple[Campaign, dict[str, Any]]] = [
        (of_phone, {"content": content}),
        (mixed, {"account_ids": [phone.id]}),
    ]
    for campaign, change in changes:
        with pytest.raises(InvalidInput) as caught:
            _update(session, campaign, **change)
        assert list(caught.value.errors) == ["content"]
    _update(session, of_phone, content={"type": "media", "media_type": "image", "link": "https://example.com/a.png"})
    of_phone.content = content
    session.flush()
    with pytest.raises(InvalidInput) as caught:
        lifecycle.start(session, of_phone, now=NOW)
    assert (list(caught.value.errors), caught.value.code) == (["content"], "content_not_supported")
    lifecycle.start(session, mixed, now=NOW)
