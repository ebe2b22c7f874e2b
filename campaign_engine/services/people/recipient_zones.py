"""The time zones of a campaign's recipients, for campaigns with hours of each recipient."""

from collections import Counter
from collections.abc import Collection, Iterable

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.rules.hours.recipient_zone import TELLING, Zones, zones_of

SLICES = 64
"""A campaign's pending messages are cut into so many slices of equal length, by position."""

A_SLICE = 4
"""So many messages of each slice are read: shares are true to a few percent, and small campaigns are counted whole."""

# The first few of each slice, by index: this costs the same in a campaign of a million rows.
_SAMPLE = text(
    """
    -- c: the first and the last pending position of each campaign.
    WITH c AS MATERIALIZED (
      SELECT w.id,
        (SELECT m.position FROM messages m WHERE m.campaign_id = w.id AND m.status = 'pending'
          ORDER BY m.position LIMIT 1) AS first,
        (SELECT m.position FROM messages m WHERE m.campaign_id = w.id AND m.status = 'pending'
          ORDER BY m.position DESC LIMIT 1) AS last
      FROM unnest(CAST(:ids AS bigint[])) AS w(id)
    )
    SELECT c.id, min(few.phone) AS phone, count(*) AS people
    FROM c
    CROSS JOIN generate_series(0, :slices - 1) AS slice(at)
    CROSS JOIN LATERAL (
      SELECT m.phone FROM messages m
      WHERE m.campaign_id = c.id AND m.status = 'pending'
        AND m.position >= c.first + (c.last - c.first + 1) * slice.at / :slices
        AND m.position < c.first + (c.last - c.first + 1) * (slice.at + 1) / :slices
      ORDER BY m.position LIMIT :a_slice
    ) few
    GROUP BY c.id, left(few.phone, :telling)
    """
)


def remaining(session: Session, campaign_ids: Collection[int]) -> dict[int, Counter[Zones]]:
    """Sample each campaign's pending messages and return how many go to which zones, in one statement.

    A campaign without pending messages is absent.
    """
    if not campaign_ids:
        return {}
    rows = session.execute(
        _SAMPLE, {"ids": list(campaign_ids), "slices": SLICES, "a_slice": A_SLICE, "telling": TELLING}
    )
    found: dict[int, Counter[Zones]] = {}
    for row in rows:
        found.setdefault(row.id, Counter())[zones_of(row.phone)] += row.people
    return found


def by_zones(people: Iterable[tuple[str, int]]) -> Counter[Zones]:
    """Return how many people are in which zones; each pair is a number and how many people it stands for."""
    found: Counter[Zones] = Counter()
    for phone, count in people:
        found[zones_of(phone)] += count
    return found
