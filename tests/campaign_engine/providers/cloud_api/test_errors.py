"""The table of error codes against the wire reference: section 3.3, written down here a second time, by its letters.

SLOW, LATER, RETRY, FAIL, FIX, STOP, SUPP are the reference's own words; what the engine does with each is `MEANS`.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.providers.cloud_api.errors import CLASS_OF_CODE, MAY_HAVE_LEFT, classify
from campaign_engine.rules.failures import ErrorClass

MEANS = {
    "SLOW": ErrorClass.THROTTLED,
    "LATER": ErrorClass.TEMPORARY,  # the pair limit: other recipients are not affected
    "RETRY": ErrorClass.TEMPORARY,
    "FAIL": ErrorClass.RECIPIENT,
    "SUPP": ErrorClass.RECIPIENT,
    "FIX": ErrorClass.CAMPAIGN,
    "STOP": ErrorClass.ACCOUNT,
}

# In the order of the reference, a line of the reference a line here.
REFERENCE = """
    0 STOP | 1 RETRY | 2 RETRY | 3 STOP | 4 SLOW | 10 STOP | 33 STOP | 100 FIX | 104 STOP | 190 STOP | 200 STOP
    368 STOP | 80007 SLOW | 130403 FAIL | 130429 SLOW | 130472 FAIL | 130497 FAIL | 130501 FIX
    131000 RETRY | 131005 STOP | 131008 FIX | 131009 FIX | 131014 FIX | 131016 RETRY | 131021 FAIL | 131026 FAIL
    131030 FAIL | 131031 STOP | 131037 STOP | 131042 STOP | 131045 STOP | 131047 FAIL | 131048 STOP | 131049 FAIL
    131050 SUPP | 131051 FIX | 131053 FIX | 131055 FIX | 131056 LATER | 131057 RETRY | 131062 FAIL | 131063 FIX
    131064 STOP | 132000 FIX | 132001 FIX | 132005 FIX | 132007 FIX | 132012 FIX | 132015 FIX | 132016 FIX
    132018 FIX | 132068 FIX | 132069 SLOW
    133000 STOP | 133005 STOP | 133006 STOP | 133008 STOP | 133009 STOP | 133015 STOP | 133004 RETRY | 133010 STOP
    133016 STOP | 134011 STOP | 134100 FIX | 134101 RETRY | 134102 FIX | 135000 FIX | 137000 FAIL
"""
TABLE = {
    int(code): word for code, word in (each.split() for each in REFERENCE.replace("\n", "|").split("|") if each.strip())
}

# "Dup risk" in the notes of the reference: the message may already be out. 133004 is added by meta-whatsapp-rs.
DUP_RISK = {1, 2, 131000, 131016, 133004}

# In the reference without a class, because no send ever meets them: inbound side, health node, management side.
NOT_A_SEND_ERROR = {131052, 141002, 141006, 2388019}


@pytest.mark.parametrize(("code", "word"), TABLE.items())
def test_every_code_of_the_reference_has_the_class_it_stands_for(code: int, word: str) -> None:
    assert classify(code) is MEANS[word]
    # What Meta says of its own faults changes nothing about a code that is known.
    assert classify(code, is_transient=True) is MEANS[word]


@pytest.mark.parametrize("code", [*range(201, 300)])
def test_every_code_from_200_to_299_is_a_missing_permission(code: int) -> None:
    assert classify(code) is ErrorClass.ACCOUNT


def test_the_table_has_no_code_that_the_reference_does_not_know() -> None:
    # 803 is OpenAPI's word for an unknown object id (reference 3.1), beside the table.
    assert set(CLASS_OF_CODE) == {*TABLE, *range(200, 300), 803}


def test_the_faults_after_which_a_message_may_be_out_are_those_with_a_duplicate_risk() -> None:
    assert MAY_HAVE_LEFT == DUP_RISK
    assert {classify(code) for code in MAY_HAVE_LEFT} == {ErrorClass.TEMPORARY}


def test_only_a_limit_on_speed_leaves_the_attempt_uncounted_and_reputation_is_not_speed() -> None:
    throttled = {code for code, error_class in CLASS_OF_CODE.items() if error_class is ErrorClass.THROTTLED}
    assert throttled == {4, 80007, 130429, 132069}
    assert classify(131048) is ErrorClass.ACCOUNT


@pytest.mark.parametrize("code", sorted(NOT_A_SEND_ERROR))
def test_a_code_that_no_send_meets_is_treated_as_unlisted(code: int) -> None:
    assert code not in CLASS_OF_CODE


@given(code=st.integers().filter(lambda code: code not in CLASS_OF_CODE))
def test_an_unlisted_code_is_final_unless_meta_calls_it_transient(code: int) -> None:
    assert classify(code) is ErrorClass.RECIPIENT
    assert classify(code, is_transient=True) is ErrorClass.TEMPORARY
