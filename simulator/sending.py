"""What a request asks to send, once its wire has understood it."""

from dataclasses import dataclass

from simulator.recipients import Recipient


@dataclass(frozen=True, slots=True)
class Sending:
    """A valid request to send. `category` is the pricing category; not every wire has `callback_data`."""

    recipient: Recipient
    kind: str
    summary: str
    category: str
    callback_data: str | None = None

    @property
    def key(self) -> str:
        """What the fate is drawn from: the callback data, or the key of the recipient."""
        return self.recipient.key if self.callback_data is None else self.callback_data
