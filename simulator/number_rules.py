"""Recipients that always meet the same end: rules by the last digits of the number.

A rule is a short text, so that it fits in JSON and on a command line:

    refuse:CODE[:N]    refuse with this Meta code, always or only the first N requests of a message
    http:STATUS[:N]    answer this 5xx without a Graph body, always or only the first N requests
    fail:CODE          accept, then report `failed` with this code by webhook
    lose               accept, then cut the connection without an answer
    silent             accept, and never report anything
    sent, delivered    accept, and stop at this status
    read               accept, and go on to `read`
    read-only          accept, and report `read` without `delivered`
    reply              accept, deliver, and let the recipient answer with `reply_text`

The magic numbers need no setting. They are read from the last eight digits, which no generated list of
contacts is likely to hold by chance:

    76cccccc    fail:cccccc           for example +55 11 9 7613 1026 fails with 131026
    77cccccc    refuse:cccccc         for example +55 11 9 7713 0429 is refused with 130429
    78000001    lose                  78000005    silent
    78000002    sent                  78000006    reply
    78000003    delivered             78000007    http:500
    78000004    read-only             78000008    read
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from simulator.graph_errors import GRAPH_ERRORS


class Action(StrEnum):
    REFUSE = "refuse"
    HTTP = "http"
    FAIL = "fail"
    LOSE = "lose"
    SILENT = "silent"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    READ_ONLY = "read-only"
    REPLY = "reply"


@dataclass(frozen=True, slots=True)
class NumberRule:
    """What happens to a message for this recipient; `first_count` 0 means every request."""

    action: Action
    code: int = 0
    first_count: int = 0

    def holds_for_attempt(self, earlier_requests: int) -> bool:
        return self.first_count == 0 or earlier_requests < self.first_count


_MAGIC_LENGTH = 8
_MAGIC_ACTIONS = {
    "78000001": NumberRule(Action.LOSE),
    "78000002": NumberRule(Action.SENT),
    "78000003": NumberRule(Action.DELIVERED),
    "78000004": NumberRule(Action.READ_ONLY),
    "78000005": NumberRule(Action.SILENT),
    "78000006": NumberRule(Action.REPLY),
    "78000007": NumberRule(Action.HTTP, code=500),
    "78000008": NumberRule(Action.READ),
}


def magic_rule(digits: str) -> NumberRule | None:
    """Return the rule of the last eight digits, or None for an ordinary number."""
    ending = digits[-_MAGIC_LENGTH:]
    if not ending.startswith(("76", "77", "78")) or len(ending) < _MAGIC_LENGTH:
        return None
    if ending[1] == "8":
        return _MAGIC_ACTIONS.get(ending)
    code = int(ending[2:])
    # Six-digit codes only: a shorter one would turn a run of round numbers into a run of failures.
    if code < 130_000 or code not in GRAPH_ERRORS:
        return None
    return NumberRule(Action.FAIL if ending[1] == "6" else Action.REFUSE, code=code)


def parse_rule(text: str) -> NumberRule:
    """Read one rule. Raises ValueError with a sentence for a person."""
    word, *arguments = text.strip().split(":")
    try:
        action = Action(word)
    except ValueError:
        raise ValueError(f"knows no rule {text!r}; there are {', '.join(Action)}") from None
    if not all(argument.isascii() and argument.isdigit() for argument in arguments):
        raise ValueError(f"has a rule {text!r} whose arguments are not whole numbers")
    numbers = [int(argument) for argument in arguments]
    allowed = {Action.REFUSE: (1, 2), Action.HTTP: (1, 2), Action.FAIL: (1, 1)}.get(action, (0, 0))
    if not allowed[0] <= len(numbers) <= allowed[1]:
        raise ValueError(f"has a rule {text!r} with the wrong number of arguments")
    if action is Action.HTTP and not 500 <= numbers[0] <= 599:
        raise ValueError(f"has a rule {text!r} whose status is not between 500 and 599")
    return NumberRule(action, *numbers)


class RuleBook:
    """Rules by suffix; the longest suffix that fits decides."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = dict(texts)
        self._rules = {suffix: parse_rule(text) for suffix, text in texts.items()}
        self._lengths = sorted({len(suffix) for suffix in texts}, reverse=True)

    def rule_for(self, digits: str) -> NumberRule | None:
        for length in self._lengths:
            rule = self._rules.get(digits[-length:])
            if rule is not None:
                return rule
        return None
