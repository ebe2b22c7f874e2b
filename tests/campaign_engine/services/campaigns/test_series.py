"""A recurring campaign: each occurrence hands the series on to the next when it starts."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from campaign_engine.errors import InvalidInput, TransitionNotAllowed
from campaign_engine.models import Campaign
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services.campaigns import drafts, lifecycle, reading, series
from tests import factories
from tests.campaign_engine import cloned, numbered
from tests.campaign_engine.numbered import NOW

DAILY = {"every": "day", "time": "09:00"}  # NOW is 9 o'clock in São Paulo


database_url = cloned.database_url


def nine(day: int) -> datetime:
    """Return nine o'clock in São Paulo, so many days after that of NOW."""
    return datetime(2026, 11, 20, 12, tzinfo=UTC) + timedelta(days=day)


def _recurring(session: Session, *, senders: int = 1, **values: Any) -> Campaign:
    owner = factories.user(session, factories.company(session))
    numbers = [numbered.account(session, owner.company) for _ in range(senders)]
    return numbered.draft(session, owner, accounts=numbers, **{"recurrence": DAILY, **values})


@pytest.fixture
def daily(session: Session) -> Campaign:
    """Return a campaign to one person named in it, every day at nine, from tomorrow on."""
    return _recurring(session, audience={"recipients": [{"phone": numbered.phone(0)}]})


def _next(session: Session, campaign: Campaign) -> Campaign | None:
    root = campaign.parent_id or campaign.id
    query = session.query(Campaign).filter_by(parent_id=root, occurrence=campaign.occurrence + 1)
    return query.populate_existing().one_or_none()


def _started(session: Session, campaign: Campaign, *, now: datetime | None = None) -> Campaign | None:
    lifecycle.start(session, campaign, now=now or campaign.scheduled_at or NOW)
    return _next(session, campaign)


def _update(session: Session, campaign: Campaign, **values: Any) -> None:
    drafts.update(session, campaign, values=values, default_region="BR", now=NOW)
    session.refresh(campaign)


def test_a_start_writes_the_next_occurrence_like_this_one(session: Session) -> None:
    first = _recurring(
        session,
        senders=2,
        name="News",
        audience={"recipients": [{"phone": numbered.phone(at), "name": "P", "variables": {"n": "1"}} for at in (4, 2)]},
        text="Hello {{n}}",
        working_hours={"windows": [{"days": ["mon"], "start": "09:00", "end": "18:00"}]},
        pacing={"message_delay_s": 2},
        frequency_cap="1/day",
        start_late_s=600,
    )
    _update(session, first, rotation={"sticky": True, "weights": {str(min(_weights(session, first))): 3}})
    assert (first.status, first.scheduled_at, first.occurrence) == (CampaignStatus.SCHEDULED, nine(1), 1)
    second = _started(session, first)
    assert second is not None
    assert (second.status, second.scheduled_at, second.occurrence, second.parent_id, second.kind) == (
        CampaignStatus.SCHEDULED,
        nine(2),
        2,
        first.id,
        "campaign",
    )
    for name in (
        "company_id", "owner_id", "name", "audience", "content", "working_hours", "pacing", "timezone", "sticky",
        "frequency_cap", "start_late_s",
    ):  # fmt: skip
        assert getattr(second, name) == getattr(first, name), name
    assert list(_weights(session, first).values()) == [3, 1]
    assert _weights(session, second) == _weights(session, first)
    assert _recipients(session, second) == _recipients(session, first) != []
    third = _started(session, second)
    assert third is not None
    assert (third.scheduled_at, third.occurrence, third.parent_id) == (nine(3), 3, first.id)


def _weights(session: Session, campaign: Campaign) -> dict[int, int | None]:
    return reading.weights_of(session, [campaign.id])[campaign.id]


def _recipients(session: Session, campaign: Campaign) -> list[Any]:
    query = text("SELECT position, phone, name, variables FROM campaign_recipients WHERE campaign_id = :id ORDER BY 1")
    return [tuple(row) for row in session.execute(query, {"id": campaign.id})]


@pytest.mark.parametrize("end", [{"count": 2}, {"until": "2026-11-22"}])
def test_a_series_ends_after_its_count_or_its_last_day(session: Session, daily: Campaign, end: dict[str, Any]) -> None:
    _update(session, daily, recurrence={**DAILY, **end})
    second = _started(session, daily)
    assert second is not None
    assert _started(session, second) is None
    assert second.status == CampaignStatus.PREPARING


@pytest.mark.parametrize(
    "end",
    [
        lambda session, head: lifecycle.cancel(session, head, now=NOW),
        lambda session, head: drafts.delete_draft(session, head, now=NOW),
    ],
)
def test_who_cancels_or_deletes_the_scheduled_occurrence_ends_the_series(
    session: Session, daily: Campaign, end: Callable[[Session, Campaign], None]
) -> None:
    second = _started(session, daily)
    assert second is not None
    end(session, second)
    assert series.next_starts_of(session, [daily]) == {}
    assert session.scalar(text("SELECT count(*) FROM campaigns WHERE status = 'scheduled'")) == 0


def test_a_recurrence_that_is_taken_away_leaves_the_occurrence_that_is_scheduled(
    session: Session, daily: Campaign
) -> None:
    _update(session, daily, recurrence=None)
    assert (daily.status, daily.scheduled_at, daily.recurrence) == (CampaignStatus.SCHEDULED, nine(1), None)
    assert _started(session, daily) is None


