"""What a provider with an address book offers besides sending: who is on WhatsApp, and whom the phone knows.

Only a provider that stands before a phone has one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from campaign_engine.providers.base import Sender


class AddressBookFault(Exception):
    """The provider did not answer the question; the message is a sentence for a person, without secrets.

    `passes` says that asking again later may help.
    """

    def __init__(self, sentence: str, *, passes: bool) -> None:
        super().__init__(sentence)
        self.passes = passes


@dataclass(frozen=True, slots=True)
class NumberCheck:
    """Whether a number is on WhatsApp; `wa_id` is how WhatsApp spells it, without the plus sign."""

    number: str  # as it was asked for
    exists: bool
    wa_id: str | None


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person that the phone of an account knows."""

    wa_id: str  # the number as WhatsApp spells it, without the plus sign
    name: str | None


@runtime_checkable
class AddressBook(Protocol):
    """A provider that knows people."""

    def check_numbers(self, sender: Sender, numbers: Sequence[str]) -> Sequence[NumberCheck]:
        """Say which of these numbers (E.164) are on WhatsApp.

        Raises:
            AddressBookFault: there is no answer.
        """
        ...

    def list_contacts(self, sender: Sender) -> Sequence[KnownPerson]:
        """Return the people that the phone knows by number; no groups.

        Raises:
            AddressBookFault: there is no answer.
        """
        ...
