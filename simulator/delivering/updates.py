"""The three kinds of news a receiver gets: a status, a message from a user, and any other event."""

from collections.abc import Callable
from dataclasses import dataclass

from simulator.state.ledger import Message


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """One step of one message's timeline."""

    message: Message
    step: int
    on_acknowledged: Callable[[Message, int], None]

    @property
    def phone_number_id(self) -> str:
        return self.message.phone_number_id

    def acknowledged(self) -> None:
        self.on_acknowledged(self.message, self.step)


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A user writes. With `button` they pressed a quick-reply button of the message they answer."""

    phone_number_id: str
    message_id: str
    wa_id: str
    name: str
    text: str
    at: float
    button: bool = False
    in_reply_to: str | None = None

    def acknowledged(self) -> None:
        """Nothing is noted of inbound messages."""


@dataclass(frozen=True, slots=True)
class Event:
    """Any other webhook field, with a value given by hand: `account_update`, `user_preferences`, ..."""

    phone_number_id: str
    name: str
    value: object
    at: float

    def acknowledged(self) -> None:
        """Nothing is noted of events."""
