"""Campaigns that share an account take turns: in order, by quanta, until there is no room or nobody waits."""

from collections import Counter
from dataclasses import dataclass
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.rules.fairness import after_serving, interleave, last_served


@dataclass(frozen=True)
class _Served:
    campaign_id: int


_WAITING = st.dictionaries(st.integers(1, 9), st.integers(0, 40), max_size=6)


@st.composite
def lanes(draw: st.DrawFn) -> tuple[dict[int, int], list[int], int, int]:
    waiting = draw(_WAITING)
    order = draw(st.permutations(sorted(waiting)))
    return waiting, list(order), draw(st.integers(1, 7)), draw(st.integers(0, 120))


@pytest.mark.parametrize(
    ("waiting", "quantum", "room", "sequence"),
    [
        ({1: 7, 2: 4}, 3, 99, [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 1]),
        ({1: 7, 2: 4}, 3, 4, [1, 1, 1, 2]),
        ({1: 2, 2: 0, 3: 2}, 1, 99, [1, 3, 1, 3]),
        ({1: 5}, 3, 99, [1] * 5),
        ({1: 5}, 3, 0, []),
        ({}, 3, 9, []),
    ],
)
def test_quanta_go_round_in_order(waiting: dict[int, int], quantum: int, room: int, sequence: list[int]) -> None:
    assert interleave(waiting, order=sorted(waiting), quantum=quantum, room=room) == sequence


@given(lane=lanes())
def test_all_the_room_is_used_and_nobody_gets_more_than_waits(lane: tuple[dict[int, int], list[int], int, int]) -> None:
    waiting, order, quantum, room = lane
    sequence = interleave(waiting, order=order, quantum=quantum, room=room)
    assert len(sequence) == min(room, sum(waiting.values()))
    assert all(count <= waiting[campaign] for campaign, count in Counter(sequence).items())


@given(lane=lanes())
def test_at_no_moment_is_a_waiting_campaign_more_than_a_quantum_behind_another(
    lane: tuple[dict[int, int], list[int], int, int],
) -> None:
    waiting, order, quantum, room = lane
    sequence = interleave(waiting, order=order, quantum=quantum, room=room)
    served: Counter[int] = Counter()
    for campaign in sequence:
        served[campaign] += 1
        still_waiting = [other for other in order if served[other] < waiting[other]]
        assert all(served[campaign] - served[other] <= quantum for other in still_waiting)


@given(lane=lanes())
def test_the_first_round_is_in_the_order_of_service(lane: tuple[dict[int, int], list[int], int, int]) -> None:
    waiting, order, quantum, room = lane
    sequence = interleave(waiting, order=order, quantum=quantum, room=room)
    first_met = list(dict.fromkeys(sequence))
    busy = [campaign for campaign in order if waiting[campaign]]
    assert first_met == busy[: len(first_met)]


@given(lane=lanes())
def test_whoever_waits_for_less_room_gets_the_beginning_of_the_same_sequence(
    lane: tuple[dict[int, int], list[int], int, int],
) -> None:
    waiting, order, quantum, room = lane
    whole = interleave(waiting, order=order, quantum=quantum, room=10_000)
    assert interleave(waiting, order=order, quantum=quantum, room=room) == whole[:room]


def test_no_run_is_longer_than_a_quantum_while_others_wait() -> None:
    sequence = interleave({1: 30, 2: 30, 3: 30}, order=[3, 1, 2], quantum=4, room=90)
    runs = [(campaign, len(list(run))) for campaign, run in groupby(sequence)]
    assert [campaign for campaign, _ in runs[:6]] == [3, 1, 2, 3, 1, 2]
    assert max(length for _, length in runs) <= 4


def test_a_campaign_without_a_place_in_the_order_gets_no_turn_and_holds_up_nobody() -> None:
    assert interleave({1: 2, 2: 2}, order=[1], quantum=3, room=99) == [1, 1]
    assert interleave({1: 2}, order=[2, 1], quantum=3, room=99) == [1, 1]


def test_a_campaign_without_anything_to_send_costs_no_turn() -> None:
    assert interleave({1: 1, 2: 0, 3: 1}, order=[2, 1, 3], quantum=3, room=9) == [1, 3]


@given(
    campaigns=st.integers(2, 7), quantum=st.integers(1, 4), rooms=st.lists(st.integers(1, 60), min_size=1, max_size=60)
)
def test_over_many_rounds_of_any_size_nobody_gets_ahead_by_more_than_a_few_quanta(
    campaigns: int, quantum: int, rooms: list[int]
) -> None:
    order = [_Served(at) for at in range(campaigns)]
    waiting = dict.fromkeys(range(campaigns), 10_000)
    sent: Counter[int] = Counter()
    for room in rooms:
        ids = [each.campaign_id for each in order]
        sequence = [_Served(at) for at in interleave(waiting, order=ids, quantum=quantum, room=room)]
        sent.update(each.campaign_id for each in sequence)
        order = after_serving(order, sequence)
    # Whoever is cut short in the middle of a quantum counts as served: a quantum is lost at most each time round.
    least = min(sent[at] for at in range(campaigns))
    assert max(sent.values()) - least <= quantum * (1 + len(rooms))


def test_room_that_is_no_multiple_of_a_round_is_shared_all_the_same() -> None:
    order = [_Served(at) for at in range(5)]
    waiting = dict.fromkeys(range(5), 10_000)
    sent: Counter[int] = Counter()
    for _ in range(50):
        ids = [each.campaign_id for each in order]
        sequence = [_Served(at) for at in interleave(waiting, order=ids, quantum=3, room=42)]
        sent.update(each.campaign_id for each in sequence)
        order = after_serving(order, sequence)
    assert sum(sent.values()) == 2100
    assert max(sent.values()) - min(sent.values()) <= 3


def test_those_that_were_not_served_come_first_and_keep_their_order() -> None:
    order = [_Served(at) for at in (1, 2, 3, 4)]
    sent = [_Served(at) for at in (1, 1, 3, 1)]
    assert [each.campaign_id for each in after_serving(order, sent)] == [2, 4, 3, 1]
    assert last_served(sent) == {1: 3, 3: 2}
