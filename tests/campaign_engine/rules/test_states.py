"""The states: what may follow what, and that no order of webhooks changes where a message ends."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.rules.states import (
    CAMPAIGN_IS_OVER,
    CAMPAIGN_TRANSITIONS,
    STATUS_MAY_REPLACE,
    CampaignStatus,
    MessageStatus,
)

C, M = CampaignStatus, MessageStatus
REPORTED = (M.SENT, M.FAILED, M.DELIVERED, M.READ)  # in the order of rank


def verbs_of(status: CampaignStatus) -> set[str]:
    return {verb for verb, (starts_from, _) in CAMPAIGN_TRANSITIONS.items() if status in starts_from}


@pytest.mark.parametrize(
    ("status", "verbs"),
    [
        (C.DRAFT, {"schedule", "start", "cancel"}),
        (C.SCHEDULED, {"schedule", "start", "miss", "cancel"}),
        (C.PREPARING, {"run", "fail", "cancel"}),
        (C.RUNNING, {"pause", "complete", "cancel"}),
        (C.PAUSED, {"resume", "cancel"}),
        (C.COMPLETED, {"reopen"}),
        (C.CANCELLED, set()),
        (C.FAILED, set()),
    ],
)
def test_what_may_be_done_with_a_campaign_in_each_state(status: CampaignStatus, verbs: set[str]) -> None:
    assert verbs_of(status) == verbs


@pytest.mark.parametrize(
    ("verb", "leads_to"),
    [
        ("schedule", C.SCHEDULED),
        ("start", C.PREPARING),
        ("miss", C.DRAFT),
        ("run", C.RUNNING),
        ("fail", C.FAILED),
        ("pause", C.PAUSED),
        ("resume", C.RUNNING),
        ("complete", C.COMPLETED),
        ("reopen", C.RUNNING),
        ("cancel", C.CANCELLED),
    ],
)
def test_where_each_verb_leads(verb: str, leads_to: CampaignStatus) -> None:
    assert CAMPAIGN_TRANSITIONS[verb][1] is leads_to


def test_nothing_but_a_resend_leaves_a_state_in_which_a_campaign_is_over_and_every_other_state_can_end() -> None:
    for status in CampaignStatus:
        assert (verbs_of(status) <= {"reopen"}) == (status in CAMPAIGN_IS_OVER)
        assert status in CAMPAIGN_IS_OVER or "cancel" in verbs_of(status)


def test_every_state_can_be_reached_from_a_draft() -> None:
    reached = {C.DRAFT}
    while True:
        found = {leads_to for starts_from, leads_to in CAMPAIGN_TRANSITIONS.values() if starts_from & reached}
        if found <= reached:
            break
        reached |= found
    assert reached == set(CampaignStatus)


# --- What a provider reports.


def after(statuses: list[MessageStatus], start: MessageStatus) -> MessageStatus:
    state = start
    for status in statuses:
        if state in STATUS_MAY_REPLACE[status]:
            state = status
    return state


@given(
    statuses=st.lists(st.sampled_from(REPORTED), min_size=1, max_size=7),
    start=st.sampled_from([M.PENDING, M.SENDING, M.UNKNOWN]),
)
def test_in_whatever_order_and_however_often_statuses_arrive_the_highest_rules(
    statuses: list[MessageStatus], start: MessageStatus
) -> None:
    assert after(statuses, start) is max(statuses, key=REPORTED.index)


def test_all_orders_of_all_four_end_as_read() -> None:
    assert {after(list(order), M.SENDING) for order in permutations(REPORTED)} == {M.READ}


@pytest.mark.parametrize("status", REPORTED)
def test_a_status_never_replaces_itself_nor_a_message_that_was_left_out(status: MessageStatus) -> None:
    assert status not in STATUS_MAY_REPLACE[status]
    assert M.SKIPPED not in STATUS_MAY_REPLACE[status]


@pytest.mark.parametrize("start", [M.PENDING, M.SENDING, M.UNKNOWN])
@pytest.mark.parametrize("status", REPORTED)
def test_a_proof_of_the_provider_settles_whatever_was_not_yet_sent(status: MessageStatus, start: MessageStatus) -> None:
    assert start in STATUS_MAY_REPLACE[status]


def test_a_failure_loses_against_a_later_delivery_and_wins_over_nothing_that_arrived() -> None:
    assert M.FAILED in STATUS_MAY_REPLACE[M.DELIVERED]
    assert M.FAILED in STATUS_MAY_REPLACE[M.READ]
    assert not STATUS_MAY_REPLACE[M.FAILED] & {M.DELIVERED, M.READ}
    assert M.FAILED not in STATUS_MAY_REPLACE[M.SENT]


def test_only_what_a_provider_reports_is_in_the_table() -> None:
    assert set(STATUS_MAY_REPLACE) == set(REPORTED)
