"""Max-min fair sharing: nobody gets less so that somebody who has more gets more still."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.rules.sharing import Sharing


def shares(capacities: dict[str, float], wishes: list[tuple[float, dict[str, float]]]) -> list[tuple[float, object]]:
    sharing = Sharing()
    for most, uses in wishes:
        item = sharing.add(most=most)
        for name, weight in uses.items():
            sharing.bind(item, name, capacity=capacities[name], weight=weight)
    return sharing.fill()


def test_equals_get_equal_parts_and_what_one_cannot_use_goes_to_the_others() -> None:
    assert shares({"a": 9}, [(inf, {"a": 1})] * 3) == [(3, "a")] * 3
    assert shares({"a": 9}, [(1, {"a": 1}), (inf, {"a": 1}), (inf, {"a": 1})]) == [(1, None), (4, "a"), (4, "a")]


def test_what_is_scarce_stops_those_who_use_it_and_nobody_else() -> None:
    found = shares({"a": 10, "b": 2}, [(inf, {"a": 1, "b": 1}), (inf, {"a": 1})])
    assert found == [(2, "b"), (8, "a")]
    assert shares({"a": 10, "b": 0}, [(inf, {"a": 1, "b": 1}), (inf, {"a": 1})]) == [(0, "b"), (10, "a")]


def test_a_weight_is_what_each_unit_costs() -> None:
    assert shares({"a": 12}, [(inf, {"a": 1}), (inf, {"a": 3})]) == [(3, "a"), (3, "a")]


def test_nothing_shared_is_no_bound() -> None:
    assert shares({}, [(inf, {}), (2, {})]) == [(inf, None), (2, None)]


_NAMES = ("a", "b", "c")


@given(
    capacities=st.fixed_dictionaries({name: st.sampled_from([0.0, 0.5, 3.0, 100.0]) for name in _NAMES}),
    wishes=st.lists(
        st.tuples(
            st.sampled_from([0.1, 1.0, 50.0]),
            st.dictionaries(st.sampled_from(_NAMES), st.sampled_from([0.1, 1.0, 22.0])),
        ),
        max_size=8,
    ),
)
def test_nothing_is_overdrawn_and_who_is_stopped_is_stopped_by_something_full_where_nobody_has_more(
    capacities: dict[str, float], wishes: list[tuple[float, dict[str, float]]]
) -> None:
    found = shares(capacities, wishes)
    used = {
        name: sum(rate * uses.get(name, 0) for (rate, _), (_, uses) in zip(found, wishes, strict=True))
        for name in _NAMES
    }
    for name in _NAMES:
        assert used[name] <= capacities[name] + 1e-6
    for (rate, by), (most, _) in zip(found, wishes, strict=True):
        assert rate <= most + 1e-9
        if by is None:
            assert rate == most
        else:
            assert used[str(by)] == pytest.approx(capacities[str(by)], abs=1e-6)
            of_the_same = [other for (other, _), (_, uses) in zip(found, wishes, strict=True) if by in uses]
            assert rate >= max(of_the_same) - 1e-6
