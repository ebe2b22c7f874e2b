"""About how many people unprepared campaigns will have: an estimate that is quick whatever the size of the lists."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

COUNTED = 10_000
"""A list or tag with fewer contacts is counted; for a bigger one PostgreSQL's own statistics know the share."""

# The statistics name only the commonest values: a list or tag that is not among them is as small as the count says.
_SIZES = text(
    """
    -- wanted: the lists and tags of each campaign.
    WITH wanted AS (
      SELECT id, company_id,
        coalesce(ARRAY(SELECT jsonb_array_elements(audience -> 'list_ids')::bigint), '{}') AS list_ids,
        coalesce(ARRAY(SELECT jsonb_array_elements_text(audience -> 'tags')), '{}') AS tags
      FROM campaigns WHERE id = ANY(CAST(:ids AS bigint[]))
    ), lists AS (
      -- The members of each list: counted up to the most, and estimated.
      SELECT l.id, (
        SELECT count(*) FROM (SELECT 1 FROM contact_list_members m WHERE m.list_id = l.id LIMIT :most) few
      ) AS counted, (
        SELECT max(v.share) * (SELECT reltuples FROM pg_class WHERE oid = 'contact_list_members'::regclass)
        FROM pg_stats s, unnest(s.most_common_vals::text::bigint[], s.most_common_freqs) AS v(id, share)
        WHERE s.schemaname = current_schema AND s.tablename = 'contact_list_members' AND s.attname = 'list_id'
          AND v.id = l.id
      ) AS estimated
      FROM (SELECT DISTINCT unnest(list_ids) AS id FROM wanted) l
    ), tagged AS (
      -- The contacts with any tag of a campaign: likewise.
      SELECT w.id, (
        SELECT count(*) FROM (
          SELECT 1 FROM contacts c WHERE c.company_id = w.company_id AND c.tags && w.tags LIMIT :most
        ) few
      ) AS counted, (
        SELECT sum(v.share) * (SELECT reltuples FROM pg_class WHERE oid = 'contacts'::regclass)
        FROM pg_stats s, unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS v(tag, share)
        WHERE s.schemaname = current_schema AND s.tablename = 'contacts' AND s.attname = 'tags'
          AND v.tag = ANY(w.tags)
      ) AS estimated
      FROM wanted w WHERE cardinality(w.tags) > 0
    )
    SELECT w.id,
      (SELECT count(*) FROM campaign_recipients r WHERE r.campaign_id = w.id)
      + coalesce((
        SELECT sum(CASE WHEN l.counted < :most THEN l.counted ELSE greatest(l.counted, l.estimated) END)
        FROM lists l WHERE l.id = ANY(w.list_ids)
      ), 0)
      + coalesce((
        SELECT CASE WHEN t.counted < :most THEN t.counted ELSE greatest(t.counted, t.estimated) END
        FROM tagged t WHERE t.id = w.id
      ), 0) AS people
    FROM wanted w
    """
)


def estimated(session: Session, campaign_ids: Sequence[int]) -> dict[int, int]:
    """Return about how many recipients each campaign names, in one statement; people named twice count twice."""
    if not campaign_ids:
        return {}
    rows = session.execute(_SIZES, {"ids": list(campaign_ids), "most": COUNTED})
    return {row.id: round(row.people) for row in rows}
