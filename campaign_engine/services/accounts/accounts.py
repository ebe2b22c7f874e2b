"""WhatsApp accounts: created with their credentials checked, changed while campaigns run."""

import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import and_, func, select, text
from sqlalchemy.orm import Session

from campaign_engine.clock import require_aware
from campaign_engine.config import Config
from campaign_engine.errors import AlreadyExists, InvalidInput, NotFound
from campaign_engine.models import Account, AccountStatus
from campaign_engine.providers.base import Health, Provider, Sender
from campaign_engine.rules import warm_up
from campaign_engine.services.company import limits
from campaign_engine.vault import Vault
from ratelimit import InvalidLimit, Limit, Rate

SECRET_FIELDS = ("access_token", "app_secret", "verify_token")
PLAIN_FIELDS = (
    "name",
    "base_url",
    "phone_number_id",
    "instance",
    "rate_limit",
    "burst",
    "max_in_flight",
    "message_interval_s",
    "longer_interval_after",
    "greater_interval_s",
    "portfolio",
    "daily_recipient_limit",
)
MAX_IN_FLIGHT = {"cloud_api": 256, "evolution": 1}
"""Calls at once, per provider: Evolution API stands before the session of one phone."""

NEEDED_FIELDS = {
    "cloud_api": ("name", "access_token", "phone_number_id"),
    "evolution": ("name", "access_token", "base_url", "instance"),
}
FOREIGN_FIELDS = {"cloud_api": (), "evolution": ("phone_number_id", "app_secret", "verify_token")}

_SELECTOR_CHARS = 8  # of a webhook key: enough to find it by, and of no use without the rest


def create(
    session: Session,
    *,
    company_id: int,
    values: Mapping[str, Any],
    vault: Vault,
    providers: Mapping[str, Provider],
    config: Config,
    now: datetime,
) -> Account:
    """Create an account after asking the provider about it.

    A provider that cannot be reached is no reason to refuse; one that answers that the token or the number is wrong
    is.

    Raises:
        InvalidInput: a value cannot be used, or the provider refused the credentials.
        AlreadyExists: the company has an account of that name.
    """
    _validate(values, creating=True)
    if _named(session, company_id, values["name"]) is not None:
        raise AlreadyExists("name", f"There is an account called {values['name']} already.")
    provider: str = values["provider"]
    account = Account(company_id=company_id, provider=provider, **_plain(values, provider))
    if provider == "evolution":
        account.max_in_flight = MAX_IN_FLIGHT[provider]
        account.webhook_key = secrets.token_urlsafe(24)
    if values.get("warm_up") is not None:
        account.warm_up = _warm_up(values["warm_up"], now)
    _set_secrets(account, values, vault)
    _check_credentials(account, vault=vault, providers=providers, config=config, now=now)
    _require_unused_number(session, account, besides=None)
    session.add(account)
    session.flush()
    return account


def update(
    session: Session,
    account: Account,
    *,
    values: Mapping[str, Any],
    vault: Vault,
    providers: Mapping[str, Provider],
    config: Config,
    now: datetime,
) -> None:
    """Change an account; limits and pacing take effect at the next message.

    Raises:
        InvalidInput, AlreadyExists: as for `create`.
    """
    _validate(
        {"rate_limit": account.rate_limit, "burst": account.burst, **values},
        creating=False,
        provider=account.provider,
    )
    if "name" in values and values["name"] != account.name and _named(session, account.company_id, values["name"]):
        raise AlreadyExists("name", f"There is an account called {values['name']} already.")
    for name, value in _plain(values, account.provider).items():
        setattr(account, name, value)
    with session.no_autoflush:
        _require_unused_number(session, account, besides=account.id)
    _set_secrets(account, values, vault)
    if "warm_up" in values:
        account.warm_up = _warm_up(values["warm_up"], now) if values["warm_up"] is not None else None
    if {"access_token", "phone_number_id", "base_url", "instance"} & set(values):
        _check_credentials(account, vault=vault, providers=providers, config=config, now=now)


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


def id_with_webhook_key(session: Session, key: str) -> int | None:
    """Return the account whose webhooks come to this key, or None.

    Its row is found by the first characters alone and the whole is compared in constant time, so that how long this
    takes tells nobody how much of a guess was right.
    """
    if not (key.isascii() and key.isprintable()):
        return None
    rows = session.execute(
        select(Account.id, Account.webhook_key).where(
            func.left(Account.webhook_key, _SELECTOR_CHARS) == key[:_SELECTOR_CHARS],
            Account.status != AccountStatus.DELETED,
        )
    )
    for account_id, known in rows:
        if known is not None and hmac.compare_digest(known, key):
            return int(account_id)
    return None


