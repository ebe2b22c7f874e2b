"""How accounts are, as their providers say: one question at a time per account, its answer shared. Never gates a send.

The claim and the answer stand in the account's row, so that one process in the whole installation asks and the others
wait for its answer. The provider is asked outside any transaction, so that a provider that hangs holds no connection
and no lock. If the process dies, its claim runs out.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, text, update
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.config import Config
from campaign_engine.db import transaction
from campaign_engine.errors import NotFound
from campaign_engine.json_types import Json
from campaign_engine.logs import get_logger
from campaign_engine.models import Account, AccountStatus
from campaign_engine.providers.base import Health, Provider, Sender
from campaign_engine.services.accounts import accounts
from campaign_engine.services.company import notifications
from campaign_engine.vault import Vault

log = get_logger(__name__)

REFRESH_AFTER = timedelta(minutes=5)
"""How old the health of an account at work may become before the provider is asked again."""

DUE_AT_ONCE = 1000

POLL_S = 0.1

CLAIM_MARGIN_S = 10.0
"""How much longer than a provider's slowest answer a claim lasts: connecting and writing take time too."""


@dataclass(frozen=True, slots=True)
class CheckClaim:
    """The right to ask about an account; `claimed_at` tells it from every other claim of that account."""

    account_id: int
    provider: str
    claimed_at: datetime
    sender: Sender


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of an account's health, and since when."""

    account_id: int
    health: Json | None
    checked_at: datetime | None

    @property
    def is_good(self) -> bool:
        """Say whether the provider was reached and refused nothing."""
        return bool(self.health and self.health["reachable"] and "refused_field" not in self.health)

    def is_fresh(self, *, config: Config, now: datetime) -> bool:
        """Say whether the answer may still be shared."""
        return self.checked_at is not None and self.checked_at > now - _shared_for(config)


def check(
    account_id: int,
    *,
    vault: Vault,
    providers: Mapping[str, Provider],
    config: Config,
    clock: Callable[[], datetime] = utc_now,
) -> Checked:
    """Return how an account is: the shared answer while it is fresh, else a new one.

    While somebody else is asking, this waits for that answer, for as long as a claim lasts. After that it returns the
    last answer there was.

    Side effects: those of `attempt`, which opens transactions of its own; call it outside any.

    Raises:
        NotFound: the account was deleted.
        SecretUnreadable: its token was encrypted with a key that is not configured.
    """
    give_up_at = time.monotonic() + _claim_holds(config).total_seconds()
    while True:
        checked = attempt(account_id, vault=vault, providers=providers, config=config, now=clock())
        if checked is not None:
            return checked
        if time.monotonic() >= give_up_at:
            with transaction() as session:
                return last(session, account_id)
        time.sleep(POLL_S)


def attempt(
    account_id: int, *, vault: Vault, providers: Mapping[str, Provider], config: Config, now: datetime
) -> Checked | None:
    """Return how an account is, or None while somebody else is asking.

    Side effects: unlike other services this opens transactions of its own, one for the claim and one for the answer,
    because no transaction may be open while the provider is asked. A failed check is logged.

    Raises:
        NotFound, SecretUnreadable: as for `check`.
    """
    with transaction() as session:
        mine = claim(session, account_id, vault=vault, config=config, now=now)
        if mine is None:
            known = last(session, account_id)
            return known if known.is_fresh(config=config, now=now) else None
    asked_at = time.monotonic()
    health = providers[mine.provider].check_health(mine.sender)
    answered_at = now + timedelta(seconds=time.monotonic() - asked_at)
    if health.failed or health.refused_field is not None:
        log.warning("account.health_check_failed", account_id=account_id, reason=health.summary)
    with transaction() as session:
        keep(session, mine, health, now=answered_at)
        return last(session, account_id)


def claim(session: Session, account_id: int, *, vault: Vault, config: Config, now: datetime) -> CheckClaim | None:
    """Take the right to ask about an account; None while its answer is fresh or somebody else is asking.

    Commit before asking. If a claim is older than the provider's slowest answer, its process is dead and the claim is
    taken over.
    """
    account = session.scalars(
        update(Account)
        .where(
            Account.id == account_id,
            Account.status != AccountStatus.DELETED,
            or_(Account.health_claimed_at.is_(None), Account.health_claimed_at <= now - _claim_holds(config)),
            or_(Account.health_checked_at.is_(None), Account.health_checked_at <= now - _shared_for(config)),
        )
        .values(health_claimed_at=now)
        .returning(Account),
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).one_or_none()
    if account is None:
        return None
    sender = accounts.sender_of(account, vault=vault)
    return CheckClaim(account_id=account_id, provider=account.provider, claimed_at=now, sender=sender)


def keep(session: Session, mine: CheckClaim, health: Health, *, now: datetime) -> bool:
    """Write the answer and give up the claim; False when the claim was taken over, or the credentials have changed.

    Side effects: a notification for each warning that the last answer did not have.
    """
    account = session.scalars(
        select(Account)
        .where(Account.id == mine.account_id, Account.health_claimed_at == mine.claimed_at)
        .with_for_update(key_share=True),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if account is None:
        return False
    before = account.health or {}
    accounts.keep_health(account, health, now=now)
    for warning in health.warnings:
        if warning not in before.get("warnings", ()):
            log.warning("account.health_warning", account_id=account.id, quality=health.details.get("quality_rating"))
            notifications.notify(
                session,
                company_id=account.company_id,
                kind="account_health",
                severity="warning",
                text=f"{account.name}: {warning}",
                subject=("account", account.id),
            )
    session.flush()
    return True


def last(session: Session, account_id: int) -> Checked:
    """Return the last answer about an account, however old.

    Raises:
        NotFound: there is no such account, or it was deleted.
    """
    row = session.execute(
        select(Account.health, Account.health_checked_at).where(
            Account.id == account_id, Account.status != AccountStatus.DELETED
        )
    ).one_or_none()
    if row is None:
        raise NotFound("account", account_id)
    return Checked(account_id=account_id, health=row.health, checked_at=row.health_checked_at)


def due(session: Session, *, config: Config, now: datetime) -> Sequence[int]:
    """Return the accounts at work whose last check is long ago, those never checked first."""
    return session.scalars(
        text(
            "SELECT a.id FROM accounts a WHERE a.status = 'active'"
            " AND (a.health_checked_at IS NULL OR a.health_checked_at <= :old)"
            " AND (a.health_claimed_at IS NULL OR a.health_claimed_at <= :dead)"
            " AND EXISTS (SELECT FROM campaign_accounts ca JOIN campaigns c ON c.id = ca.campaign_id"
            " WHERE ca.account_id = a.id AND c.status = 'running')"
            " ORDER BY a.health_checked_at NULLS FIRST, a.id LIMIT :most"
        ),
        {"old": now - max(REFRESH_AFTER, _shared_for(config)), "dead": now - _claim_holds(config), "most": DUE_AT_ONCE},
    ).all()


def warnings_of(account: Account) -> list[str]:
    """Return what people should know about an account: that no status comes, and its provider's warnings."""
    own = [account.warning] if account.warning else []
    return [*own, *(account.health or {}).get("warnings", ())]


def _shared_for(config: Config) -> timedelta:
    return timedelta(seconds=config.health_check_ttl_s)


def _claim_holds(config: Config) -> timedelta:
    return timedelta(seconds=config.provider_timeout_s + CLAIM_MARGIN_S)
