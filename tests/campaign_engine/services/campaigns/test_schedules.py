"""What becomes of a scheduled campaign when its time has come: started, held with the reason, or missed."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.models import Campaign, Company, Template
from campaign_engine.models.template import UNSENDABLE
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services.campaigns import lifecycle, schedules, series
from campaign_engine.services.company import notifications
from tests import factories
from tests.campaign_engine import cloned, numbered
from tests.campaign_engine.numbered import NOW

CONFIG = factories.config(database_url="postgresql://nowhere/x", redis_url="redis://nowhere/0", START_LATE_S="600")
AT = NOW + timedelta(hours=2)
"""11:00 in São Paulo."""


database_url = cloned.database_url


def _scheduled(session: Session, **values: Any) -> Campaign:
    owner = factories.user(session, factories.company(session))
    number = numbered.account(session, owner.company)
    members = numbered.people(session, owner.company, count=3)
    return numbered.draft(session, owner, accounts=[number], lists=[members], **{"scheduled_at": AT, **values})


def _look(session: Session, campaign: Campaign, *, at: datetime) -> bool:
    started = schedules.start_due(session, campaign.id, config=CONFIG, now=at)
    session.refresh(campaign)
    return started


def _notified(session: Session, campaign: Campaign) -> list[tuple[str, str]]:
    return [(each.kind, each.text) for each in notifications.of_company(session, campaign.company_id)]


def test_a_campaign_is_due_at_its_time_and_not_before(session: Session) -> None:
    campaign = _scheduled(session)
    assert campaign.status == CampaignStatus.SCHEDULED
    assert schedules.due(session, now=AT - timedelta(microseconds=1)) == []
    assert schedules.due(session, now=AT) == [campaign.id]
    assert schedules.due(session, now=AT + timedelta(days=3)) == [campaign.id]
    assert schedules.due_within(session, now=NOW, until=AT) == [(campaign.id, AT)]
    assert not _look(session, campaign, at=AT - timedelta(microseconds=1))
    assert campaign.status == CampaignStatus.SCHEDULED
    assert _look(session, campaign, at=AT)
    assert campaign.status == CampaignStatus.PREPARING
    assert not _look(session, campaign, at=AT), "it starts once"


@pytest.mark.parametrize(
    ("own", "companys", "patience_s"),
    [(None, None, 600), (None, 900, 900), (1200, 900, 1200), (0, 900, 60)],
)
def test_a_late_start_is_made_up_for_within_the_nearest_patience(
    session: Session, own: float | None, companys: float | None, patience_s: int
) -> None:
    campaign = _scheduled(session, start_late_s=own)
    company = session.get_one(Company, campaign.company_id)
    company.settings = {"start_late_s": companys} if companys is not None else {}
    patience = timedelta(seconds=patience_s)
    assert schedules.patience_of(campaign, company, CONFIG) == patience
    savepoint = session.begin_nested()
    assert not _look(session, campaign, at=AT + patience + timedelta(microseconds=1))
    assert (campaign.status, campaign.status_code) == (CampaignStatus.DRAFT, "missed_start")
    savepoint.rollback()
    session.refresh(campaign)
    assert _look(session, campaign, at=AT + patience)


def test_a_missed_start_says_so_once_and_waits_for_a_person(session: Session) -> None:
    campaign = _scheduled(session, name="Spring")
    for _ in range(2):  # the start job and the verification may both find it
        assert not _look(session, campaign, at=AT + timedelta(days=1))
    assert campaign.status == CampaignStatus.DRAFT
    assert campaign.status_reason == "its start at 2026-11-20 11:00 (America/Sao_Paulo) was missed"
    assert _notified(session, campaign) == [
        (
            "campaign_start_missed",
            "The campaign Spring was not started: its start at 2026-11-20 11:00 (America/Sao_Paulo) was missed."
            " Start it now or schedule it anew.",
        )
    ]
    assert schedules.due(session, now=AT + timedelta(days=1)) == []


def test_a_missed_campaign_can_be_scheduled_anew_or_started(session: Session) -> None:
    late = AT + timedelta(days=1)
    again, at_once = _scheduled(session), _scheduled(session)
    for campaign in (again, at_once):
        _look(session, campaign, at=late)
    lifecycle.schedule(session, again, at=late, now=late)
    assert (again.status, again.status_code, again.status_reason) == (CampaignStatus.SCHEDULED, None, None)
    lifecycle.start(session, at_once, now=late)
    assert (at_once.status, at_once.status_code, at_once.status_reason) == (CampaignStatus.PREPARING, None, None)


def test_a_missed_occurrence_does_not_end_its_series(session: Session) -> None:
    campaign = _scheduled(session, recurrence={"every": "day", "time": "11:00"})
    # Three days of darkness, until five minutes after the start of the fourth occurrence.
    late = AT + timedelta(days=3, minutes=5)
    for _ in range(2):
        assert not _look(session, campaign, at=late)
    assert (campaign.status, campaign.status_code, campaign.recurrence) == ("draft", "missed_start", None)
    [head] = session.query(Campaign).filter_by(parent_id=campaign.id).all()
    assert (head.status, head.occurrence, head.scheduled_at) == ("scheduled", 2, AT + timedelta(days=3))
    assert series.next_starts_of(session, [campaign]) == {campaign.id: head.scheduled_at}
    [(_, written)] = _notified(session, campaign)
    assert written.endswith("Start it now or schedule it anew. Its series goes on.")
    assert _look(session, head, at=late), "the one that is not too late starts"
    # Made up for by hand, the missed one writes no second series.
    lifecycle.start(session, campaign, now=late)
    assert session.scalar(text("SELECT count(*) FROM campaigns")) == 3


@pytest.mark.parametrize(
    ("trouble", "cure", "code", "words"),
    [
        (
            "UPDATE accounts SET status = 'deactivated', status_reason = 'token expired'",
            "UPDATE accounts SET status = 'active'",
            "no_active_account",
            "token expired",
        ),
        (
            "UPDATE contact_list_members SET list_id = (SELECT max(id) FROM contact_lists)",
            "UPDATE contact_list_members SET list_id = (SELECT min(id) FROM contact_lists)",
            "no_recipients",
            "Nobody would get this campaign",
        ),
    ],
)
def test_a_campaign_that_cannot_start_when_due_says_why_once_and_starts_as_soon_as_it_can(
    session: Session, trouble: str, cure: str, code: str, words: str
) -> None:
    campaign = _scheduled(session)
    factories.contact_list(session, session.get_one(Company, campaign.company_id))
    session.execute(text(trouble))
    for seconds in (0, 20, 40):
        assert not _look(session, campaign, at=AT + timedelta(seconds=seconds))
    assert (campaign.status, campaign.status_code) == (CampaignStatus.SCHEDULED, code)
    assert campaign.status_reason is not None
    assert words in campaign.status_reason
    [(kind, written)] = _notified(session, campaign)
    assert kind == "campaign_start_held"
    assert words in written
    session.execute(text(cure))
    assert _look(session, campaign, at=AT + timedelta(seconds=60))
    assert (campaign.status, campaign.status_code, campaign.status_reason) == ("preparing", None, None)


def test_a_campaign_that_could_not_start_in_time_is_missed_with_the_reason(session: Session) -> None:
    campaign = _scheduled(session)
    session.execute(text("UPDATE accounts SET status = 'deactivated', status_reason = 'token expired'"))
    _look(session, campaign, at=AT)
    _look(session, campaign, at=AT + timedelta(seconds=601))
    assert (campaign.status, campaign.status_code) == (CampaignStatus.DRAFT, "missed_start")
    assert campaign.status_reason is not None
    assert campaign.status_reason.startswith(
        "its start at 2026-11-20 11:00 (America/Sao_Paulo) was missed: None of its"
    )
    assert "token expired" in campaign.status_reason
    assert [kind for kind, _ in _notified(session, campaign)] == ["campaign_start_missed", "campaign_start_held"]


def test_a_campaign_that_is_being_moved_is_neither_started_nor_missed(
    session: Session, other_session: Callable[[], Session]
) -> None:
    campaign = _scheduled(session)
    session.commit()
    lifecycle.schedule(session, campaign, at=AT + timedelta(days=7), now=NOW)  # not committed yet
    outcome: list[bool] = []
    looking = threading.Event()

    def look(own: Session) -> None:
        looking.set()
        outcome.append(schedules.start_due(own, campaign.id, config=CONFIG, now=AT + timedelta(days=1)))
        own.commit()

    thread = threading.Thread(target=look, args=(other_session(),))
    thread.start()
    looking.wait()
    thread.join(0.2)  # it waits for the change
    session.commit()
    thread.join()
    session.refresh(campaign)
    assert outcome == [False]
    assert (campaign.status, campaign.status_code) == (CampaignStatus.SCHEDULED, None)


@pytest.mark.parametrize("status", sorted(UNSENDABLE))
def test_a_campaign_whose_template_is_stopped_is_held_until_it_is_restored(session: Session, status: str) -> None:
    campaign = _scheduled(session, content={"type": "template", "name": "sale", "language": "en", "components": []})
    template = Template(company_id=campaign.company_id, name="sale", language="en", status=status)
    session.add(template)
    assert not _look(session, campaign, at=AT)
    assert (campaign.status, campaign.status_code) == (CampaignStatus.SCHEDULED, "template_paused")
    assert f"sale (en) is {status.lower()}" in (campaign.status_reason or "")
    template.status = "unknown"
    assert _look(session, campaign, at=AT)
