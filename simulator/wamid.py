"""Message ids in Meta's form, with the recipient inside, and in a phone's form: opaque and unique."""

import os
from base64 import b64encode
from itertools import count


class MessageIds:
    """Makes ids that no other run of the simulator makes either."""

    def __init__(self) -> None:
        self._run = os.urandom(5).hex().upper()
        self._order = count(1)

    def of_meta(self, recipient: str) -> str:
        digits = recipient.encode("ascii", "replace")
        raw = b"\x1d\x0d%c%b\x15\x02\x00\x11\x18\x12%b\x00" % (len(digits) & 0xFF, digits, self._unique().encode())
        return "wamid." + b64encode(raw).decode()

    def of_phone(self) -> str:
        """Return an id as a linked device makes it."""
        return f"3EB0{self._unique()}"

    def _unique(self) -> str:
        return f"{self._run}{next(self._order):08X}"
