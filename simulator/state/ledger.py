"""The ledger: every message that was accepted, in the order of arrival, and what can be counted from it."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from simulator import fate as fates
from simulator.fate import Fate, Step

LISTED_REPEATS = 100


@dataclass(slots=True)
class Message:
    """One accepted message. `received_at` and the times of `steps` are Unix seconds.

    `acknowledged_at` has one place for each step when a webhook is owed for it, and is empty when none is.
    """

    seq: int
    message_id: str
    phone_number_id: str
    to: str
    wa_id: str
    to_key: str
    kind: str
    summary: str
    category: str
    callback_data: str | None
    received_at: float
    fate: Fate
    steps: tuple[Step, ...]
    acknowledged_at: list[float | None]
    reply_at: float | None = None
    answered: bool = False

    def as_json(self, now: float) -> dict[str, object]:
        """Return the entry as the control API shows it; statuses that lie ahead of `now` are left out."""
        acknowledged_at = self.acknowledged_at or [None] * len(self.steps)
        return {
            "seq": self.seq,
            "message_id": self.message_id,
            "phone_number_id": self.phone_number_id,
            "to": self.to,
            "wa_id": self.wa_id,
            "to_key": self.to_key,
            "type": self.kind,
            "summary": self.summary,
            "callback_data": self.callback_data,
            "received_at": self.received_at,
            "answered": self.answered,
            **self.fate.as_json(),
            "statuses": [
                {"status": status, "at": at, "webhook_acknowledged_at": acknowledged}
                for (status, at), acknowledged in zip(self.steps, acknowledged_at, strict=True)
                if at <= now
            ],
        }

    def stored(self) -> dict[str, Any]:
        """Return the entry as the journal keeps it."""
        kept = {name: getattr(self, name) for name in _STORED_AS_IS}
        kept["fate"] = self.fate.as_json()
        kept["owed"] = bool(self.acknowledged_at)
        return kept


_STORED_AS_IS = (
    "seq", "message_id", "phone_number_id", "to", "wa_id", "to_key", "kind", "summary", "category",
    "callback_data", "received_at", "steps", "reply_at", "answered",
)  # fmt: skip


def restored(kept: Mapping[str, Any]) -> Message:
    """Return the entry that `Message.stored` wrote."""
    fate = fates.restored(kept["fate"])
    steps = tuple((status, at) for status, at in kept["steps"])
    as_is = {name: kept[name] for name in _STORED_AS_IS if name != "steps"}
    return Message(**as_is, fate=fate, steps=steps, acknowledged_at=[None] * len(steps) if kept["owed"] else [])


@dataclass(slots=True)
class Calls:
    """How often one thing was asked of a number, and how many of these requests were open at the same time."""

    count: int = 0
    open: int = 0
    most_at_once: int = 0

    def __enter__(self) -> None:
        self.count += 1
        self.open += 1
        self.most_at_once = max(self.most_at_once, self.open)

    def __exit__(self, *_: object) -> None:
        self.open -= 1


@dataclass(slots=True)
class NumberUse:
    """What was asked of one number, from the arrival of a request to its answer."""

    accepted: int = 0
    sends: Calls = field(default_factory=Calls)
    health_checks: Calls = field(default_factory=Calls)

    def as_json(self) -> dict[str, int]:
        return {
            "accepted": self.accepted,
            "sends": self.sends.count,
            "most_sends_at_once": self.sends.most_at_once,
            "health_checks": self.health_checks.count,
            "most_health_checks_at_once": self.health_checks.most_at_once,
        }


@dataclass(slots=True)
class Ledger:
    """Messages and counts; what the summary shows is counted as it happens, not by a walk over the ledger."""

    messages: list[Message] = field(default_factory=list)
    requests: int = 0
    answers_lost: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    by_number: defaultdict[str, NumberUse] = field(default_factory=lambda: defaultdict(NumberUse))
    _by_recipient: dict[str, int] = field(default_factory=dict)
    _by_callback_data: dict[str, int] = field(default_factory=dict)
    _repeated_recipients: dict[str, int] = field(default_factory=dict)
    _repeated_callback_data: dict[str, int] = field(default_factory=dict)

    @property
    def next_seq(self) -> int:
        return len(self.messages) + 1

    def add(self, message: Message) -> None:
        self.messages.append(message)
        self.by_number[message.phone_number_id].accepted += 1
        self.answers_lost += message.fate.answer_lost
        _count(message.to_key, self._by_recipient, self._repeated_recipients)
        if message.callback_data is not None:
            _count(message.callback_data, self._by_callback_data, self._repeated_callback_data)

    def accepted_with(self, callback_data: str) -> int:
        """Return how many accepted messages carried this callback data."""
        return self._by_callback_data.get(callback_data, 0)

    def accepted_for(self, to_key: str) -> int:
        return self._by_recipient.get(to_key, 0)

    def get(self, seq: int) -> Message | None:
        return self.messages[seq - 1] if 1 <= seq <= len(self.messages) else None

    def page(self, since: int, limit: int) -> list[Message]:
        """Return at most `limit` entries after `since`. Sequence numbers are places in the list, from 1."""
        return list(islice(self.messages, since, since + limit))

    def summary(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "accepted": len(self.messages),
            "answers_lost": self.answers_lost,
            "refused": dict(sorted(self.refused.items())),
            "unique_recipients": len(self._by_recipient),
            "repeated_recipients": _repeats("to_key", self._repeated_recipients),
            "repeated_callback_data": _repeats("callback_data", self._repeated_callback_data),
            "by_number": {phone_number_id: use.as_json() for phone_number_id, use in self.by_number.items()},
            "first_at": self.messages[0].received_at if self.messages else None,
            "last_at": self.messages[-1].received_at if self.messages else None,
        }


def _count(key: str, counts: dict[str, int], repeated: dict[str, int]) -> None:
    count = counts.get(key, 0) + 1
    counts[key] = count
    if count > 1:
        repeated[key] = count


def _repeats(name: str, repeated: Mapping[str, int]) -> dict[str, object]:
    listed = [{name: key, "messages": count} for key, count in islice(repeated.items(), LISTED_REPEATS)]
    return {"count": len(repeated), "listed": listed}
