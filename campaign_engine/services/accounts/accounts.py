"""WhatsApp accounts: created with their credentials checked, changed while campaigns run."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from campaign_engine import following
from campaign_engine.clock import require_aware
from campaign_engine.core import engine, traits_of
from campaign_engine.errors import AlreadyExists, InvalidInput, NotFound
from campaign_engine.models import Account, AccountStatus
from campaign_engine.providers.base import Health, Provider, Sender, Traits
from campaign_engine.rules import warm_up
from campaign_engine.services.accounts.account_values import AccountValues, WarmUpValues
from campaign_engine.services.company import audit, limits
from campaign_engine.vault import Vault

SECRET_FIELDS = ("access_token", "app_secret", "verify_token")
PLAIN_FIELDS = AccountValues.__annotations__.keys() - {*SECRET_FIELDS, "provider", "warm_up"}
MAX_IN_FLIGHT = 16
"""Calls at once of an account that names no other count, where its provider takes as many."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Values that go together, and what the provider says of the credentials in them (None: none are new)."""

    values: AccountValues
    sender: Sender
    health: Health | None


def propose(
    values: AccountValues,
    *,
    account: Account | None = None,
    vault: Vault,
    providers: Mapping[str, Provider],
) -> Proposal:
    """Check values for a new account, or for a change of `account`, and ask the provider about new credentials.

    A provider that cannot be reached refuses nothing. One that answers that the token or the number is wrong does.

    Side effects: asks the provider; call it before the transaction that keeps the account.

    Raises:
        InvalidInput: values do not fit together, or the provider refused the credentials.
    """
    provider = account.provider if account is not None else values.get("provider", "")
    if provider not in providers:
        raise InvalidInput.field("provider", f"Accepted are {' and '.join(providers)}.")
    traits = providers[provider].traits
    faults = _faults(values, traits, account)
    if faults:
        raise InvalidInput(faults)
    sender = sender_of(_with_credentials(account, values, traits, vault), vault=vault)
    if account is not None and {"access_token", *_address(traits)}.isdisjoint(values):
        return Proposal(values, sender, None)
    health = providers[provider].check_health(sender)
    if health.refused_field is not None:
        raise InvalidInput.field(health.refused_field, f"The provider refuses it: {health.summary}")
    return Proposal(values, sender, health)


def create(session: Session, proposal: Proposal, *, company_id: int, vault: Vault, now: datetime) -> Account:
    """Create an account as it was proposed.

    Side effects: an entry in the audit log.

    Raises:
        InvalidInput: the warm-up cannot be used.
        AlreadyExists: the company has an account of that name, or of that number.
    """
    name = proposal.values["provider"]
    account = Account(company_id=company_id, provider=name, max_in_flight=_usual_in_flight(traits_of(name)))
    if engine().providers[name].door.is_keyed:
        account.webhook_key = secrets.token_urlsafe(24)
    _write(session, account, proposal, vault=vault, now=now)
    if proposal.health is not None:
        keep_health(account, proposal.health, now=now)
    session.add(account)
    session.flush()
    audit.record(session, "account.created", company_id=account.company_id, subject=account.id, name=account.name)
    return account


def update(session: Session, account: Account, proposal: Proposal, *, vault: Vault, now: datetime) -> None:
    """Change an account as it was proposed; limits and pacing take effect at the next message.

    Side effects: an entry in the audit log; the account's lane is woken after the commit.

    Raises:
        InvalidInput, AlreadyExists: as for `create`.
        NotFound: it was deleted meanwhile.
    """
    session.refresh(account)
    if account.status == AccountStatus.DELETED:
        raise NotFound("account", account.id)
    with session.no_autoflush:
        _write(session, account, proposal, vault=vault, now=now)
    if proposal.health is not None:
        # What was known, or is being asked, with the credentials before.
        account.health = account.health_checked_at = account.health_claimed_at = None
        if sender_of(account, vault=vault) == proposal.sender:
            keep_health(account, proposal.health, now=now)
    following.wake(session, [account.id])
    fields = sorted(proposal.values)
    audit.record(session, "account.changed", company_id=account.company_id, subject=account.id, fields=fields)