def test_what_is_changed_about_the_scheduled_occurrence_holds_for_those_after_it(
    session: Session, daily: Campaign
) -> None:
    second = _started(session, daily)
    assert second is not None
    _update(
        session,
        second,
        content={"type": "text", "text": "Other words"},
        recurrence={"every": "week", "days": ["wed"], "time": "18:00"},
    )
    assert second.scheduled_at == nine(5) + timedelta(hours=9)  # Wednesday
    third = _started(session, second)
    assert third is not None
    assert (third.content["text"], third.scheduled_at) == ("Other words", nine(12) + timedelta(hours=9))
    assert daily.content["text"] != "Other words"
    _update(session, third, timezone="UTC")
    assert third.scheduled_at == datetime(2026, 11, 25, 18, tzinfo=UTC), "18:00 is that of the zone"


@pytest.mark.parametrize(
    ("moved_to", "started_at", "following"),
    [
        (nine(1) - timedelta(hours=3), None, nine(2)),  # not again at its own time
        (nine(1) + timedelta(hours=3), None, nine(2)),
        (nine(4) + timedelta(hours=3), None, nine(5)),  # those it was moved past are over
        (None, NOW + timedelta(minutes=1), nine(2)),  # by hand, before its time: that was tomorrow's
        (None, nine(3) + timedelta(hours=1), nine(4)),
    ],
)
def test_an_occurrence_that_is_moved_or_started_by_hand_comes_once(
    session: Session, daily: Campaign, moved_to: datetime | None, started_at: datetime | None, following: datetime
) -> None:
    if moved_to is not None:
        _update(session, daily, scheduled_at=moved_to)
    second = _started(session, daily, now=started_at)
    assert second is not None
    assert second.scheduled_at == following


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles"])
def test_an_occurrence_that_was_moved_stays_when_the_zone_changes_and_comes_once(
    session: Session, daily: Campaign, zone: str
) -> None:
    moved_to = nine(1) + timedelta(hours=3)  # 7 in Los Angeles, before its own time there
    _update(session, daily, scheduled_at=moved_to)
    _update(session, daily, timezone=zone)
    assert (daily.scheduled_at, daily.timezone) == (moved_to, zone)
    second = _started(session, daily)
    assert second is not None
    assert second.scheduled_at == datetime(2026, 11, 22, 9, tzinfo=ZoneInfo(zone))


def test_a_first_start_may_be_chosen_and_settles_what_the_recurrence_leaves_open(session: Session) -> None:
    wednesday = nine(5) + timedelta(hours=1)
    weekly = _recurring(
        session,
        recurrence={"every": "week", "interval": 2, "time": "09:00"},
        scheduled_at=wednesday,
        audience={"recipients": [{"phone": numbered.phone(0)}]},
    )
    assert weekly.scheduled_at == wednesday
    assert weekly.recurrence is not None
    assert (weekly.recurrence["days"], weekly.recurrence["starts_on"]) == (["wed"], "2026-11-25")
    second = _started(session, weekly)
    assert second is not None
    assert second.scheduled_at == nine(19)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"recurrence": {"every": "day", "time": "9"}}, "recurrence.time"),
        ({"recurrence": {**DAILY, "until": "2026-11-20"}}, "recurrence.until"),  # nine o'clock of NOW is over
        ({"recurrence": {**DAILY, "until": "2026-11-24"}, "scheduled_at": nine(5)}, "recurrence.until"),
    ],
)
def test_a_recurrence_that_cannot_be_used_or_never_comes_is_refused(
    session: Session, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        _recurring(session, audience={"recipients": [{"phone": numbered.phone(0)}]}, **values)
    assert list(caught.value.errors) == [field]


def test_a_series_cannot_be_changed_into_the_past_or_made_two(session: Session, daily: Campaign) -> None:
    second = _started(session, daily)
    assert second is not None
    third = _started(session, second)
    assert third is not None
    with pytest.raises(InvalidInput, match="occurrence 3") as caught:
        _update(session, third, recurrence={**DAILY, "count": 2})
    assert list(caught.value.errors) == ["recurrence.count"]
    # The third is missed, the fourth has the series.
    series.write_next(session, third, after=NOW, now=NOW)
    lifecycle.miss(session, third, reason="late")
    with pytest.raises(InvalidInput, match="later occurrence"):
        _update(session, third, recurrence=DAILY)
    lifecycle.start(session, third, now=NOW)
    assert session.scalar(text("SELECT count(*) FROM campaigns")) == 4


def test_when_a_series_goes_on_is_read_of_any_of_its_occurrences_in_one_statement(
    session: Session, daily: Campaign
) -> None:
    second = _started(session, daily)
    assert second is not None
    third = _started(session, second)
    assert third is not None
    lonely = _recurring(session, recurrence=None, audience={"recipients": [{"phone": numbered.phone(0)}]})
    statements: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *given: statements.append(given[2]))
    found = series.next_starts_of(session, [daily, second, third, lonely])
    assert found == {daily.id: nine(3), second.id: nine(3), third.id: nine(4)}
    assert len(statements) == 1


def test_two_starts_at_once_write_one_next_occurrence(
    session: Session, other_session: Callable[[], Session], daily: Campaign
) -> None:
    session.commit()
    barrier = threading.Barrier(2)

    def start(own: Session) -> None:
        campaign = own.get_one(Campaign, daily.id)
        barrier.wait()
        try:
            lifecycle.start(own, campaign, now=nine(1))
            own.commit()
        except TransitionNotAllowed:
            own.rollback()

    threads = [threading.Thread(target=copy_context().run, args=(start, other_session())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.scalar(text("SELECT count(*) FROM campaigns")) == 2
