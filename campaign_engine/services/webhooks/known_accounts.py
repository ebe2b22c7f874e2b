"""What a provider's door may know about its accounts: the keys of their addresses, and their secrets."""

import hmac
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from campaign_engine.models import Account, AccountStatus
from campaign_engine.providers.base import Traits
from campaign_engine.services.accounts.accounts import column_of
from campaign_engine.vault import Vault

_SELECTOR_CHARS = 8  # of a webhook key: enough to find it by, and of no use without the rest


@dataclass(frozen=True, slots=True)
class AccountsBehindTheDoor:
    """The accounts of the provider with these traits."""

    session: Session
    traits: Traits
    vault: Vault

    def with_key(self, key: str) -> Sequence[int]:
        """Return the account whose webhooks come to this key, or nothing.

        The row is found by the first characters alone, and the whole key is compared in constant time. So the time
        taken does not tell how much of a guess was right.
        """
        if not (key.isascii() and key.isprintable()):
            return []
        rows = self.session.execute(
            select(Account.id, Account.webhook_key).where(
                func.left(Account.webhook_key, _SELECTOR_CHARS) == key[:_SELECTOR_CHARS],
                Account.provider == self.traits.name,
                Account.status != AccountStatus.DELETED,
            )
        )
        return [row.id for row in rows if hmac.compare_digest(row.webhook_key, key)][:1]

    def secrets(self, field: str, *, numbers: Collection[str] = ()) -> Iterator[tuple[int, str]]:
        """Yield (account id, secret) of the accounts with these numbers, or of all, that have such a secret."""
        column = column_of(field)
        query = select(Account.id, column).where(
            Account.provider == self.traits.name, Account.status != AccountStatus.DELETED, column.is_not(None)
        )
        if numbers:
            query = query.where(column_of(self.traits.named_by).in_(numbers))
        for account_id, encrypted in self.session.execute(query):
            yield account_id, self.vault.decrypt(encrypted)
