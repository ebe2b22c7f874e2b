"""Statuses that are faster than the answer to the send they speak of.

Some providers send none of our ids along: then a status is matched by the provider's id, which only the answer to the
send gives. A status that comes before the answer would match no row and be lost. So it waits while its account is
sending a message that it may be about. After that its id is found, or the message is not ours (somebody wrote on the
phone by hand).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.db import arrays
from campaign_engine.models import WebhookEvent
from campaign_engine.providers.base import Provider
from campaign_engine.providers.values import object_in

PAUSE = timedelta(seconds=1)

# One statement sees one moment: a message is either still being sent or has its id. The machines that claimed the
# message and received the webhook may have clocks that differ a little.
_EARLY = text(
    """
    SELECT DISTINCT s.event_id
    FROM unnest(CAST(:event_ids AS bigint[]), CAST(:account_ids AS bigint[]), CAST(:provider_message_ids AS text[]),
      CAST(:received_ats AS timestamptz[]))
      AS s(event_id, account_id, provider_message_id, received_at)
    WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.provider_message_id = s.provider_message_id)
      AND EXISTS (
        SELECT 1 FROM messages m
        WHERE m.status = 'sending' AND m.account_id = s.account_id
          AND m.claimed_at <= s.received_at + interval '5 seconds'
      )
    """
)


def hold_back(
    session: Session, events: Sequence[WebhookEvent], *, providers: Mapping[str, Provider], now: datetime
) -> list[WebhookEvent]:
    """Return the events that can be applied now, in their order; the others are looked at again after `PAUSE`."""
    spoken = [
        (event.id, account_id, identity, event.received_at)
        for event in events
        if not providers[event.provider].traits.carries_our_id
        for identity in _ids_in(event, providers[event.provider])
        for account_id in event.account_ids
    ]
    if not spoken:
        return list(events)
    names = ("event_ids", "account_ids", "provider_message_ids", "received_ats")
    early = set(session.scalars(_EARLY, arrays(names, spoken)))
    for event in events:
        if event.id in early:
            event.apply_after = now + PAUSE
    return [event for event in events if event.id not in early]


def _ids_in(event: WebhookEvent, provider: Provider) -> set[str]:
    updates = provider.parse_statuses(object_in(event.body) or {})
    return {update.provider_message_id for update in updates if update.provider_message_id}
