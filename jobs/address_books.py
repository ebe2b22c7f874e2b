"""What the phone of an account knows of people, asked in the background: its address book, and who is on WhatsApp."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rq import get_current_job

from campaign_engine.errors import NotFound
from campaign_engine.logs import bound, get_logger
from campaign_engine.models import Account, ContactList
from campaign_engine.providers.address_book import AddressBook, AddressBookFault
from campaign_engine.providers.base import Sender
from campaign_engine.services.accounts import accounts
from campaign_engine.services.company import notifications
from campaign_engine.services.people import contact_sync
from jobs import enqueueing
from jobs.runtime import Runtime, runtime, transaction

log = get_logger(__name__)

NUMBERS_A_CALL = 100
CHECK_BUDGET_S = 20.0
"""How long a job checks numbers before it makes room for others and goes to the end of the queue."""


def sync_account(account_id: int, list_id: int) -> None:
    """RQ job: write the people that the phone of an account knows, and put them on a list; may run twice."""
    current = runtime()
    with current.app.app_context(), bound(account_id=account_id), _told_of_faults(account_id):
        book, sender = _asked(current, account_id)
        people = book.list_contacts(sender)
        synced = contact_sync.Synced()
        for start in range(0, len(people), contact_sync.PEOPLE_A_TRANSACTION):
            with transaction() as session:
                chunk = people[start : start + contact_sync.PEOPLE_A_TRANSACTION]
                contact_list = session.get_one(ContactList, list_id)
                synced = synced.plus(contact_sync.write_people(session, contact_list, chunk))
        log.info("contacts.synced", contacts=synced.contact_count, created=synced.created_count)
        sentence = f"{synced.contact_count:,} people were read from its phone, {synced.created_count:,} of them new."
        _notify(account_id, "contacts_synced", "info", sentence)


def check_numbers(account_id: int, list_id: int, absent_list_id: int, after_id: int = 0) -> None:
    """RQ job: ask who on a list is on WhatsApp, and put the others on the list `absent_list_id`; may run twice.

    Side effects: when its time is used up, a new job at the end of the queue goes on.
    """
    current = runtime()
    with current.app.app_context(), bound(account_id=account_id), _told_of_faults(account_id):
        book, sender = _asked(current, account_id)
        give_way_at = time.monotonic() + CHECK_BUDGET_S
        while time.monotonic() < give_way_at and not current.stopping.is_set():
            with transaction() as session:
                contact_list = session.get_one(ContactList, list_id)
                numbers = contact_sync.numbers_on(session, contact_list, after_id=after_id, limit=NUMBERS_A_CALL)
            if not numbers:
                _notify(account_id, "numbers_checked", "info", "The numbers of a list have been checked.")
                return
            checks = book.check_numbers(sender, [number for _, number in numbers])
            with transaction() as session:
                absent = session.get_one(ContactList, absent_list_id)
                missing = contact_sync.write_checks(session, absent, numbers=numbers, checks=checks)
            after_id = numbers[-1][0]
            log.info("numbers.checked", numbers=len(numbers), missing=missing)
        enqueueing.enqueue_number_check(current.redis, account_id, list_id, absent_list_id, after_id)


def _asked(current: Runtime, account_id: int) -> tuple[AddressBook, Sender]:
    with transaction() as session:
        account = session.get(Account, account_id)
        if account is None:
            raise NotFound("account", account_id)
        book = contact_sync.address_book_of(account, current.providers)
        return book, accounts.sender_of(account, vault=current.vault)


@contextmanager
def _told_of_faults(account_id: int) -> Iterator[None]:
    """Let the job try again after a fault that may pass; tell the company of other faults, and of the last attempt."""
    try:
        yield
    except AddressBookFault as fault:
        job = get_current_job()
        log.warning("contacts.sync_failed", reason=str(fault), passes=fault.passes)
        if fault.passes and job is not None and job.retries_left:
            raise
        _notify(account_id, "contact_sync_failed", "warning", f"Its phone could not be asked about people: {fault}")


def _notify(account_id: int, kind: str, severity: str, sentence: str) -> None:
    with transaction() as session:
        account = session.get_one(Account, account_id)
        notifications.notify(
            session,
            company_id=account.company_id,
            kind=kind,
            severity=severity,
            text=f"“{account.name}”: {sentence}",
            subject=("account", account.id),
        )
