"""The classes of error codes against the table that people read: docs/wire.md, Error codes.

SLOW, LATER, RETRY, FAIL, FIX, STOP, SUPP are that table's own words; what the engine does with each is `MEANS`.
"""

import re
from pathlib import Path

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
NO_SEND_MEETS_IT = "–"

WIRE = Path(__file__).parents[4] / "docs" / "wire.md"
ROW = re.compile(r"^\| (\d[\d, to]*) \| [^|]+ \| (\S+) \| (yes )?\|", re.MULTILINE)


def codes_in(cell: str) -> list[int]:
    """Return the codes of a table's cell: `4`, `133000, 133005`, `200 to 299`."""
    first, between, last = cell.partition(" to ")
    return [*range(int(first), int(last) + 1)] if between else [int(code) for code in cell.split(", ")]


SECTION = WIRE.read_text(encoding="utf-8").partition("\n### Error codes\n")[2].partition("\n### ")[0]
ROWS = [(code, word, bool(out)) for codes, word, out in ROW.findall(SECTION) for code in codes_in(codes)]
TABLE = {code: word for code, word, _ in ROWS if word != NO_SEND_MEETS_IT}
NOT_A_SEND_ERROR = {code for code, word, _ in ROWS if word == NO_SEND_MEETS_IT}


def test_every_line_of_the_table_is_read_and_no_code_stands_twice() -> None:
    lines = [line for line in SECTION.splitlines() if re.match(r"\| \d", line)]
    assert len(lines) == len(ROW.findall(SECTION)) > 60
    assert len(ROWS) == len({code for code, _, _ in ROWS})
    assert sorted(NOT_A_SEND_ERROR) == [131052, 141002, 141006, 2388019]


@pytest.mark.parametrize(("code", "word"), TABLE.items())
def test_every_code_of_the_table_has_the_class_its_word_stands_for(code: int, word: str) -> None:
    assert classify(code) is MEANS[word]
    # What Meta says of its own faults changes nothing about a code that is known.
    assert classify(code, is_transient=True) is MEANS[word]


def test_the_engine_has_no_class_for_a_code_that_the_table_does_not_know() -> None:
    assert set(CLASS_OF_CODE) == set(TABLE)


def test_the_faults_after_which_a_message_may_be_out_are_those_the_table_says_it_of() -> None:
    assert {code for code, _, out in ROWS if out} == MAY_HAVE_LEFT
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
