"""What becomes of an accepted message, decided when it is accepted.

The decision depends only on the settings and the message's key: its `biz_opaque_callback_data`, or if it has none its
recipient's `to_key`, as the ledger shows it. Draw number i of a key is the i-th big-endian 32-bit word of BLAKE2b-512
over "SEED:KEY", divided by 2**32. A share is met when its draw is below it. So from the seed alone the fate of every
message can be worked out beforehand, in any order.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from simulator.behaviour import Behaviour
from simulator.checks import RangeMs
from simulator.errors import Refused, ServerFault
from simulator.number_rules import Action, NumberRule

# Which draw decides what.
FAILS = 0
FAILURE_CODE = 1
DELIVERED = 2
READ = 3
SKIPS_DELIVERED = 4
REORDERED = 5
DUPLICATED_FIRST = 6  # 7 and 8 are for the second and the third status
REPLIES = 9
SENT_DELAY = 10
DELIVERED_DELAY = 11  # also the delay of `failed`
READ_DELAY = 12
REPLY_DELAY = 13
DUPLICATE_DELAY = 14
ANSWER_LOST = 15

_WORDS = struct.Struct(">16I")
_SCALE = 2.0**-32

Draws = tuple[float, ...]
Step = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a message ends; `final` is sent, delivered, read, failed, or silent (nothing is reported)."""

    final: str
    error_code: int | None = None
    skips_delivered: bool = False
    reordered: bool = False
    duplicated: tuple[str, ...] = ()
    replies: bool = False
    answer_lost: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the fate as the ledger and the journal show it."""
        return {
            "fate": self.final,
            "error_code": self.error_code,
            "skips_delivered": self.skips_delivered,
            "reordered": self.reordered,
            "duplicated": self.duplicated,
            "replies": self.replies,
            "answer_lost": self.answer_lost,
        }


_LADDERS = {
    "silent": (),
    "failed": ("failed",),
    "sent": ("sent",),
    "delivered": ("sent", "delivered"),
    "read": ("sent", "delivered", "read"),
}
# Nearly all messages share a handful of fates; one object for each keeps a ledger of a million small.
_SHARED: dict[Fate, Fate] = {}


def restored(kept: Mapping[str, Any]) -> Fate:
    """Return the fate that `Fate.as_json` wrote."""
    rest = {name: value for name, value in kept.items() if name != "fate"}
    fate = Fate(**{**rest, "final": kept["fate"], "duplicated": tuple(kept["duplicated"])})
    return _SHARED.setdefault(fate, fate)


def draw(seed: int, key: str) -> Draws:
    """Return the sixteen draws of a key, each from 0 up to but not including 1."""
    digest = blake2b(f"{seed}:{key}".encode("utf-8", "surrogatepass")).digest()
    return tuple([word * _SCALE for word in _WORDS.unpack(digest)])


def decide(behaviour: Behaviour, draws: Draws, rule: NumberRule | None) -> Fate:
    """Return the fate of a message that is being accepted; a rule for its number wins over the shares."""
    final, error_code, skips_delivered = _ending(behaviour, draws)
    replies = final in ("delivered", "read") and draws[REPLIES] < behaviour.reply_share
    answer_lost = draws[ANSWER_LOST] < behaviour.lost_answer_share
    if rule is not None:
        if rule.action in _FINAL_BY_RULE:
            final, error_code = _FINAL_BY_RULE[rule.action], None
            skips_delivered = rule.action is Action.READ_ONLY
            replies = rule.action is Action.REPLY
        elif rule.action is Action.FAIL:
            final, error_code, skips_delivered, replies = "failed", rule.code, False, False
        elif rule.action is Action.LOSE:
            answer_lost = True
    statuses = ("sent", "read") if skips_delivered else _LADDERS[final]
    fate = Fate(
        final=final,
        error_code=error_code,
        skips_delivered=skips_delivered,
        reordered=len(statuses) > 1 and draws[REORDERED] < behaviour.reorder_webhook_share,
        duplicated=_duplicated(behaviour, draws, statuses),
        replies=replies,
        answer_lost=answer_lost,
    )
    return _SHARED.setdefault(fate, fate)


_FINAL_BY_RULE = {
    Action.SILENT: "silent",
    Action.SENT: "sent",
    Action.DELIVERED: "delivered",
    Action.READ: "read",
    Action.READ_ONLY: "read",
    Action.REPLY: "delivered",
}


def _ending(behaviour: Behaviour, draws: Draws) -> tuple[str, int | None, bool]:
    if draws[FAILS] < behaviour.failure_share:
        codes = behaviour.failure_codes
        return "failed", codes[int(draws[FAILURE_CODE] * len(codes))], False
    if draws[DELIVERED] >= behaviour.delivered_share:
        return "sent", None, False
    if draws[READ] >= behaviour.read_share:
        return "delivered", None, False
    return "read", None, draws[SKIPS_DELIVERED] < behaviour.skip_delivered_share


def _duplicated(behaviour: Behaviour, draws: Draws, statuses: tuple[str, ...]) -> tuple[str, ...]:
    share = behaviour.duplicate_webhook_share
    if not share:
        return ()
    return tuple(status for place, status in enumerate(statuses) if draws[DUPLICATED_FIRST + place] < share)


def timeline(behaviour: Behaviour, draws: Draws, fate: Fate, received_at: float) -> tuple[Step, ...]:
    """Return each status of a message with the time at which it happens, in order."""
    if fate.final == "silent":
        return ()
    if fate.final == "failed":
        return (("failed", received_at + within(behaviour.failed_delay_ms, draws[DELIVERED_DELAY])),)
    sent_at = received_at + within(behaviour.sent_delay_ms, draws[SENT_DELAY])
    delivered_at = sent_at + within(behaviour.delivered_delay_ms, draws[DELIVERED_DELAY])
    if fate.final == "sent":
        return (("sent", sent_at),)
    if fate.final == "delivered":
        return (("sent", sent_at), ("delivered", delivered_at))
    read = ("read", delivered_at + within(behaviour.read_delay_ms, draws[READ_DELAY]))
    if fate.skips_delivered:
        return (("sent", sent_at), read)
    return (("sent", sent_at), ("delivered", delivered_at), read)


def within(range_ms: RangeMs, share: float) -> float:
    """Return the time, in seconds, at this share of a range of milliseconds."""
    shortest, longest = range_ms
    return (shortest + (longest - shortest) * share) / 1000


def fault(behaviour: Behaviour, key: str, earlier_requests: int) -> Refused | ServerFault | None:
    """Return what the shares answer a send request with instead of accepting it, or None.

    The number of earlier requests with the same key is part of the draw, so that a retry may succeed. The
    text drawn from is "SEED:request EARLIER:KEY"; draw 0 decides on HTTP 500, 1 on a refusal, 2 on its code.
    """
    if not behaviour.http_500_share and not behaviour.refusal_share:
        return None
    draws = draw(behaviour.seed, f"request {earlier_requests}:{key}")
    if draws[0] < behaviour.http_500_share:
        return ServerFault(500)
    if draws[1] < behaviour.refusal_share:
        codes = behaviour.refusal_codes
        code = codes[int(draws[2] * len(codes))]
        return Refused(code, "The simulator was told to refuse a share of the messages.")
    return None
