"""What follows the commit of a use case: noted by the services, put on the queues by `jobs.enqueueing.give` alone.

The notes belong to their transaction: `campaign_engine.db.transaction` hands them on after its commit, and a rollback
drops them. If something is noted twice, it follows once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

_KEY = "following"


@dataclass(frozen=True, slots=True)
class Wake:
    """Both lines of an account's lane look again: something that they wait for may have changed."""

    account_id: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """The messages of a started campaign are written."""

    campaign_id: int


@dataclass(frozen=True, slots=True)
class StartAt:
    """A scheduled campaign starts by itself; one that was moved starts at the new time only."""

    campaign_id: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Import:
    """The contacts of a stored file are written."""

    import_id: int


@dataclass(frozen=True, slots=True)
class SyncContacts:
    """The people that the phone of an account knows are put on a list."""

    account_id: int
    list_id: int


@dataclass(frozen=True, slots=True)
class CheckNumbers:
    """The phone of an account is asked who on a list is on WhatsApp; the others are put on the other list."""

    account_id: int
    list_id: int
    absent_list_id: int


@dataclass(frozen=True, slots=True)
class ApplyWebhooks:
    """The stored webhooks are applied."""


Following = Wake | Prepare | StartAt | Import | SyncContacts | CheckNumbers | ApplyWebhooks


def note(session: Session, what: Following) -> None:
    """Let something follow the commit of the present transaction."""
    present = session.get_transaction() or session.begin()
    noted_in, noted = session.info.get(_KEY, (present, {}))
    session.info[_KEY] = (present, (noted if noted_in is present else {}) | {what: None})


def wake(session: Session, account_ids: Iterable[int]) -> None:
    """Let the lanes of accounts look again after the commit."""
    for account_id in account_ids:
        note(session, Wake(account_id))


def take(session: Session) -> tuple[Following, ...]:
    """Return what was noted in the present transaction, in order, and forget it; for `db.transaction` alone."""
    noted_in, noted = session.info.pop(_KEY, (None, {}))
    return tuple(noted) if noted_in is session.get_transaction() else ()
