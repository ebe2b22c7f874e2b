"""Meta's sending limits as behaviour: throughput, recipient pair, unique recipients.

The first two are token buckets in the form of the generic cell rate algorithm: one float for each, the
theoretical arrival time of the next message. Figures: docs/wire.md, Rates and limits.
"""

from collections import OrderedDict

from simulator.behaviour import Behaviour
from simulator.errors import Refused
from simulator.state.numbers import Number

_DAY_S = 86_400.0
# Unix seconds as floats are good to about 0.2 µs; without the slack a message exactly on time is refused.
_SLACK_S = 1e-6
_SWEEP_FROM = 10_000


def next_arrival(expected_at: float, now: float, interval_s: float, burst: float) -> float | None:
    """Return the new theoretical arrival time when a message may pass now, else None."""
    start = max(expected_at, now)
    if start - now > (burst - 1) * interval_s + _SLACK_S:
        return None
    return start + interval_s


class Limits:
    """What has been used of each limit. Nothing is charged unless every limit lets the message pass."""

    def __init__(self) -> None:
        self._throughput: dict[str, float] = {}
        self._pairs = _Pairs()
        self._audiences: dict[str, _MovingAudience] = {}

    def charge(self, number: Number, recipient_key: str, now: float, behaviour: Behaviour) -> None:
        """Charge one message. Raises Refused (130429, 131056, 131048), and then nothing is charged."""
        throughput = self._throughput_after(number, now, behaviour)
        pair_key = (number.phone_number_id, recipient_key)
        pair: float | None = None
        if behaviour.pair_interval_s:
            expected_at = self._pairs.get(pair_key)
            pair = next_arrival(expected_at, now, behaviour.pair_interval_s, behaviour.pair_burst)
            if pair is None:
                raise Refused(131056, "Too many messages from this phone number to the same recipient.")
        if behaviour.unique_recipients_per_day:
            # Meta documents no code for this limit; 131048 is this simulator's choice.
            audience = self._audiences.setdefault(number.waba_id, _MovingAudience())
            if not audience.admits(recipient_key, now, behaviour.unique_recipients_per_day):
                raise Refused(131048, "The limit of unique recipients in 24 hours has been reached.")
            audience.note(recipient_key, now)
        if throughput is not None:
            self._throughput[number.phone_number_id] = throughput
        if pair is not None:
            self._pairs.put(pair_key, pair, now)

    def remember_recipient(self, waba_id: str, recipient_key: str, at: float) -> None:
        """Count a recipient of an earlier run, so that a restart does not open the daily limit again."""
        self._audiences.setdefault(waba_id, _MovingAudience()).note(recipient_key, at)

    def _throughput_after(self, number: Number, now: float, behaviour: Behaviour) -> float | None:
        rate = behaviour.throughput_per_s if number.throughput_per_s is None else number.throughput_per_s
        if not rate:
            return None
        burst = behaviour.throughput_burst or max(1.0, rate)
        expected_at = self._throughput.get(number.phone_number_id, 0.0)
        after = next_arrival(expected_at, now, 1 / rate, burst)
        if after is None:
            raise Refused(130429, "Cloud API message throughput has been reached.")
        return after


class _Pairs:
    """Theoretical arrival times by pair; past ones mean nothing, and are removed as the table grows."""

    def __init__(self) -> None:
        self._expected_at: dict[tuple[str, str], float] = {}
        self._sweep_at_size = _SWEEP_FROM

    def get(self, key: tuple[str, str]) -> float:
        return self._expected_at.get(key, 0.0)

    def put(self, key: tuple[str, str], expected_at: float, now: float) -> None:
        self._expected_at[key] = expected_at
        if len(self._expected_at) > self._sweep_at_size:
            self._expected_at = {key: at for key, at in self._expected_at.items() if at > now}
            self._sweep_at_size = max(_SWEEP_FROM, 2 * len(self._expected_at))


class _MovingAudience:
    """The different recipients of the last 24 hours, the one not written to for longest first."""

    def __init__(self) -> None:
        self._last_at: OrderedDict[str, float] = OrderedDict()

    def admits(self, recipient_key: str, now: float, limit: int) -> bool:
        while self._last_at and next(iter(self._last_at.values())) <= now - _DAY_S:
            self._last_at.popitem(last=False)
        return recipient_key in self._last_at or len(self._last_at) < limit

    def note(self, recipient_key: str, at: float) -> None:
        self._last_at[recipient_key] = at
        self._last_at.move_to_end(recipient_key)
