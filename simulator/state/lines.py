"""What all wires know of a sender: one line, either a number of Meta's or a phone's session."""

from typing import Protocol


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
