"""Dealing messages out by weight."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.rules.rotation import hand


@pytest.mark.parametrize(
    ("weights", "dealt"),
    [
        ({7: 5}, [7]),
        ({7: 100, 8: 100}, [7, 8]),
        ({7: 3, 8: 1}, [7, 7, 8, 7]),
        ({7: 1, 8: 2, 9: 3}, [9, 8, 7, 9, 8, 9]),
    ],
)
def test_the_same_shares_whatever_their_measure_and_nobody_gets_all_of_them_at_once(
    weights: dict[int, int], dealt: list[int]
) -> None:
    assert hand(weights, most=1000) == dealt


@given(weights=st.dictionaries(st.integers(1, 50), st.integers(1, 60), min_size=1, max_size=5))
def test_a_whole_hand_is_exact_and_the_beginning_of_one_is_nearly_so(weights: dict[int, int]) -> None:
    dealt = hand(weights, most=1000)
    total = sum(weights.values())
    assert {account: Fraction(count, len(dealt)) for account, count in Counter(dealt).items()} == {
        account: Fraction(weight, total) for account, weight in weights.items()
    }
    seen: Counter[int] = Counter()
    for at, account in enumerate(dealt, start=1):
        seen[account] += 1
        for each, weight in weights.items():
            assert abs(seen[each] - Fraction(at * weight, total)) <= len(weights)


def test_weights_without_a_small_measure_are_cut() -> None:
    assert len(hand({1: 999, 2: 1000}, most=100)) == 100
