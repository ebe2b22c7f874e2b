"""Freezing an audience: one `messages` row per recipient, written set-based, in chunks that can be repeated."""

from datetime import datetime

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, Text

from campaign_engine.models import Campaign
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services import campaigns
from campaign_engine.services.campaigns import Audience

CHUNK = 20_000
"""Contacts a chunk looks at: a second of work or less, so that sending starts early and a crash repeats little."""

# Inline recipients are contacts too: their opt-outs, aliases and replies are found by the same key.
_INLINE_CONTACTS = text(
    """
    INSERT INTO contacts (company_id, phone, phone_key, name)
    SELECT DISTINCT ON (r.phone_key) :company_id, r.phone, r.phone_key, r.name FROM campaign_recipients r
    WHERE r.campaign_id = :campaign_id ORDER BY r.phone_key, r.position
    ON CONFLICT (company_id, phone_key) DO NOTHING
    """
)

_INLINE_MESSAGES = text(
    """
    INSERT INTO messages (campaign_id, position, contact_id, phone, phone_key, variables, status, status_reason)
    SELECT :campaign_id, r.position, c.id, r.phone, r.phone_key,
      CASE WHEN r.name IS NULL THEN r.variables ELSE r.variables || jsonb_build_object('name', r.name) END,
      CASE WHEN o.phone_key IS NULL THEN 'pending' ELSE 'skipped' END,
      CASE WHEN o.phone_key IS NULL THEN NULL ELSE 'opted_out' END
    FROM campaign_recipients r
    JOIN contacts c ON c.company_id = :company_id AND c.phone_key = r.phone_key
    LEFT JOIN opt_outs o ON o.company_id = :company_id AND o.phone_key = r.phone_key
    WHERE r.campaign_id = :campaign_id ORDER BY r.position
    ON CONFLICT (campaign_id, phone_key) DO NOTHING
    """
)

# Positions after the inline recipients' are the contacts' own ids: unique, in the order of their import, and the same
# if the chunk is written a second time.
_LISTED_MESSAGES = text(
    """
    WITH looked_at AS (
      SELECT c.id, c.phone, c.phone_key FROM contacts c
      WHERE c.company_id = :company_id AND c.id > :after AND c.id <= :through AND (
        c.tags && :tags OR EXISTS (
          SELECT 1 FROM contact_list_members lm WHERE lm.contact_id = c.id AND lm.list_id = ANY(:list_ids)
        )
      )
      ORDER BY c.id LIMIT :chunk
    ), written AS (
      INSERT INTO messages (campaign_id, position, contact_id, phone, phone_key, status, status_reason)
      SELECT :campaign_id, :offset + l.id, l.id, l.phone, l.phone_key,
        CASE WHEN o.phone_key IS NULL AND x.contact_id IS NULL THEN 'pending' ELSE 'skipped' END,
        CASE WHEN o.phone_key IS NOT NULL THEN 'opted_out' WHEN x.contact_id IS NOT NULL THEN 'excluded' END
      FROM looked_at l
      LEFT JOIN opt_outs o ON o.company_id = :company_id AND o.phone_key = l.phone_key
      LEFT JOIN LATERAL (
        SELECT lm.contact_id FROM contact_list_members lm
        WHERE lm.contact_id = l.id AND lm.list_id = ANY(:exclude_list_ids) LIMIT 1
      ) x ON true
      ORDER BY l.id
      ON CONFLICT (campaign_id, phone_key) DO NOTHING
    )
    SELECT count(*) AS looked_at, max(id) AS last_id FROM looked_at
    """
).bindparams(
    bindparam("tags", type_=ARRAY(Text)),
    bindparam("list_ids", type_=ARRAY(BigInteger)),
    bindparam("exclude_list_ids", type_=ARRAY(BigInteger)),
)


def prepare_chunk(session: Session, campaign_id: int, *, now: datetime, chunk: int = CHUNK) -> Campaign | None:
    """Write the next chunk of a started campaign's messages; None when there is nothing (more) to write.

    The first chunk lets the campaign run. Runs of the same chunk wait for each other and the second finds it done.

    Side effects: message rows; the campaign's state and `prepared_*`.
    """
    campaign = session.get(Campaign, campaign_id, populate_existing=True, with_for_update=True)
    if campaign is None or campaign.prepared_at is not None:
        return None
    if campaign.status not in (CampaignStatus.PREPARING, CampaignStatus.RUNNING, CampaignStatus.PAUSED):
        return None
    identity = {"campaign_id": campaign.id, "company_id": campaign.company_id}
    if campaign.prepared_through == 0:
        session.execute(_INLINE_CONTACTS, identity)
        session.execute(_INLINE_MESSAGES, identity)
    audience = Audience.of(campaign.audience)
    looked_at, last_id = 0, None
    if audience.list_ids or audience.tags:
        row = session.execute(
            _LISTED_MESSAGES,
            {
                **identity,
                "after": campaign.prepared_through,
                "through": campaign.frozen_through,
                "tags": list(audience.tags),
                "list_ids": list(audience.list_ids),
                "exclude_list_ids": list(audience.exclude_list_ids),
                "chunk": chunk,
                "offset": campaigns.MAX_INLINE_RECIPIENTS,
            },
        ).one()
        looked_at, last_id = row.looked_at, row.last_id
    session.execute(
        text(
            "UPDATE campaigns SET prepared_through = greatest(prepared_through, :last), prepared_at = :prepared_at"
            " WHERE id = :id"
        ),
        {
            "last": last_id or campaign.prepared_through,
            "prepared_at": now if looked_at < chunk else None,
            "id": campaign.id,
        },
    )
    session.refresh(campaign)
    if campaign.status == CampaignStatus.PREPARING:
        campaigns.mark_running(session, campaign)
    return campaign


def unprepared(session: Session) -> list[int]:
    """Return the started campaigns whose messages are not all written: their prepare job may have been lost."""
    return list(
        session.scalars(
            text("SELECT id FROM campaigns WHERE status IN ('preparing', 'running', 'paused') AND prepared_at IS NULL")
        )
    )


def due(session: Session, *, now: datetime) -> list[int]:
    """Return the scheduled campaigns whose time has come, however long ago."""
    return list(
        session.scalars(
            text("SELECT id FROM campaigns WHERE status = 'scheduled' AND scheduled_at <= :now"), {"now": now}
        )
    )


def due_within(session: Session, *, now: datetime, until: datetime) -> list[tuple[int, datetime]]:
    """Return (campaign id, start time) of the scheduled campaigns that start after `now` and by `until`."""
    rows = session.execute(
        text(
            "SELECT id, scheduled_at FROM campaigns"
            " WHERE status = 'scheduled' AND scheduled_at > :now AND scheduled_at <= :until"
        ),
        {"now": now, "until": until},
    )
    return [(row.id, row.scheduled_at) for row in rows]
