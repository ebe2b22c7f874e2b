"""Where a provider posts its webhooks, and how it is told whose they are.

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
    key: str  # what the address ends in; empty where the door has no keys


class KnownAccounts(Protocol):
    """What a door may ask about the accounts of its provider; those that were deleted are not among them."""

    def with_key(self, key: str) -> Sequence[int]:
        """Return the account whose address ends in `key`, or nothing; how long it takes tells nobody which."""
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
        senders: returns the accounts that a body speaks for; raises NotAuthenticated for one of nobody's.
        greet: answers a GET in plain text; raises NotAllowed for a stranger's. None: there is no GET.
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
