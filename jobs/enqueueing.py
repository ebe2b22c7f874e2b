"""What the web, the command line and the services' adapters may put on a queue. All of it is a hint: the periodic
verification would do the same a little later, so losing any of these loses nothing.

Call them after the commit: a job for a row that does not exist yet is a bug.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from redis import Redis

from jobs import queues
from jobs.waking import arm


def enqueue_prepare(connection: Redis, campaign_id: int) -> None:
    """Write the messages of a started campaign."""
    queues.enqueue(
        connection,
        queues.CAMPAIGN_SCHEDULER,
        "jobs.scheduling.prepare_campaign",
        campaign_id,
        description="prepare campaign",
    )


def enqueue_lanes(connection: Redis, account_ids: Iterable[int]) -> None:
    """Wake the lanes of accounts now: something they wait for may have changed."""
    now = datetime.now(UTC)
    for account_id in account_ids:
        arm(connection, account_id, at=now)


def enqueue_import(connection: Redis, import_id: int) -> None:
    """Write the contacts of a stored file."""
    queues.enqueue(
        connection,
        queues.CONTACT_SYNC,
        "jobs.contact_sync.run_import",
        import_id,
        description="import contacts",
    )


def enqueue_import_once(connection: Redis, import_id: int) -> None:
    """Put an import that may have lost its job on the queue again, once a minute at most."""
    if connection.set(f"import:{import_id}:enqueued", 1, nx=True, ex=60):
        enqueue_import(connection, import_id)


_EVENTS_ENQUEUED = "delivery-events:enqueued"
_EVENTS_ENQUEUED_S = 10


def enqueue_delivery_events(connection: Redis) -> None:
    """Apply the stored webhooks; one waiting job is enough for any number of them."""
    if connection.set(_EVENTS_ENQUEUED, 1, nx=True, ex=_EVENTS_ENQUEUED_S):
        queues.enqueue(
            connection,
            queues.DELIVERY_EVENTS,
            "jobs.receiving.apply_delivery_events",
            description="apply delivery events",
            retried=False,
        )


def delivery_events_began(connection: Redis) -> None:
    """Let the next webhook enqueue again: what is stored from now on may be missed by the running job."""
    connection.delete(_EVENTS_ENQUEUED)
