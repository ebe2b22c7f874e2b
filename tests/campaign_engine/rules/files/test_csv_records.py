"""Records of a file, as an import meets them: each is read, refused with a reason, or blank, none swallowed."""

import codecs
import csv
import io
import re
import tracemalloc
from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from campaign_engine.rules.files.contact_file import ContactFileError, FileFormat, Row, inspect, read_rows
from campaign_engine.rules.files.csv_records import (
    EXCERPT_CHARS,
    MAX_FIELD_CHARS,
    MAX_RECORD_CHARS,
    BadRow,
    detect_encoding,
)
from tests.campaign_engine.rules.files.contact_rows import outline, pieces, read


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"", "utf-8"),
        (b"Joao", "utf-8"),
        ("João".encode(), "utf-8"),
        ("João".encode("utf-8-sig"), "utf-8-sig"),
        (codecs.BOM_UTF16_LE + "João".encode("utf-16-le"), "utf-16"),
        (codecs.BOM_UTF16_BE + "João".encode("utf-16-be"), "utf-16"),
        ("João".encode("cp1252"), "cp1252"),
        ("ÇÃO € “aspas”".encode("cp1252"), "cp1252"),
        ("João\x81".encode("latin-1"), "latin-1"),
        (("x" * 100_000 + "ã").encode("cp1252"), "cp1252"),  # far behind the sample
        ("João, Conceição, Inês ".encode() + b"\xe3", "utf-8"),  # one damaged place among good ones
        (b"Jo\xc3", "cp1252"),  # ends in the middle of a character
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 1_000_000])
def test_the_encoding_is_that_of_the_whole_file(content: bytes, encoding: str, size: int) -> None:
    assert detect_encoding(pieces(content, size)) == encoding


def test_quoted_cells_hold_delimiters_quotes_and_lines() -> None:
    content = '"phone","note"\r\n1, "a, ""b"""\r\n2,"c\r\n\r\nd"\r\n3,5" pipe\r\n'
    assert read(content) == [
        Row(2, "1", None, (), {"note": 'a, "b"'}),
        Row(3, "2", None, (), {"note": "c\n\nd"}),
        Row(6, "3", None, (), {"note": '5" pipe'}),
    ]


@pytest.mark.parametrize(
    ("row", "reason_code"),
    [
        (b'9,"Ana', "bad_quotes"),  # broken by the next quotation mark, two lines further down
        (b'9,"Ana"x', "bad_quotes"),
        (b'9,"Ana" "Rui"', "bad_quotes"),
        (b"9,An\x00a", "nul_character"),
        (b"9,Jo\xe3o", "undecodable"),
        (b"9," + b"x" * (MAX_FIELD_CHARS + 1), "field_too_long"),
        (b"9," + b"x" * MAX_RECORD_CHARS, "row_too_long"),
        (b"9," + b"x" * 5 * MAX_RECORD_CHARS, "row_too_long"),
        (b"9,a,b,c", "too_many_cells"),
    ],
)
def test_a_row_that_cannot_be_read_costs_only_itself(row: bytes, reason_code: str) -> None:
    before, after = "phone,name,x\n1,João\n".encode(), '\n2,Inês\n3,"Conce\nição"\n4,É\n'.encode()
    rows = read(before + row + after)
    assert outline(rows[:2]) == [(2, "1"), (3, f"!{reason_code}")]
    assert [row.phone for row in rows[2:] if isinstance(row, Row)] == ["2", "3", "4"]
    assert len(rows) == 5
    bad = rows[1]
    assert isinstance(bad, BadRow)
    assert bad.raw_excerpt.startswith("9,") and len(bad.raw_excerpt) <= EXCERPT_CHARS
    assert "\0" not in bad.raw_excerpt


def test_a_field_of_the_greatest_length_is_read() -> None:
    assert read(f"phone,x\n1,{'x' * MAX_FIELD_CHARS}\n") == [Row(2, "1", None, (), {"x": "x" * MAX_FIELD_CHARS})]


def test_an_unclosed_quote_swallows_nothing_that_follows() -> None:
    content = 'phone,name\n1,"Ana\n2,Rui\n3,"Eva, ""E"""\n4,Zé\n5,"\n6,Bia\n7,"a\nb"\n8,"Leo\n9,Sol\n'
    assert outline(read(content)) == [
        *((2, "!bad_quotes"), (3, "2"), (4, "3"), (5, "4")),
        *((6, "!bad_quotes"), (7, "6"), (8, "7"), (10, "!unclosed_quote"), (11, "9")),
    ]


def test_an_unclosed_quote_is_given_up_long_before_the_end_of_the_file() -> None:
    pulled = 0

    def endless() -> Iterator[bytes]:
        nonlocal pulled
        yield b'phone,name\n1,"Ana\n'
        while True:
            pulled += 1000
            yield b"2,Rui\n3,Evas\n" * 77

    fmt = inspect(b"phone,name\n1,Ana\n", size=17, mapping=None)
    rows = list(islice(read_rows(endless(), fmt), 3))
    assert outline(rows) == [(2, "!unclosed_quote"), (3, "2"), (4, "3")]
    assert pulled < 2 * MAX_RECORD_CHARS


