"""How messages are dealt out to accounts by weight."""

import heapq
from collections.abc import Mapping
from fractions import Fraction
from math import gcd


def hand(weights: Mapping[int, int], *, most: int) -> list[int]:
    """Return the account of each message, to be dealt round and round: each as often as its weight, evenly spread.

    `most` bounds the length, in case the weights have no small common measure.
    """
    measure = gcd(*weights.values())
    length = min(sum(weights.values()) // measure, most)
    # Each account's k-th message falls due at (k + 1/2) / weight; the earliest is dealt first.
    due = [(Fraction(1, 2 * weight), account) for account, weight in weights.items()]
    heapq.heapify(due)
    dealt: list[int] = []
    while len(dealt) < length:
        at, account = due[0]
        dealt.append(account)
        heapq.heapreplace(due, (at + Fraction(1, weights[account]), account))
    return dealt
