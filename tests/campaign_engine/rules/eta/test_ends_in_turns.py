"""The flow's ends where turns matter: delays and limits about as long as the account's own interval."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from math import inf

import pytest

from campaign_engine.rules.eta.ends import ends_of
from campaign_engine.rules.eta.terms import Load, SenderTerms
from campaign_engine.rules.pacing import Pacing
from tests.campaign_engine.rules.eta.one_by_one import sent_one_by_one

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
INTERVAL_S = 20.0
RATIOS = (0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0)
EVEN = Pacing(message_interval_s=INTERVAL_S, longer_interval_after=0, greater_interval_s=0, message_delay_s=0)
WITH_PAUSES = replace(EVEN, longer_interval_after=20, greater_interval_s=60)
LIMITED = replace(EVEN, message_interval_s=0)

Scene = tuple[list[Load], Mapping[int, SenderTerms], Mapping[int, float]]


def scene(
    pace: Pacing, *, accounts: int, campaigns: int, delay_s: float = 0, owner_s: float = 0, sizes: float = 1
) -> Scene:
    """Return equal campaigns that share all accounts; `sizes` makes each so many times as big as the one before."""
    per_s = 1 / INTERVAL_S if pace is LIMITED else inf
    used = dict.fromkeys(range(accounts), replace(pace, message_delay_s=delay_s))
    loads = [Load(each, 1, round(240 * sizes**each), used) for each in range(campaigns)]
    return loads, dict.fromkeys(used, SenderTerms(per_s)), {1: 1 / owner_s} if owner_s else {}


def largest_error(made: Scene) -> float:
    return max(errors_of(made), key=abs)


def errors_of(made: Scene) -> list[float]:
    """Return by which share of the time it takes the end of each is foretold too early (negative) or too late."""
    loads, senders, owners = made
    ends = ends_of(loads, senders, owners=owners, now=NOW)
    real = sent_one_by_one(loads, senders, owners=owners, quotas={}, now=NOW)
    errors = []
    for each in loads:
        at = ends[each.campaign_id].at
        assert at is not None
        errors.append(((at - NOW).total_seconds() - real[each.campaign_id]) / real[each.campaign_id])
    return errors


@pytest.mark.parametrize("pace", [EVEN, WITH_PAUSES, LIMITED], ids=["even", "with_pauses", "limited"])
@pytest.mark.parametrize(
    "made",
    [
        lambda pace, s: scene(pace, accounts=1, campaigns=1, delay_s=s),
        lambda pace, s: scene(pace, accounts=1, campaigns=2, delay_s=s),
        lambda pace, s: scene(pace, accounts=1, campaigns=3, delay_s=s, sizes=0.5),
        lambda pace, s: scene(pace, accounts=1, campaigns=5, delay_s=s),
        lambda pace, s: scene(pace, accounts=2, campaigns=1, delay_s=s),
        lambda pace, s: scene(pace, accounts=2, campaigns=3, delay_s=s),
        lambda pace, s: scene(pace, accounts=1, campaigns=1, owner_s=s),
        lambda pace, s: scene(pace, accounts=1, campaigns=3, owner_s=s),
        lambda pace, s: scene(pace, accounts=2, campaigns=1, owner_s=s),
        lambda pace, s: scene(pace, accounts=2, campaigns=2, owner_s=s / 2),
        lambda pace, s: scene(pace, accounts=3, campaigns=3, owner_s=s / 3),
        lambda pace, s: scene(pace, accounts=2, campaigns=1, delay_s=s, owner_s=s / 2),
    ],
)
def test_equal_campaigns_end_where_turns_let_them_whatever_their_delay_or_their_owners_limit(
    made: Callable[[Pacing, float], Scene], pace: Pacing
) -> None:
    errors = {ratio: largest_error(made(pace, ratio * INTERVAL_S)) for ratio in RATIOS}
    assert {ratio: round(error, 3) for ratio, error in errors.items() if abs(error) > 0.02} == {}


@pytest.mark.parametrize(("pace", "most"), [(EVEN, 0.02), (LIMITED, 0.02), (WITH_PAUSES, 0.05)])
@pytest.mark.parametrize("ratio", RATIOS)
def test_beside_others_that_fill_an_account_a_delay_or_an_owners_limit_lasts_whole_turns(
    pace: Pacing, most: float, ratio: float
) -> None:
    wait_s = ratio * INTERVAL_S
    [slow], senders, _ = scene(pace, accounts=1, campaigns=1, delay_s=wait_s)
    [greedy], _, owners = scene(pace, accounts=1, campaigns=1, owner_s=wait_s)
    filling = replace(greedy, campaign_id=7, owner_id=7, message_count=1000)
    for made in (([slow, filling], senders, {}), ([greedy, filling], senders, owners)):
        assert largest_error(made) == pytest.approx(0, abs=most)


def test_a_delay_does_not_last_whole_turns_where_turns_are_left_over() -> None:
    [quick], senders, _ = scene(EVEN, accounts=1, campaigns=1, delay_s=25)
    [slow], _, _ = scene(EVEN, accounts=1, campaigns=1, delay_s=60)
    slow = replace(slow, campaign_id=7, message_count=200)
    assert largest_error(([quick, slow], senders, {})) == pytest.approx(0, abs=0.08)


def test_campaigns_mixed_at_random_end_about_where_turns_let_them() -> None:
    chance = random.Random(7)
    errors = sorted(abs(error) for _ in range(150) for error in errors_of(mixed(chance)))
    assert errors[len(errors) * 9 // 10] < 0.05
    assert errors[len(errors) * 19 // 20] < 0.10


def mixed(chance: random.Random) -> Scene:
    accounts = range(chance.choice([1, 1, 1, 2, 2, 3]))
    pace = chance.choice([EVEN, WITH_PAUSES, LIMITED])
    loads = []
    for each in range(chance.randint(1, 5)):
        own = replace(pace, message_delay_s=chance.choice([0.0, 1.0, chance.uniform(5, 60)]))
        used = dict.fromkeys(chance.sample(accounts, chance.randint(1, len(accounts))), own)
        loads.append(Load(each, chance.choice([1, 1, 2]), chance.randint(60, 400), used))
    per_s = [1 / 10, 1 / 3] if pace is LIMITED else [inf, inf, 1 / 10, 1 / 3]
    owners = {owner: 1 / chance.uniform(3, 60) for owner in (1, 2) if chance.random() < 0.3}
    return loads, {account: SenderTerms(chance.choice(per_s)) for account in accounts}, owners


def test_a_long_pause_costs_the_less_the_longer_a_delay_leaves_the_account_idle() -> None:
    """21 s between messages of the one campaign, and 60 s after each twentieth: 39 s more, not 40."""
    loads, senders, owners = scene(WITH_PAUSES, accounts=1, campaigns=1, delay_s=21)
    at = ends_of(loads, senders, owners=owners, now=NOW)[0].at
    assert at is not None
    assert (at - NOW).total_seconds() == pytest.approx(239 * 21 + 11 * 39, abs=0.01)
