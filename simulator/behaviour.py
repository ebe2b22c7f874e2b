"""Every setting of the simulator's behaviour, declared once.

The command line and the control API are both made from this list: a setting added here has its option and its JSON
field. Each setting has the check of its values, and a sentence of help.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from simulator import checks
from simulator.errors import InvalidField
from simulator.number_rules import RuleBook

T = TypeVar("T")
Check = Callable[[object], object]


_REPLY_KIND = checks.one_of("text", "button")


def _setting(default: T, check: Check, explanation: str) -> T:
    setting: T = field(default=default, metadata={"check": check, "help": explanation})
    return setting


@dataclass(slots=True)
class Behaviour:
    """The settings in force. `lost_answer_next` and `refuse_next` count down as they are used."""

    seed: int = _setting(0, checks.count, "Decides the fate of every message, together with its key.")

    # The answer.
    latency_ms: float = _setting(30.0, checks.number, "Time from the arrival of a request to its answer.")
    jitter_ms: float = _setting(0.0, checks.number, "Up to this much is added to the latency, at random.")
    lost_answer_share: float = _setting(
        0.0, checks.share, "Share of messages that are accepted and whose answer is then lost."
    )
    lost_answer_next: int = _setting(0, checks.count, "Lose the answers of the next N accepted messages; counts down.")
    lost_answer_hang_ms: float = _setting(
        0.0, checks.number, "Hold the connection of a lost answer open this long before cutting it."
    )
    refusal_share: float = _setting(0.0, checks.share, "Share of send requests refused with one of the refusal codes.")
    refusal_codes: tuple[int, ...] = _setting(
        (131000,), checks.codes, "Codes that refused requests are given, equally often."
    )
    refuse_next: int = _setting(0, checks.count, "Refuse the next N send requests with refuse_next_code; counts down.")
    refuse_next_code: int = _setting(131000, checks.code, "The code for refuse_next.")
    http_500_share: float = _setting(
        0.0, checks.share, "Share of send requests answered with HTTP 500 without a Graph body, not accepted."
    )
    retry_after_s: int = _setting(
        0, checks.count, "Give throttling answers a Retry-After header of this many seconds; 0 is no header."
    )

    # Limits.
    throughput_per_s: float = _setting(
        80.0,
        checks.number,
        "Messages a second of a number before 130429, unless it has its own; 0 is no limit.",
    )
    throughput_burst: int = _setting(
        0, checks.count, "Messages that may come at once within the throughput; 0 is one second's worth."
    )
    pair_interval_s: float = _setting(
        6.0, checks.number, "Seconds for each message to the same recipient before 131056; 0 is no limit."
    )
    pair_burst: int = _setting(
        45, checks.positive, "Messages to the same recipient that may come at once, borrowed from the future."
    )
    unique_recipients_per_day: int = _setting(
        0, checks.count, "Different recipients of a WABA in a moving 24 h before 131048; 0 is no limit."
    )

    # Validation.
    accept_unknown_templates: bool = _setting(
        True, checks.flag, "Accept template names that the WABA does not have; otherwise they get 132001."
    )
    country_code_without_plus: str = _setting(
        "", checks.digits_or_empty, "Country code put before a recipient written without a plus; empty is none."
    )

    # The fate of a message.
    sent_delay_ms: tuple[float, float] = _setting((200.0, 200.0), checks.range_ms, "From acceptance to `sent`.")
    delivered_delay_ms: tuple[float, float] = _setting((500.0, 2000.0), checks.range_ms, "From `sent` to `delivered`.")
    read_delay_ms: tuple[float, float] = _setting((1000.0, 4000.0), checks.range_ms, "From `delivered` to `read`.")
    failed_delay_ms: tuple[float, float] = _setting((500.0, 2000.0), checks.range_ms, "From acceptance to `failed`.")
    failure_share: float = _setting(0.03, checks.share, "Share of the accepted messages that fail later, by webhook.")
    failure_codes: tuple[int, ...] = _setting(
        (131026,), checks.codes, "Codes that failed messages are given, equally often."
    )
    delivered_share: float = _setting(
        1.0, checks.share, "Share of the messages that did not fail that go on from `sent` to `delivered`."
    )
    read_share: float = _setting(0.7, checks.share, "Share of the delivered messages that are read.")
    skip_delivered_share: float = _setting(
        0.0, checks.share, "Share of the read messages that report no `delivered` before."
    )
    magic_numbers: bool = _setting(True, checks.flag, "Recipients with a magic ending meet the fate it stands for.")
    number_rules: RuleBook = _setting(  # noqa: RUF009 - a rule book is never changed
        RuleBook({}), checks.rules, "Rules of your own by the last digits of the recipient."
    )

    # Replies.
    reply_share: float = _setting(0.0, checks.share, "Share of the delivered messages whose recipient writes back.")
    reply_text: str = _setting("SAIR", checks.text, "What they write.")
    reply_kind: str = _setting("text", _REPLY_KIND, "`text`, or `button` for a quick-reply button.")
    reply_delay_ms: tuple[float, float] = _setting(
        (1000.0, 3000.0), checks.range_ms, "From the last status of the message to the reply."
    )

    # Webhooks.
    duplicate_webhook_share: float = _setting(0.0, checks.share, "Share of the status updates that are sent twice.")
    duplicate_delay_ms: tuple[float, float] = _setting(
        (0.0, 1000.0), checks.range_ms, "From an update to its second copy."
    )
    reorder_webhook_share: float = _setting(
        0.0, checks.share, "Share of the messages whose first status is reported after the second."
    )
    webhook_batch_ms: float = _setting(
        200.0, checks.number, "What falls due within this time goes into one webhook; 0 sends at once."
    )
    webhook_batch_size: int = _setting(1000, checks.positive, "Most updates in one webhook; 1000 is Meta's own limit.")
    webhook_concurrency: int = _setting(
        4, checks.positive, "Webhooks of one number that are under way at the same time."
    )
    webhook_timeout_ms: float = _setting(
        10_000.0, checks.number, "How long the receiver may take to answer; 0 waits for ever."
    )
    webhook_attempts: int = _setting(
        10, checks.positive, "Attempts of one webhook, the first included, before it is given up."
    )
    webhook_retry_ms: float = _setting(
        500.0, checks.number, "Wait before the third attempt, doubled from then on; the second comes at once."
    )
    webhook_retry_longest_ms: float = _setting(30_000.0, checks.number, "Longest wait between two attempts.")

    def with_changes(self, changes: Mapping[str, object]) -> "Behaviour":
        """Return a copy with some settings changed, or raise InvalidField for the first that is wrong."""
        return replace(self, **{name: _checked(name, value) for name, value in changes.items()})

    def as_json(self) -> dict[str, object]:
        return {name: _to_json(getattr(self, name)) for name in SETTINGS}


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    check: Check
    explanation: str
    default: object


SETTINGS: dict[str, Setting] = {
    each.name: Setting(each.name, each.metadata["check"], each.metadata["help"], each.default)
    for each in fields(Behaviour)
}


def _checked(name: str, value: object) -> Any:
    setting = SETTINGS.get(name)
    if setting is None:
        raise InvalidField(name, f"is not a setting; the settings are {', '.join(SETTINGS)}")
    try:
        return setting.check(value)
    except ValueError as problem:
        raise InvalidField(name, str(problem)) from None


def _to_json(value: object) -> object:
    if isinstance(value, RuleBook):
        return value.texts
    return list(value) if isinstance(value, tuple) else value