def test_a_line_without_end_takes_no_memory() -> None:
    chunks = (b"phone\n1\n" if number == 0 else b"x" * 65_536 for number in range(300))
    fmt = inspect(b"phone\n1\n", size=8, mapping=None)
    tracemalloc.start()
    rows = list(read_rows(chunks, fmt))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outline(rows) == [(2, "1"), (3, "!row_too_long")]
    assert peak_bytes < 2_000_000


def test_rows_come_as_the_bytes_do() -> None:
    pulled = []

    def chunks() -> Iterator[bytes]:
        for number in range(1000):
            pulled.append(number)
            yield b"phone\n" if number == 0 else b"%d\n" % number

    rows = read_rows(chunks(), inspect(b"phone\n1\n", size=8, mapping=None))
    assert outline(list(islice(rows, 3))) == [(2, "1"), (3, "2"), (4, "3")]
    assert len(pulled) <= 5


def test_two_stray_quotes_far_apart_swallow_nothing_between_them() -> None:
    contacts = "".join(f"{number},Ana\n" for number in range(2000))
    rows = read(f'phone,name\nx,"Rui\n{contacts}y,Eva"\nz,Zé\n')
    assert [row.phone for row in rows[1:] if isinstance(row, Row)] == [*map(str, range(2000)), "y", "z"]
    assert outline(rows[:1]) == [(2, "!field_too_long")]


def tokens_in(rows: list[Row | BadRow]) -> set[str]:
    """Every L-number that came out of the reader, in whatever form."""
    texts = (row.raw_excerpt if isinstance(row, BadRow) else f"{row.phone} {row.name} {row.variables}" for row in rows)
    return {token for text in texts for token in re.findall(r"L\d+", text)}


@pytest.mark.parametrize("line", ['{},a","', '{},x,"', '{},"""', '"{}', '{},"a', '{},a,b",""', "{},b,", '{}"'])
@pytest.mark.timeout(60)  # a fifth of a second, or minutes if lines were read again and again
def test_no_arrangement_of_quotes_loses_a_line_or_takes_for_ever(line: str) -> None:
    tokens = [f"L{number}" for number in range(30_000)]
    content = "phone,name,note\n0,first\n" + "\n".join(line.format(token) for token in tokens)
    assert tokens_in(read(content)) == set(tokens)


# --- Properties.

broken_files = st.lists(
    st.sampled_from([b'"', b'""', b",", b";", b"\n", b"\r\n", b"\r", b"1", b"a", "ã".encode(), b"\xe3", b"\0", b" "]),
    max_size=60,
).map(b"".join)


@given(body=broken_files, size=st.integers(1, 9), encoding=st.sampled_from(["utf-8", "utf-16", "cp1252"]))
def test_how_the_bytes_are_cut_makes_no_difference(body: bytes, size: int, encoding: str) -> None:
    content = (codecs.BOM_UTF16_LE if encoding == "utf-16" else b"") + b"phone,name\n" + body
    fmt = FileFormat(encoding, ",", 1, ("phone", "name"), 0, 1, None, ())
    assert list(read_rows(pieces(content, size), fmt)) == list(read_rows([content], fmt))
    assert detect_encoding(pieces(content, size)) == detect_encoding([content])


@given(suffixes=st.lists(st.text(alphabet='",a', max_size=7), max_size=12))
def test_every_line_comes_out_as_a_row_in_a_cell_or_refused(suffixes: list[str]) -> None:
    tokens = [f"L{number}" for number in range(len(suffixes))]
    lines = [f"{token},{suffix}" for token, suffix in zip(tokens, suffixes, strict=True)]
    fmt = FileFormat("utf-8", ",", 1, ("phone", "name", "note"), 0, 1, None, ((2, "note"),))
    rows = list(read_rows([b"phone,name,note\n", "\n".join(lines).encode()], fmt))
    assert tokens_in(rows) == set(tokens)


@given(body=broken_files)
def test_any_bytes_are_read_in_order_of_their_lines(body: bytes) -> None:
    content = b"phone,name\nx,y\n" + body
    line_count = content.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
    try:
        lines = [row.line for row in read(content)]
    except ContactFileError as refusal:
        assert refusal.reason_code == "not_text"
        return
    assert lines == sorted(set(lines))
    assert lines[0] == 2 and lines[-1] <= line_count


cells = st.text(
    alphabet=st.one_of(st.sampled_from('",;\t|\n =+áç€'), st.characters(codec="cp1252", exclude_categories=["Cc"])),
    max_size=12,
).map(str.strip)


@example(table=[("", "", ",")], delimiter=",", line_end="\n", encoding="utf-8", quoting=csv.QUOTE_MINIMAL)
@given(
    table=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_a_csv_writer_wrote_is_read_back(
    table: list[tuple[str, str, str]], delimiter: str, line_end: str, encoding: str, quoting: int
) -> None:
    assume(any(any(row) for row in table))
    if line_end == "\r":
        quoting = csv.QUOTE_ALL  # else Python's writer leaves "\n" unquoted
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerows([("phone", "name", "note"), *table])
    content = out.getvalue().encode(encoding)
    fmt = inspect(content, size=len(content), mapping=None, encoding=encoding)
    assert fmt.delimiter == delimiter
    got = [
        (row.phone, row.name or "", row.variables.get("note", ""))
        for row in read_rows([content], fmt)
        if isinstance(row, Row)
    ]
    assert got == [row for row in table if any(row)]
