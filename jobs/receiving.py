"""Applying stored webhooks, in batches."""

from sqlalchemy.exc import OperationalError

from campaign_engine.clock import utc_now
from campaign_engine.logs import get_logger
from campaign_engine.services.webhooks import deliveries
from campaign_engine.services.webhooks.deliveries import Applied
from jobs import enqueueing
from jobs.runtime import Runtime, runtime, transaction

log = get_logger(__name__)

BATCH = 200
"""Stored webhooks in one transaction."""


def apply_delivery_events() -> None:
    """RQ job: apply every stored webhook. A webhook error never touches sending, nor the webhooks behind it."""
    current = runtime()
    enqueueing.delivery_events_began(current.redis)
    with current.app.app_context():
        while not current.stopping.is_set():
            try:
                applied = _apply(current)
            except OperationalError:
                raise  # PostgreSQL is away, or another transaction was in the way: no webhook is at fault.
            except Exception as error:  # noqa: BLE001 - of a job: whatever it is, the other webhooks must not wait
                log.warning("deliveries.batch_failed", error=type(error).__name__)
                _apply_one_by_one(current)
                continue
            if applied is None:
                _come_back(current)
                return
            _finish(current, applied)


def _apply(current: Runtime, *, only: int | None = None) -> Applied | None:
    with transaction() as session:
        return deliveries.apply_waiting(session, providers=current.providers, now=utc_now(), batch=BATCH, only=only)


def _apply_one_by_one(current: Runtime) -> None:
    """Apply a batch singly, and set aside what cannot be applied."""
    with transaction() as session:
        event_ids = deliveries.due(session, now=utc_now(), limit=BATCH)
    for event_id in event_ids:
        try:
            applied = _apply(current, only=event_id)
        except OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            _set_aside(event_id, error)
        else:
            if applied is not None:
                _finish(current, applied)


def _come_back(current: Runtime) -> None:
    """Come back when the webhooks that wait for the answer to a send are due."""
    with transaction() as session:
        at = deliveries.next_held_back(session, now=utc_now())
    if at is not None:
        enqueueing.enqueue_delivery_events_again(current.redis, at=at)


def _finish(current: Runtime, applied: Applied) -> None:
    """Do what is left after the commit of a batch."""
    log.debug(
        "deliveries.applied",
        events=applied.event_count,
        updates=applied.update_count,
        messages=applied.message_count,
        replies=applied.reply_count,
    )
    if applied.heard_from:
        with transaction() as session:
            deliveries.acknowledge(session, applied.heard_from)
    for event_id in applied.with_notices:
        _apply_notices(current, event_id)
    enqueueing.enqueue_lanes(current.redis, applied.owing)


def _apply_notices(current: Runtime, event_id: int) -> None:
    try:
        with transaction() as session:
            deliveries.apply_notices(session, event_id, providers=current.providers, now=utc_now())
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        _set_aside(event_id, error)


def _set_aside(event_id: int, error: Exception) -> None:
    with transaction() as session:
        deliveries.set_aside(session, event_id, reason=f"internal error: {type(error).__name__}", now=utc_now())