def _write(session: Session, account: Account, proposal: Proposal, *, vault: Vault, now: datetime) -> None:
    """Write the values of a proposal, or raise; a new account is not added to the session."""
    values: Mapping[str, object] = proposal.values
    name = proposal.values.get("name", account.name)
    named = select(Account.id).where(
        Account.company_id == account.company_id, Account.name == name, Account.status != AccountStatus.DELETED
    )
    if name != account.name and session.scalars(named).first() is not None:
        raise AlreadyExists("name", f"There is an account called {name} already.")
    traits = traits_of(account.provider)
    # A null for a column with a default means: back to the default.
    defaults = {"burst": 1, "max_in_flight": _usual_in_flight(traits)}
    for column in PLAIN_FIELDS:
        if column in values:
            setattr(account, column, defaults.get(column) if values[column] is None else values[column])
    _require_unused_number(session, account, traits)
    _set_secrets(account, values, vault)
    if "warm_up" in proposal.values:
        given = proposal.values["warm_up"]
        account.warm_up = _warm_up(given, now) if given is not None else None


def get(session: Session, company_id: int, account_id: int) -> Account:
    """Return an account of the company.

    Raises:
        NotFound: there is none, or it was deleted.
    """
    account = session.get(Account, account_id)
    if account is None or account.company_id != company_id or account.status == AccountStatus.DELETED:
        raise NotFound("account", account_id)
    return account


def of_company(session: Session, company_id: int, *, after_id: int = 0, limit: int = 100) -> Sequence[Account]:
    """Return the company's accounts in the order of their ids, from after `after_id`."""
    return session.scalars(
        select(Account)
        .where(Account.company_id == company_id, Account.status != AccountStatus.DELETED, Account.id > after_id)
        .order_by(Account.id)
        .limit(limit)
    ).all()


def delete(session: Session, account: Account) -> None:
    """Take an account out of use; the history of its messages stays.

    Side effects: an entry in the audit log.

    Raises:
        InvalidInput: a campaign that is not over uses it.
    """
    in_use = session.scalar(
        text(
            "SELECT min(c.name) FROM campaigns c JOIN campaign_accounts ca ON ca.campaign_id = c.id"
            " WHERE ca.account_id = :id AND c.status NOT IN ('completed', 'cancelled', 'failed')"
        ),
        {"id": account.id},
    )
    if in_use is not None:
        raise InvalidInput.field("account", f"The campaign “{in_use}” uses this account; cancel it first.")
    account.status = AccountStatus.DELETED
    audit.record(session, "account.deleted", company_id=account.company_id, subject=account.id, name=account.name)


def number_of(account: Account) -> str:
    """Return which number an account is, as its provider calls it."""
    return getattr(account, traits_of(account.provider).named_by) or ""


def sender_of(account: Account, *, vault: Vault) -> Sender:
    """Return what a provider needs to send from this account; holds the secret in clear."""
    return Sender(
        account_id=account.id,
        base_url=(account.base_url or "").rstrip("/"),
        number=number_of(account),
        secret=vault.decrypt(account.access_token_encrypted),
    )


def column_of(field: str) -> InstrumentedAttribute[Any]:
    """Return the column that holds a field of accounts; a secret is stored encrypted."""
    found: InstrumentedAttribute[Any] = getattr(Account, f"{field}_encrypted" if field in SECRET_FIELDS else field)
    return found


def keep_health(account: Account, health: Health, *, now: datetime) -> None:
    """Write what a provider says about an account, and take over its limit of recipients unless a person set another.

    Side effects: ends a claim of `health.claim`; its holder need not write an answer any more.
    """
    account.health, account.health_checked_at, account.health_claimed_at = health.stored(account.health), now, None
    if health.tells_recipient_limit:
        if account.daily_recipient_limit in (None, account.provider_recipient_limit):
            account.daily_recipient_limit = health.recipient_limit
        account.provider_recipient_limit = health.recipient_limit


