"""The life of a campaign: every transition is a compare-and-set."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from campaign_engine.errors import InvalidInput, NotFound, OutsideHours, TransitionNotAllowed
from campaign_engine.models import Campaign
from campaign_engine.rules.states import CAMPAIGN_TRANSITIONS, CampaignStatus
from campaign_engine.services.accounts import accounts
from campaign_engine.services.campaigns import drafts, lifecycle, reading
from campaign_engine.services.people import contacts
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
            lifecycle.start(own, campaign, now=NOW)
            own.commit()
            results.append("started")
        except TransitionNotAllowed as error:
            own.rollback()
            results.append(error.code)

    threads = [threading.Thread(target=copy_context().run, args=(start, other_session())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["campaign_preparing", "started"]


def test_the_log_tells_of_start_pause_and_end(session: Session) -> None:
    campaign = _draft(session)
    with capture_logs() as logged:
        numbered.started(session, campaign)
        lifecycle.interrupt(session, campaign, reason="because", code="operator")
        lifecycle.resume(session, campaign, now=NOW)
        session.execute(text("UPDATE messages SET status = 'failed'"))
        lifecycle.complete_finished(session, [campaign.id], now=NOW)
    told = [line for line in logged if line["event"].startswith("campaign.")]
    assert {line["campaign_id"] for line in told} == {campaign.id}
    assert [line["event"] for line in told] == [
        f"campaign.{verb}" for verb in ("started", "paused", "resumed", "finished")
    ]
    assert told[1]["reason"] == "because"
    assert (told[3]["total"], told[3]["failed"]) == (3, 3)


@pytest.mark.parametrize("status", CampaignStatus)
@pytest.mark.parametrize(
    ("verb", "action"), [("pause", lifecycle.pause), ("resume", partial(lifecycle.resume, now=NOW))]
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


def _stopping(zone: str | None, *, start: str = "10:00", at_close: str = "stop", **more: Any) -> dict[str, Any]:
    window = {"days": ["mon", "tue", "wed", "thu", "fri"], "start": start, "end": "18:00"}
    return {"windows": [window], "at_close": at_close, **({"timezone": zone} if zone else {}), **more}


def _paused(session: Session, working_hours: dict[str, Any], *, begun: bool = True) -> Campaign:
    """Return a paused campaign of a company in São Paulo, where it is nine o'clock on a Friday."""
    campaign = numbered.started(session, _draft(session, working_hours=working_hours, timezone="America/Manaus"))
    lifecycle.interrupt(session, campaign, reason="over", code="closing_time")
    campaign.funnel_sent_count = int(begun)
    session.flush()
    return campaign


@pytest.mark.parametrize(
    ("working_hours", "said"),
    [
        (_stopping("company"), "they open at 2026-11-20 10:00 (America/Sao_Paulo)."),
        (_stopping(None), "they open at 2026-11-20 10:00 (America/Manaus)."),
        (_stopping("Asia/Tokyo"), "they open at 2026-11-23 10:00 (Asia/Tokyo)."),
        (_stopping("UTC", holidays=["2026-11-20"]), "they open at 2026-11-23 10:00 (UTC)."),
    ],
)
def test_what_stops_at_closing_time_is_not_resumed_while_its_hours_are_over(
    session: Session, working_hours: dict[str, Any], said: str
) -> None:
    campaign = _paused(session, working_hours)
    with pytest.raises(OutsideHours) as caught:
        lifecycle.resume(session, campaign, now=NOW)
    assert caught.value.detail == f"This campaign stops outside its working hours; {said}"
    assert caught.value.code == "outside_hours"
    assert caught.value.opens_at is not None
    found = reading.get(session, campaign.company_id, campaign.id)
    assert (found.status, found.status_code, found.status_reason) == ("paused", "closing_time", "over")
    lifecycle.resume(session, campaign, now=caught.value.opens_at)
    assert campaign.status == CampaignStatus.RUNNING


def test_hours_that_open_no_more_are_said_to_open_no_more(session: Session) -> None:
    over = {"windows": [{"days": ["fri"], "start": "01:00", "end": "02:00"}], "timezone": "UTC", "at_close": "stop"}
    away = [f"{date:%Y-%m-%d}" for date in (NOW + timedelta(days=7 * week) for week in range(60))]
    campaign = _paused(session, {**over, "holidays": away})
    with pytest.raises(OutsideHours, match="they do not open within a year") as caught:
        lifecycle.resume(session, campaign, now=NOW)
    assert caught.value.opens_at is None


@pytest.mark.parametrize(
    ("working_hours", "begun"),
    [
        (_stopping("UTC"), True),  # open
        (_stopping("company", at_close="resume"), True),  # waits for its hours by itself
        (_stopping("company"), False),  # so does one that has sent nothing yet
    ],
)
def test_what_would_not_be_stopped_at_once_is_resumed(
    session: Session, working_hours: dict[str, Any], begun: bool
) -> None:
    campaign = _paused(session, working_hours, begun=begun)
    lifecycle.resume(session, campaign, now=NOW)
    assert campaign.status == CampaignStatus.RUNNING


def test_a_completed_campaign_does_not_run_again_while_its_hours_are_over(session: Session) -> None:
    campaign = _paused(session, _stopping("company"))
    for status, refused in (("paused", False), ("running", False), ("completed", True)):
        campaign.status = status
        session.flush()
        if refused:
            with pytest.raises(OutsideHours):
                lifecycle.reopen(session, campaign, verb="retry", now=NOW)
        else:
            lifecycle.reopen(session, campaign, verb="retry", now=NOW)
        assert campaign.status == status
    lifecycle.reopen(session, campaign, verb="retry", now=NOW + timedelta(hours=1))
    assert campaign.status == CampaignStatus.RUNNING


def test_nothing_leads_out_of_an_end() -> None:
    ends = {CampaignStatus.CANCELLED, CampaignStatus.FAILED}
    assert not any(starts_from & ends for starts_from, _ in CAMPAIGN_TRANSITIONS.values())


def test_a_campaign_nobody_would_get_is_not_started(session: Session) -> None:
    campaign = _draft(session)
    session.execute(text("DELETE FROM contact_list_members"))
    with pytest.raises(InvalidInput) as caught:
        lifecycle.start(session, campaign, now=NOW)
    assert list(caught.value.errors) == ["audience"]
    assert caught.value.code == "no_recipients"
    assert reading.get(session, campaign.company_id, campaign.id).status == CampaignStatus.DRAFT


def test_a_campaign_without_an_active_account_is_not_started(session: Session) -> None:
    campaign = _draft(session)
    session.execute(text("UPDATE accounts SET status = 'deactivated', status_reason = '190: token expired'"))
    with pytest.raises(InvalidInput, match="token expired") as caught:
        lifecycle.start(session, campaign, now=NOW)
    assert list(caught.value.errors) == ["account_ids"]


def test_another_companys_things_look_like_none(session: Session) -> None:
    campaign = _draft(session)
    stranger = factories.user(session, factories.company(session))
    for look_up in (
        lambda: reading.get(session, stranger.company_id, campaign.id),
        lambda: contacts.get_list(session, stranger.company_id, campaign.audience["list_ids"][0]),
        lambda: accounts.get(
            session, stranger.company_id, reading.account_ids_of(session, [campaign.id])[campaign.id][0]
        ),
    ):
        with pytest.raises(NotFound):
            look_up()
    foreign_account = reading.account_ids_of(session, [campaign.id])[campaign.id]
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
