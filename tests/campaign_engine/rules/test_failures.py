"""The one table of what failures mean."""

import pytest

from campaign_engine.providers.base import Failure, NotSent, Refused
from campaign_engine.rules.failures import MEANING, NEVER_LEFT, Blame, ErrorClass, Fate, Meaning

EVERY = [*MEANING.values(), NEVER_LEFT]


def test_every_class_has_a_meaning() -> None:
    assert set(MEANING) == set(ErrorClass)


@pytest.mark.parametrize("meaning", EVERY)
def test_a_row_that_waits_loses_no_attempt_and_every_other_does(meaning: Meaning) -> None:
    assert meaning.attempt_counts is (meaning.fate is not Fate.WAITS)


@pytest.mark.parametrize("meaning", EVERY)
def test_what_is_at_fault_beyond_the_message_would_be_met_by_others(meaning: Meaning) -> None:
    assert meaning.blames is None or meaning.others_would_meet_it


def test_each_thing_at_fault_is_blamed_by_one_class() -> None:
    assert sorted(each.blames for each in EVERY if each.blames is not None) == sorted(Blame)


def test_a_fault_of_one_recipient_stops_nobody_else() -> None:
    assert MEANING[ErrorClass.RECIPIENT] == Meaning(Fate.FAILS, attempt_counts=True)


def test_an_answer_has_the_meaning_of_its_class_and_what_never_left_its_own() -> None:
    assert Refused(Failure(ErrorClass.THROTTLED, "130429", "too fast")).meaning is MEANING[ErrorClass.THROTTLED]
    assert NotSent("refused").meaning is NEVER_LEFT
    assert NotSent("refused").failure == Failure(ErrorClass.TEMPORARY, "not_sent", "refused")
