"""Applying stored webhooks, in batches."""

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.logs import get_logger
from campaign_engine.services import deliveries
from jobs import enqueueing
from jobs.runtime import runtime

log = get_logger(__name__)


def apply_delivery_events() -> None:
    """RQ job: apply every stored webhook. A webhook error never touches sending; the batch is tried again later."""
    current = runtime()
    enqueueing.delivery_events_began(current.redis)
    with current.app.app_context():
        while not current.stopping.is_set():
            with transaction() as session:
                applied = deliveries.apply_waiting(session, providers=current.providers, now=utc_now())
            if applied is None:
                return
            log.debug(
                "deliveries.applied",
                events=applied.event_count,
                updates=applied.update_count,
                messages=applied.message_count,
            )
