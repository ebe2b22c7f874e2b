"""Asking providers how accounts are: on a queue of its own, beside the sending. A failure here stops no campaign."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from campaign_engine.clock import utc_now
from campaign_engine.errors import NotFound
from campaign_engine.logs import get_logger
from campaign_engine.services.accounts import health, watching
from campaign_engine.vault import SecretUnreadable
from jobs import enqueueing
from jobs.runtime import Runtime, runtime, transaction

log = get_logger(__name__)


def check_accounts(account_ids: Sequence[int]) -> None:
    """RQ job: ask the providers about a few accounts, all at the same time."""
    current = runtime()
    enqueueing.health_checks_began(current.redis, account_ids)
    with ThreadPoolExecutor(enqueueing.HEALTH_CHECKS_AT_ONCE, thread_name_prefix="health") as threads:
        for check in [threads.submit(_check, current, account_id) for account_id in account_ids]:
            check.result()


def watch_accounts(current: Runtime) -> None:
    """Warn of accounts that get no statuses, and enqueue checks of accounts at work that were not checked lately."""
    now = utc_now()
    with transaction() as session:
        watching.warn_of_silence(session, patience_s=current.config.acknowledgement_s, now=now)
        due = health.due(session, config=current.config, now=now)
    if due:
        enqueueing.enqueue_health_checks(current.redis, due)


def _check(current: Runtime, account_id: int) -> None:
    """Ask about one account, in a thread; do not wait if somebody else is asking about it just now."""
    with current.app.app_context():
        try:
            health.attempt(
                account_id, vault=current.vault, providers=current.providers, config=current.config, now=utc_now()
            )
        except NotFound:
            return  # It was deleted since the job was enqueued.
        except SecretUnreadable as error:
            log.warning("account.health_check_failed", account_id=account_id, reason=str(error))