def delete(session: Session, account: Account) -> None:
    """Take an account out of use; the history of its messages stays.

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


def sender_of(account: Account, *, vault: Vault, config: Config) -> Sender:
    """Return what a provider needs to send from this account; holds the secret in clear."""
    return Sender(
        account_id=account.id,
        base_url=(account.base_url or config.cloud_api_url).rstrip("/"),
        number=account.phone_number_id or account.instance or "",
        secret=vault.decrypt(account.access_token_encrypted),
    )


def keep_health(account: Account, health: Health, *, now: datetime) -> None:
    """Write what a provider says of an account, and follow its limit of recipients where nobody set another.

    Side effects: a claim of `health.claim` ends; whoever holds it need not write an answer.
    """
    account.health, account.health_checked_at, account.health_claimed_at = health.stored(account.health), now, None
    if health.tells_recipient_limit:
        if account.daily_recipient_limit in (None, account.provider_recipient_limit):
            account.daily_recipient_limit = health.recipient_limit
        account.provider_recipient_limit = health.recipient_limit


def _check_credentials(
    account: Account, *, vault: Vault, providers: Mapping[str, Provider], config: Config, now: datetime
) -> None:
    """Ask the provider about credentials that are new; its answer is the account's health from now on."""
    health = providers[account.provider].check_health(sender_of(account, vault=vault, config=config))
    if health.refused_field is not None:
        raise InvalidInput.field(health.refused_field, f"The provider refuses it: {health.summary}")
    account.health = None  # what was known with the credentials before
    keep_health(account, health, now=now)


def _require_unused_number(session: Session, account: Account, *, besides: int | None) -> None:
    """Refuse a number that another account has: it would get its limit twice, and the provider counts once."""
    if account.provider == "evolution":
        field, address = "instance", (account.base_url or "").rstrip("/")
        same = and_(Account.instance == account.instance, func.rtrim(Account.base_url, "/") == address)
    else:
        field, same = "phone_number_id", Account.phone_number_id == account.phone_number_id
    other = session.scalars(
        select(Account.name).where(
            Account.company_id == account.company_id,
            same,
            Account.status != AccountStatus.DELETED,
            Account.id != (besides or 0),
        )
    ).first()
    if other is not None:
        raise AlreadyExists(field, f"The account “{other}” sends from this number already.")


def _named(session: Session, company_id: int, name: str) -> Account | None:
    return session.scalars(
        select(Account).where(
            Account.company_id == company_id, Account.name == name, Account.status != AccountStatus.DELETED
        )
    ).first()


def _plain(values: Mapping[str, Any], provider: str) -> dict[str, Any]:
    # A null for a column with a default means: back to the default.
    defaults = {"burst": 1, "max_in_flight": min(16, MAX_IN_FLIGHT[provider])}
    return {
        name: defaults.get(name) if values[name] is None else values[name] for name in PLAIN_FIELDS if name in values
    }


def _set_secrets(account: Account, values: Mapping[str, Any], vault: Vault) -> None:
    for name in SECRET_FIELDS:
        if name in values:
            setattr(account, f"{name}_encrypted", vault.encrypt(values[name]) if values[name] else None)


def _validate(values: Mapping[str, Any], *, creating: bool, provider: str | None = None) -> None:
    faults: dict[str, list[str]] = {}
    provider = values.get("provider", provider) or ""
    if creating:
        if provider not in NEEDED_FIELDS:
            faults["provider"] = ["Accepted are cloud_api and evolution."]
        for name in NEEDED_FIELDS.get(provider, ()):
            if not values.get(name):
                faults[name] = ["This is needed."]
    for name in NEEDED_FIELDS.get(provider, ()):
        if name in values and not (values[name] or "").strip():
            faults[name] = ["This may not be empty."]
    for name in FOREIGN_FIELDS.get(provider, ()):
        if values.get(name):
            faults[name] = ["An account of Evolution API has none."]
    number = values.get("phone_number_id")
    if number and "phone_number_id" not in faults and not (number.isascii() and number.isalnum()):
        faults["phone_number_id"] = ["This is the id of the number at Meta (digits), not the telephone number."]
    if values.get("instance") and not values["instance"].isprintable():
        faults["instance"] = ["This is the name of the instance in Evolution API."]
    if values.get("base_url") and not _is_http_url(values["base_url"]):
        faults["base_url"] = ["This must be an address that starts with https:// or http://."]
    token = values.get("access_token")
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        faults["access_token"] = ["A token has letters, digits and signs only; was something else copied along?"]
    rate = _parse_rate(values.get("rate_limit"), faults)
    burst = values.get("burst")
    if burst is not None and (burst < 1 or (rate is not None and burst >= max(rate.count, 2))):
        faults["burst"] = ["This must be at least 1 and less than the count of rate_limit."]
    elif rate is not None:
        try:
            Limit(name=limits.ACCOUNT_LIMIT, key="-", rate=rate, burst=burst or 1, margin=limits.MARGIN)
        except InvalidLimit as error:
            faults["rate_limit"] = [str(error)]
    most = MAX_IN_FLIGHT.get(provider, 1)
    if values.get("max_in_flight") is not None and not 1 <= values["max_in_flight"] <= most:
        accepted = f"a whole number from 1 to {most}" if most > 1 else "1: a phone sends one after the other"
        faults["max_in_flight"] = [f"Accepted is {accepted}."]
    for name in ("message_interval_s", "longer_interval_after", "greater_interval_s"):
        if values.get(name) is not None and not 0 <= values[name] <= 86400:
            faults[name] = ["Accepted is a number from 0 to 86400; 0 switches it off."]
    if faults:
        raise InvalidInput(faults)


def _warm_up(value: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return a warm-up as it is stored, what is left out filled in.

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


def _is_http_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    written_plainly = value.isascii() and value.isprintable() and " " not in value
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and written_plainly


def _parse_rate(value: str | None, faults: dict[str, list[str]]) -> Rate | None:
    if not value:
        return None
    try:
        return Rate.parse(value)
    except InvalidLimit as error:
        faults["rate_limit"] = [str(error)]
        return None
