"""In which zones the recipients of what is left are: counted where they are few, estimated where they are many."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.models import Campaign, User
from campaign_engine.services.people import recipient_zones
from tests.campaign_engine import numbered

SAO_PAULO, MANAUS = ("America/Sao_Paulo",), ("America/Manaus",)


@pytest.fixture
def campaign(session: Session, owner: User) -> Campaign:
    return draft(session, owner)


def draft(session: Session, owner: User) -> Campaign:
    return numbered.draft(session, owner, accounts=[], audience={"recipients": [{"phone": "+5511900000001"}]})


def write(session: Session, campaign: Campaign, count: int, *, first: int = 0, area: str = "11") -> None:
    """Write pending messages, at each fifth position from `first` on."""
    session.execute(
        text(
            "INSERT INTO messages (campaign_id, position, phone, phone_key, planned_account_id)"
            " SELECT :id, 5 * n, '+55' || CAST(:area AS text) || (990000000 + n), 'key' || n, nullif(n % 3, 0)"
            " FROM generate_series(:first, :first + :count - 1) AS n"
        ),
        {"id": campaign.id, "count": count, "first": first, "area": area},
    )


def test_few_are_counted_and_only_what_is_left(session: Session, campaign: Campaign) -> None:
    write(session, campaign, 3)
    write(session, campaign, 7, first=3, area="92")
    assert recipient_zones.remaining(session, [campaign.id]) == {campaign.id: {SAO_PAULO: 3, MANAUS: 7}}
    session.execute(text("UPDATE messages SET status = 'skipped' WHERE position > 30"))
    assert recipient_zones.remaining(session, [campaign.id]) == {campaign.id: {SAO_PAULO: 3, MANAUS: 4}}


def test_campaigns_are_asked_in_one_statement_and_those_with_nothing_left_are_left_out(
    session: Session, campaign: Campaign, owner: User
) -> None:
    other, empty = (draft(session, owner) for _ in range(2))
    write(session, campaign, 2)
    write(session, other, 1, area="92")
    found = recipient_zones.remaining(session, [campaign.id, other.id, empty.id])
    assert found == {campaign.id: {SAO_PAULO: 2}, other.id: {MANAUS: 1}}
    assert recipient_zones.remaining(session, []) == {}


def test_many_are_estimated_from_a_few_of_them(session: Session, campaign: Campaign) -> None:
    write(session, campaign, 15_000)
    write(session, campaign, 5_000, first=15_000, area="92")
    session.execute(text("UPDATE messages SET next_attempt_at = now() + interval '1 h' WHERE phone LIKE '+5592%'"))
    found = recipient_zones.remaining(session, [campaign.id])[campaign.id]
    assert found.total() <= recipient_zones.SLICES * recipient_zones.A_SLICE
    assert found[MANAUS] / found.total() == pytest.approx(0.25, abs=0.02)