def _require_unused_number(session: Session, account: Account, traits: Traits) -> None:
    """Refuse a number that another account has: it would get its limit twice, but the provider counts it once."""
    field = traits.named_by
    same = column_of(field) == getattr(account, field)
    if traits.is_one_of_many:
        same &= func.rtrim(Account.base_url, "/") == (account.base_url or "").rstrip("/")
    other = session.scalars(
        select(Account.name).where(
            Account.company_id == account.company_id,
            Account.provider == traits.name,
            same,
            Account.status != AccountStatus.DELETED,
            Account.id != (account.id or 0),
        )
    ).first()
    if other is not None:
        raise AlreadyExists(field, f"The account “{other}” sends from this number already.")


def _set_secrets(account: Account, values: Mapping[str, object], vault: Vault) -> None:
    for name in SECRET_FIELDS:
        if name in values:
            setattr(account, f"{name}_encrypted", vault.encrypt(str(values[name])) if values[name] else None)


def _address(traits: Traits) -> tuple[str, str]:
    """Return the fields that say which number is meant, and where: with the token, what a provider is asked about."""
    return "base_url", traits.named_by


def _with_credentials(account: Account | None, values: Mapping[str, object], traits: Traits, vault: Vault) -> Account:
    """Return a copy of the parts of an account that make a sender, with the new values."""
    names = ("id", "access_token_encrypted", *_address(traits))
    copy = Account(provider=traits.name, **{name: getattr(account, name, None) for name in names})
    for name in set(_address(traits)).intersection(values):
        setattr(copy, name, values[name])
    _set_secrets(copy, values, vault)
    return copy


def _usual_in_flight(traits: Traits) -> int:
    return min(MAX_IN_FLIGHT, traits.most_in_flight)


def _faults(values: AccountValues, traits: Traits, account: Account | None) -> dict[str, list[str]]:
    """Return what does not go together: with the provider, and the limit with its burst; by field."""
    given: Mapping[str, object] = values
    faults: dict[str, list[str]] = {}
    for name in traits.needed_fields:
        if name in given and not str(given[name] or "").strip():
            faults[name] = ["This may not be empty."]
        elif account is None and name not in given:
            faults[name] = ["This is needed."]
    for name in traits.foreign_fields:
        if given.get(name):
            faults[name] = [f"An account of {traits.title} has none."]
    most = traits.most_in_flight
    if (values.get("max_in_flight") or 1) > most:
        accepted = f"a whole number from 1 to {most}" if most > 1 else "1: a phone sends one after the other"
        faults["max_in_flight"] = [f"Accepted is {accepted}."]
    rate_limit = values.get("rate_limit", account.rate_limit if account is not None else None)
    burst = values.get("burst", account.burst if account is not None else None)
    return faults | limits.rate_faults(rate_limit, burst or 1)


def _warm_up(value: WarmUpValues, now: datetime) -> warm_up.WarmUp:
    """Return a warm-up as it is stored, with defaults for what is left out.

    Raises:
        InvalidInput: a part cannot be used.
    """
    ladder = [list(step) for step in value.get("ladder") or warm_up.DEFAULT_LADDER]
    days = [day for day, _ in ladder]
    if days[0] != 0 or days != sorted(set(days)):
        raise InvalidInput.field("warm_up.ladder", "Give [from day, messages a day] in the order of days, from day 0.")
    if not all(1 <= count <= limits.LONGEST_WINDOW for _, count in ladder):
        raise InvalidInput.field("warm_up.ladder", f"Accepted are 1 to {limits.LONGEST_WINDOW:,} messages a day.")
    try:
        started_at = require_aware(datetime.fromisoformat(value["started_at"])) if value.get("started_at") else now
    except ValueError as error:
        raise InvalidInput.field(
            "warm_up.started_at", "This is not a time with its offset, such as 2030-01-31T09:00:00-03:00."
        ) from error
    return {"started_at": started_at.isoformat(), "ladder": ladder, "ends_on_day": value.get("ends_on_day") or 30}
