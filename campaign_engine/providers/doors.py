"""Where a provider posts its webhooks, and whose they are.

A door works on plain values: the web mounts it and reads the request, a service looks the accounts up.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

KEY_FIELD = "webhook_key"


@dataclass(frozen=True, slots=True)
class Knock:
    """One request at a door."""

    headers: Mapping[str, str]  # by names in lower case
    query: Mapping[str, str]
    body: bytes  # as it came
    key: str  # the end of the address; empty if the door has no keys


class KnownAccounts(Protocol):
    """What a door may ask about the accounts of its provider, without deleted ones."""

    def with_key(self, key: str) -> Sequence[int]:
        """Return the account whose address ends in `key`, or nothing, in a time that does not tell which."""
        ...

    def secrets(self, field: str, *, numbers: Collection[str] = ()) -> Iterable[tuple[int, str]]:
        """Yield (account id, secret) of the accounts with these numbers, or of all, that have such a secret."""
        ...


@dataclass(frozen=True, slots=True)
class Door:
    """The webhook door of a provider.

    Attributes:
        path: where it is, below `/webhooks/`.
        most_bytes: the most that a body may have.
        known_by: the field that an account needs for its webhooks to be known: a secret, or the `webhook_key` that
            its address ends in.
        senders: returns the accounts that a body speaks for; raises NotAuthenticated if there is none.
        greet: answers a GET in plain text; raises NotAllowed for a stranger. None: there is no GET.
    """

    path: str
    most_bytes: int
    known_by: str
    senders: Callable[[Knock, KnownAccounts], Sequence[int]]
    greet: Callable[[Knock, KnownAccounts], str] | None = None

    @property
    def is_keyed(self) -> bool:
        """Whether each account has an address of its own, which nobody else knows."""
        return self.known_by == KEY_FIELD
