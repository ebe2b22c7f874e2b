"""What all wires know of a sender: one line, either a number of Meta's or a phone's session."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Line(Protocol):
    """A sender with its own ledger counts and its own webhooks."""

    @property
    def phone_number_id(self) -> str:
        """The name that its wire knows it by, unique over all wires."""

    @property
    def webhook_url(self) -> str | None: ...

    @property
    def refuse_code(self) -> int | None:
        """One of Meta's codes that every message is refused with."""


L = TypeVar("L", bound=Line)


class Lines(Generic[L]):
    """The registry of one kind of lines, which the journal calls by `kind`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._by_name: dict[str, L] = {}

    def __iter__(self) -> Iterator[L]:
        return iter(list(self._by_name.values()))

    def get(self, name: object) -> L | None:
        return self._by_name.get(name) if isinstance(name, str) else None

    def put(self, line: L) -> None:
        self._by_name[line.phone_number_id] = line

    def remove(self, name: str) -> bool:
        return self._by_name.pop(name, None) is not None

    def clear(self) -> None:
        self._by_name.clear()
