"""The pace of an account: intervals are floors, a longer one after each series, jitter only adds."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from campaign_engine.rules import pacing
from campaign_engine.rules.eta import ends
from campaign_engine.rules.pacing import PACING_FIELDS, Pacing

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OFF = Pacing(message_interval_s=0, longer_interval_after=0, greater_interval_s=0, message_delay_s=0)

# Off as often as on, as in practice; whole milliseconds, since a datetime knows nothing below a microsecond.
_SECONDS = st.just(0) | st.sampled_from([0.001, 1, 20, 60, 86400]) | st.integers(0, 1_000_000).map(lambda ms: ms / 1000)
_PACINGS = st.builds(
    Pacing,
    message_interval_s=_SECONDS,
    longer_interval_after=st.integers(0, 30),
    greater_interval_s=_SECONDS,
    message_delay_s=_SECONDS,
    jitter_s=_SECONDS,
)
_CHANCES = st.floats(0, 1, exclude_max=True)


def series(pace: Pacing, count: int, *, chance: float = 0.0) -> list[float]:
    """Return the waits after each of `count` messages of an account that sends whenever it may."""
    waits, series_count, at = [], 0, NOW
    for _ in range(count):
        until, series_count = pacing.next_after(pace, series_count=series_count, sent_at=at, chance=chance)
        waits.append((until - at).total_seconds())
        at = until
    return waits


def test_the_default_pace_waits_20_s_and_a_minute_after_each_20() -> None:
    pace = Pacing(message_interval_s=20, longer_interval_after=20, greater_interval_s=60, message_delay_s=1)
    assert series(pace, 45) == [20.0] * 19 + [60.0] + [20.0] * 19 + [60.0] + [20.0] * 5


def test_a_longer_pause_that_is_shorter_is_none() -> None:
    pace = Pacing(message_interval_s=20, longer_interval_after=2, greater_interval_s=5, message_delay_s=0)
    assert series(pace, 4) == [20.0] * 4


def test_only_a_longer_pause_leaves_the_messages_between_it_unpaced() -> None:
    pace = Pacing(message_interval_s=0, longer_interval_after=3, greater_interval_s=60, message_delay_s=0)
    assert series(pace, 7) == [0.0, 0.0, 60.0, 0.0, 0.0, 60.0, 0.0]
    assert pace.account_is_paced
    assert not pace.one_at_a_time


def test_a_series_that_is_made_shorter_while_it_runs_ends_with_the_next_message() -> None:
    pace = Pacing(message_interval_s=20, longer_interval_after=5, greater_interval_s=60, message_delay_s=0)
    until, series_count = pacing.next_after(pace, series_count=17, sent_at=NOW, chance=0)
    assert (until, series_count) == (NOW + timedelta(seconds=60), 0)


@given(pace=_PACINGS, chance=_CHANCES, count=st.integers(1, 70))
def test_an_interval_is_a_floor_and_jitter_only_adds(pace: Pacing, chance: float, count: int) -> None:
    for wait_s in series(pace, count, chance=chance):
        assert wait_s >= pace.message_interval_s - 1e-5
        assert wait_s <= max(pace.message_interval_s, pace.greater_interval_s) + pace.jitter_s + 1e-5


@given(pace=_PACINGS, chance=_CHANCES)
def test_every_stretch_of_a_whole_series_holds_one_longer_pause(pace: Pacing, chance: float) -> None:
    after = pace.longer_interval_after
    waits = series(pace, 3 * after, chance=chance)
    for start in range(max(0, len(waits) - after) + 1 if after else 0):
        assert max(waits[start : start + after]) >= pace.greater_interval_s - 1e-5


@example(pace=Pacing(20, 20, 60, 1, jitter_s=2))
@example(pace=Pacing(0, 5, 60, 30))
@given(pace=_PACINGS)
def test_the_period_for_an_eta_is_the_mean_of_a_long_run(pace: Pacing) -> None:
    # The jitter is half of itself on average.
    rounds = max(1, pace.longer_interval_after)
    mean_s = sum(series(pace, rounds, chance=0.5)) / rounds
    assert ends.period_s(pace, per_s=math.inf)[0] == pytest.approx(mean_s, rel=1e-3, abs=1e-6)


@given(pace=_PACINGS)
def test_a_pace_of_zeros_is_no_pace(pace: Pacing) -> None:
    waits = series(pace, 60)
    assert pace.account_is_paced or not any(waits)
    assert pace.one_at_a_time or pace.message_delay_s == pace.message_interval_s == pace.jitter_s == 0


def test_everything_off_is_as_fast_as_the_limits_allow() -> None:
    assert (OFF.account_is_paced, OFF.one_at_a_time) == (False, False)
    assert ends.period_s(OFF, per_s=20.0)[0] == 1 / 20.0


@pytest.mark.parametrize(
    ("changes", "account_is_paced", "one_at_a_time"),
    [
        ({"message_interval_s": 1}, True, True),
        ({"message_delay_s": 1}, False, True),
        ({"jitter_s": 1}, True, True),
        ({"longer_interval_after": 5}, False, False),
        ({"greater_interval_s": 60}, False, False),
        ({"longer_interval_after": 5, "greater_interval_s": 60}, True, False),
    ],
)
def test_what_each_interval_means_for_a_turn(
    changes: dict[str, Any], account_is_paced: bool, one_at_a_time: bool
) -> None:
    pace = pacing.resolve(changes)
    assert (pace.account_is_paced, pace.one_at_a_time) == (account_is_paced, one_at_a_time)


# --- Layers.

_LAYERS = st.lists(st.dictionaries(st.sampled_from(PACING_FIELDS), st.none() | st.integers(0, 9)), max_size=4)


@example(layers=[{"jitter_s": None}, {"jitter_s": 0}, {"jitter_s": 5}])
@given(layers=_LAYERS)
def test_the_strongest_layer_that_says_something_wins_and_zero_is_something(layers: list[dict[str, Any]]) -> None:
    resolved = pacing.resolve(*layers)
    for name in PACING_FIELDS:
        said = [layer[name] for layer in layers if layer.get(name) is not None]
        assert getattr(resolved, name) == (said[0] if said else 0)


def test_other_settings_in_a_layer_are_left_alone() -> None:
    assert pacing.resolve({"campaign_rate_limit": "1/minute", "message_interval_s": 3}).message_interval_s == 3
