"""Freezing an audience: one `messages` row per recipient, written set-based, in chunks that can be repeated."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import TextClause, select, text
from sqlalchemy.orm import Session

from campaign_engine.models import Account, AccountStatus, Campaign, CampaignAccount
from campaign_engine.rules import rotation
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.campaigns.audiences import BARRED, MAX_INLINE_RECIPIENTS, NAMED, Audience

CHUNK = 20_000
"""So many contacts are a chunk: a second of work or less, so that sending starts early and a crash repeats little."""

# Inline recipients become contacts too: their opt-outs, aliases and replies are found by the same key.
_INLINE_CONTACTS = text(
    """
    INSERT INTO contacts (company_id, phone, phone_key, name)
    SELECT DISTINCT ON (r.phone_key) :company_id, r.phone, r.phone_key, r.name FROM campaign_recipients r
    WHERE r.campaign_id = :campaign_id ORDER BY r.phone_key, r.position
    ON CONFLICT (company_id, phone_key) DO NOTHING
    """
)

_INLINE = """
    INSERT INTO messages
      (campaign_id, position, contact_id, phone, phone_key, variables, status, status_reason, planned_account_id)
    SELECT :campaign_id, t.position, t.contact_id, t.phone, t.phone_key, t.variables,
      CASE WHEN t.reason IS NULL THEN 'pending' ELSE 'skipped' END, t.reason, {plan}
    FROM (
      SELECT r.position, c.id AS contact_id, r.phone, r.phone_key, {reason} AS reason, {kept} AS kept,
        r.variables || CASE WHEN r.name IS NULL THEN '{{}}' ELSE jsonb_build_object('name', r.name) END AS variables
      FROM campaign_recipients r
      JOIN contacts c ON c.company_id = :company_id AND c.phone_key = r.phone_key
      LEFT JOIN opt_outs o ON o.company_id = :company_id AND o.phone_key = r.phone_key
      WHERE r.campaign_id = :campaign_id
    ) t
    ORDER BY t.position
    ON CONFLICT (campaign_id, phone_key) DO NOTHING
"""

# After the inline recipients, positions are the contacts' ids: unique, in the order of their import, and the same if
# the chunk is written a second time. `looked_at`: the contacts of the chunk; `written`: their messages.
_LISTED = """
    WITH looked_at AS (
      SELECT c.id, c.phone, c.phone_key FROM contacts c
      WHERE c.company_id = :company_id AND c.id > :after AND c.id <= :through AND {named}
      ORDER BY c.id LIMIT :chunk
    ), written AS (
      INSERT INTO messages
        (campaign_id, position, contact_id, phone, phone_key, status, status_reason, planned_account_id)
      SELECT :campaign_id, t.position, t.contact_id, t.phone, t.phone_key,
        CASE WHEN t.reason IS NULL THEN 'pending' ELSE 'skipped' END, t.reason, {plan}
      FROM (
        SELECT :offset + c.id AS position, c.id AS contact_id, c.phone, c.phone_key,
          coalesce({reason}, CASE WHEN x.contact_id IS NOT NULL THEN 'excluded' END) AS reason, {kept} AS kept
        FROM looked_at c
        LEFT JOIN opt_outs o ON o.company_id = :company_id AND o.phone_key = c.phone_key
        LEFT JOIN LATERAL (
          SELECT lm.contact_id FROM contact_list_members lm
          WHERE lm.contact_id = c.id AND lm.list_id = ANY(CAST(:exclude_list_ids AS bigint[])) LIMIT 1
        ) x ON true
      ) t
      ORDER BY t.position
      ON CONFLICT (campaign_id, phone_key) DO NOTHING
    )
    SELECT count(*) AS looked_at, max(id) AS last_id FROM looked_at
"""

# The account of the campaign that last wrote to this contact.
_KEPT = """(
  SELECT m.account_id FROM messages m
  WHERE m.contact_id = c.id AND m.accepted_at IS NOT NULL AND m.account_id = ANY(CAST(:senders AS bigint[]))
  ORDER BY m.accepted_at DESC LIMIT 1
)"""

# Everybody else gets the next account of the hand; a person who gets no message takes none.
_PLAN = """
  CASE WHEN t.reason IS NULL THEN coalesce(t.kept, (CAST(:hand AS bigint[]))[
    1 + (row_number() OVER (PARTITION BY t.reason IS NULL AND t.kept IS NULL ORDER BY t.position) - 1)
      % nullif(cardinality(CAST(:hand AS bigint[])), 0)
  ]) END
"""


@dataclass(frozen=True, slots=True)
class Dealing:
    """Which account will send which message, decided beforehand: `senders` keep their contacts, others are dealt."""

    senders: Sequence[int]
    sticky: bool
    hand: Sequence[int]

    @classmethod
    def of(cls, session: Session, campaign: Campaign) -> "Dealing":
        """Read it; only accounts that are active now get messages."""
        rows = session.execute(
            select(CampaignAccount.account_id, CampaignAccount.weight)
            .join(Account, Account.id == CampaignAccount.account_id)
            .where(CampaignAccount.campaign_id == campaign.id, Account.status == AccountStatus.ACTIVE)
            .order_by(CampaignAccount.account_id)
        ).all()
        weights = {row.account_id: row.weight for row in rows if row.weight is not None}
        return cls(
            senders=[row.account_id for row in rows],
            sticky=campaign.sticky,
            hand=rotation.hand(weights, most=CHUNK) if weights else [],
        )

    def statement(self, insert: str) -> TextClause:
        """Return the statement that writes messages; without a rotation it is the plain one."""
        plan = _PLAN if self.sticky or self.hand else "NULL"
        kept = _KEPT if self.sticky else "CAST(NULL AS bigint)"
        return text(insert.format(named=NAMED, reason=BARRED, plan=plan, kept=kept))


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
    dealing = Dealing.of(session, campaign)
    values = {
        "campaign_id": campaign.id,
        "company_id": campaign.company_id,
        "senders": list(dealing.senders),
        "hand": list(dealing.hand),
    }
    if campaign.prepared_through == 0:
        session.execute(_INLINE_CONTACTS, values)
        session.execute(dealing.statement(_INLINE), values)
    audience = Audience.of(campaign.audience)
    looked_at, last_id = 0, None
    if audience.list_ids or audience.tags:
        row = session.execute(
            dealing.statement(_LISTED),
            {
                **values,
                **audience.values,
                "after": campaign.prepared_through,
                "through": campaign.frozen_through,
                "chunk": chunk,
                "offset": MAX_INLINE_RECIPIENTS,
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
        lifecycle.mark_running(session, campaign)
    return campaign


def unprepared(session: Session) -> Sequence[int]:
    """Return the started campaigns whose messages are not all written: their prepare job may have been lost."""
    return session.scalars(
        text("SELECT id FROM campaigns WHERE status IN ('preparing', 'running', 'paused') AND prepared_at IS NULL")
    ).all()
