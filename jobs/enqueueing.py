"""What is put on the queues. All of it is a hint: the periodic verification would do the same a little later, so if any
of it is lost nothing is lost.

What follows a use case comes here by `give`, after the commit: a job for a row that does not exist yet is a bug. The
functions below it are for jobs, which decide for themselves what to do.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import assert_never

from redis import Redis

from campaign_engine import following
from campaign_engine.following import Following
from campaign_engine.services.messages.planning import Line
from jobs import queues, start_times
from jobs.waking import arm


def give(connection: Redis, follows: Iterable[Following]) -> None:
    """Put on the queues what follows a use case; the only reader of `campaign_engine.following`.

    Raises:
        RedisError: Redis does not take it; the rest was not given either.
    """
    for each in follows:
        match each:
            case following.Wake(account_id):
                for line in Line:
                    enqueue_lanes(connection, [account_id], line)
            case following.Prepare(campaign_id):
                enqueue_prepare(connection, campaign_id)
            case following.StartAt(campaign_id, at):
                start_times.ensure(connection, [(campaign_id, at)])
            case following.Import(import_id):
                enqueue_import(connection, import_id)
            case following.SyncContacts(account_id, list_id):
                enqueue_contact_sync(connection, account_id, list_id)
            case following.CheckNumbers(account_id, list_id, absent_list_id):
                enqueue_number_check(connection, account_id, list_id, absent_list_id)
            case following.ApplyWebhooks():
                enqueue_delivery_events(connection)
            case _:
                assert_never(each)


def enqueue_prepare(connection: Redis, campaign_id: int) -> None:
    """Write the messages of a started campaign."""
    queues.enqueue(
        connection,
        queues.CAMPAIGN_SCHEDULER,
        "jobs.scheduling.prepare_campaign",
        campaign_id,
        description="prepare campaign",
    )


def enqueue_lanes(connection: Redis, account_ids: Iterable[int], line: Line = Line.FIRST) -> None:
    """Wake the lanes of accounts now: something they wait for may have changed."""
    now = datetime.now(UTC)
    for account_id in account_ids:
        arm(connection, account_id, at=now, line=line)


def enqueue_import(connection: Redis, import_id: int) -> None:
    """Write the contacts of a stored file."""
    queues.enqueue(
        connection,
        queues.CONTACT_SYNC,
        "jobs.importing.run_import",
        import_id,
        description="import contacts",
    )


def enqueue_contact_sync(connection: Redis, account_id: int, list_id: int) -> None:
    """Read the address book of an account's phone."""
    queues.enqueue(
        connection,
        queues.CONTACT_SYNC,
        "jobs.address_books.sync_account",
        account_id,
        list_id,
        description="sync contacts",
    )


def enqueue_number_check(
    connection: Redis, account_id: int, list_id: int, absent_list_id: int, after_id: int = 0
) -> None:
    """Ask an account's phone who on a list is on WhatsApp, from after the contact `after_id`."""
    queues.enqueue(
        connection,
        queues.CONTACT_SYNC,
        "jobs.address_books.check_numbers",
        account_id,
        list_id,
        absent_list_id,
        after_id,
        description="check numbers",
    )


def enqueue_import_once(connection: Redis, import_id: int) -> None:
    """Put an import that may have lost its job on the queue again, once a minute at most."""
    if connection.set(f"import:{import_id}:enqueued", 1, nx=True, ex=60):
        enqueue_import(connection, import_id)


HEALTH_CHECKS_AT_ONCE = 16
_HEALTH_CHECK_ENQUEUED_S = 600


def enqueue_health_checks(connection: Redis, account_ids: Sequence[int]) -> None:
    """Ask the providers about accounts, except those whose check already waits in the queue."""
    with connection.pipeline(transaction=False) as pipeline:
        for account_id in account_ids:
            pipeline.set(_health_check_enqueued(account_id), 1, nx=True, ex=_HEALTH_CHECK_ENQUEUED_S)
        taken = pipeline.execute()
    wanted = [account_id for account_id, is_new in zip(account_ids, taken, strict=True) if is_new]
    for start in range(0, len(wanted), HEALTH_CHECKS_AT_ONCE):
        queues.enqueue(
            connection,
            queues.CAMPAIGN_NOTIFICATIONS,
            "jobs.health_checks.check_accounts",
            wanted[start : start + HEALTH_CHECKS_AT_ONCE],
            description="check accounts",
            retried=False,
        )


def health_checks_began(connection: Redis, account_ids: Sequence[int]) -> None:
    """Let the next verification enqueue these checks again, when they are due again."""
    connection.delete(*map(_health_check_enqueued, account_ids))


def _health_check_enqueued(account_id: int) -> str:
    return f"health-check:{account_id}:enqueued"


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


def enqueue_delivery_events_again(connection: Redis, *, at: datetime) -> None:
    """Apply the stored webhooks at an exact time, once a second at most."""
    if connection.set(f"{_EVENTS_ENQUEUED}:again", 1, nx=True, px=900):
        queues.enqueue_at(
            connection,
            queues.DELIVERY_EVENTS,
            "jobs.receiving.apply_delivery_events",
            at=at,
            description="apply delivery events",
            retried=False,
        )


def delivery_events_began(connection: Redis) -> None:
    """Let the next webhook enqueue again: what is stored from now on may be missed by the running job."""
    connection.delete(_EVENTS_ENQUEUED)
