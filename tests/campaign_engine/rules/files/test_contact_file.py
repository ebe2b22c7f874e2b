"""Contact files: whatever wrote them, they are understood or refused with a reason, and so is each row."""

import json
from collections import Counter
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.rules.files.contact_file import (
    MAX_FILE_BYTES,
    SAMPLE_BYTES,
    ContactFileError,
    FileFormat,
    Row,
    inspect,
    read_rows,
)
from campaign_engine.rules.files.csv_records import BadRow, detect_encoding
from campaign_engine.rules.phone import InvalidPhone, parse_phone
from tests.campaign_engine.rules.files.contact_rows import outline, read

EXAMPLE = Path(__file__).parents[4] / "examples" / "contacts.csv"


def fault_of(content: bytes | str, mapping: dict[str, str] | None = None) -> ContactFileError:
    with pytest.raises(ContactFileError) as refusal:
        read(content, mapping)
    assert str(refusal.value) == refusal.value.sentence
    return refusal.value


# --- The demonstration file.


def test_the_example_holds_what_the_demonstration_needs() -> None:
    # examples/contacts.csv has 205 rows under its header: 184 valid distinct contacts (160 Brazilian, 22 of
    # them written without the ninth digit; 6 each of Mexico, Argentina, Portugal and the USA), 12 repeats in
    # another spelling (5 across the ninth digit, 1 across Mexico's 1, 1 across Argentina's 9), and 9 bad rows
    # of nine kinds. The numbers are fictional: 90000 in Brazil and 0000 in Mexico and Argentina are not
    # assigned, 555-01 is kept for fiction in the USA; Portugal has no such range, 910 000 00x is a pattern.
    content = EXAMPLE.read_bytes()
    distinct: dict[str, str] = {}
    repeats, short_forms = 0, 0
    bad: list[str] = []
    regions: Counter[str] = Counter()
    for row in read(content):
        if isinstance(row, BadRow):
            bad.append(row.reason_code)
            continue
        assert row.name and row.variables.keys() == {"city", "coupon"}
        try:
            phone = parse_phone(row.phone, default_region="BR")
        except InvalidPhone as refusal:
            bad.append(refusal.reason)
            continue
        if phone.key in distinct:
            repeats += 1
            assert distinct[phone.key] != row.phone
            continue
        distinct[phone.key] = row.phone
        short_forms += phone.e164.startswith("+55") and len(phone.e164) == 13
        regions[phonenumbers.region_code_for_number(phonenumbers.parse(phone.e164))] += 1

    assert (len(distinct), repeats, len(bad)) == (184, 12, 9)
    assert short_forms == 22
    assert regions == {"BR": 160, "MX": 6, "AR": 6, "PT": 6, "US": 6}
    assert sorted(bad) == [
        "area_code_missing",
        "empty",
        "letters",
        "scientific_notation",
        "several_numbers",
        "too_long",
        "too_many_cells",
        "too_short",
        "unknown_country",
    ]


def test_the_example_can_be_read_in_one_pass_as_utf_8_without_bom() -> None:
    content = EXAMPLE.read_bytes()
    assert inspect(content, size=len(content), mapping=None) == FileFormat(
        encoding="utf-8",
        delimiter=",",
        header_lines=1,
        headers=("phone", "name", "city", "coupon", "tags"),
        phone=0,
        name=1,
        tags=4,
        variables=((2, "city"), (3, "coupon")),
    )
    rows = {row.line: row for row in read(content)}
    assert rows[2] == Row(2, "(81) 90000-0001", "Maria Magalhães", ("vip",), {"city": "Recife", "coupon": "NOV15"})
    assert any(isinstance(row, Row) and row.name == 'Maria "Mara" Conceição' for row in rows.values())
    assert any(isinstance(row, Row) and row.name == "Souza, Íris" for row in rows.values())


# --- Encodings, delimiters, line ends.


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_file_is_read_however_it_was_saved(encoding: str, line_end: str, delimiter: str) -> None:
    lines = ["Telefone;Nome;Cidade", "11900000001;João;São Paulo", '"11900000002";"Conceição";"Brasília"', ""]
    content = line_end.join(lines).replace(";", delimiter).encode(encoding)
    assert read(content) == [
        Row(2, "11900000001", "João", (), {"cidade": "São Paulo"}),
        Row(3, "11900000002", "Conceição", (), {"cidade": "Brasília"}),
    ]


def test_a_sample_cut_inside_a_character_is_still_utf_8() -> None:
    content = b"phone,name\n" + b"11900000001,Ana\n" * 5000
    content = content[: SAMPLE_BYTES - 1] + "ã".encode() + content[SAMPLE_BYTES:]
    assert inspect(content[:SAMPLE_BYTES], size=len(content), mapping=None).encoding == "utf-8"


def test_an_encoding_found_in_the_whole_file_overrules_the_sample() -> None:
    content = b"phone,name\n" + b"11900000001,Ana\n" * 5000 + "11900000002,João\n".encode("cp1252")
    fmt = inspect(content[:SAMPLE_BYTES], size=len(content), mapping=None, encoding=detect_encoding([content]))
    assert list(read_rows([content], fmt))[-1] == Row(5002, "11900000002", "João", (), {})


@pytest.mark.parametrize("first_line", ["sep=;", '"sep=;"', "SEP=;"])
def test_excels_sep_line_is_honoured(first_line: str) -> None:
    content = f"\ufeff{first_line}\r\nphone;a,b,c\r\n1;x\r\n"
    assert read(content) == [Row(3, "1", None, (), {"a_b_c": "x"})]


# --- Columns.


@pytest.mark.parametrize(
    "header",
    [
        *("phone", "telefone", "celular", "whatsapp", "number", "numero", "número", "tel", "mobile", "móvil"),
        *("teléfono", "fone", "TELEFONE", " Celular ", "Phone Number", "phone-number", "Phone 1 - Value"),
    ],
)
def test_the_phone_column_is_known_in_three_languages(header: str) -> None:
    assert read(f"id,{header}\n7,11900000001\n") == [Row(2, "11900000001", None, (), {"id": "7"})]


@pytest.mark.parametrize(("name", "tags"), [("Name", "Tags"), ("NOME", "etiquetas"), ("Nombre", "Etiqueta")])
def test_name_and_tags_are_known_too(name: str, tags: str) -> None:
    content = f"{tags};{name};phone\nvip, novo|sul,,vip;Ana;1\n;;2\n"
    assert read(content) == [Row(2, "1", "Ana", ("vip", "novo", "sul"), {}), Row(3, "2", None, (), {})]


def test_every_other_column_is_a_variable_by_its_normal_name() -> None:
    content = "Data de Expedição,phone, E-Mail ,,Nº\n1/2,11900000001,a@b.c,not read,\n"
    assert read(content) == [Row(2, "11900000001", None, (), {"data_de_expedicao": "1/2", "e_mail": "a@b.c"})]


def test_beside_a_better_name_a_number_is_only_a_variable() -> None:
    assert read("celular,número\n1,77\n") == [Row(2, "1", None, (), {"numero": "77"})]


def test_a_mapping_says_which_column_is_which() -> None:
    content = "Contato 1,telefone,Cliente,Cupom,cidade\n1,2,Ana,X,Rio\n"
    mapping = {"phone": "contato 1", "nome": "Cliente", "Código": "Cupom"}
    assert read(content, mapping) == [
        Row(2, "1", "Ana", (), {"telefone": "2", "codigo": "X", "cidade": "Rio"}),
    ]


def test_a_mapping_may_swap_two_columns() -> None:
    rows = read("phone,city,state\n1,SP,Santos\n", {"city": "state", "state": "city"})
    assert rows == [Row(2, "1", None, (), {"city": "Santos", "state": "SP"})]


def test_commas_in_the_header_do_not_hide_another_delimiter() -> None:
    content = "phone;nome, como na nota, sem abreviar\n1;Ana\n"
    assert read(content) == [Row(2, "1", None, (), {"nome_como_na_nota_sem_abreviar": "Ana"})]
    assert read(content, {"phone": "phone", "name": "nome, como na nota, sem abreviar"})[0].name == "Ana"  # type: ignore[union-attr]


def test_a_format_survives_json() -> None:
    content = b"phone;nome;x\n1;2;3\n"
    fmt = inspect(content, size=len(content), mapping=None)
    assert FileFormat.from_json(json.loads(json.dumps(fmt.to_json()))) == fmt


# --- Files that cannot be imported: one error each, and it names the field.


@pytest.mark.parametrize(
    ("content", "reason_code"),
    [
        (b"", "empty_file"),
        (b"\n \r\n", "empty_file"),
        ("\ufeff".encode(), "empty_file"),
        (b"phone,name", "no_contacts"),
        (b"phone,name\n\n,\n", "no_contacts"),
        (b"sep=;\nphone;name\n", "no_contacts"),
        (b"sep=;\n", "unreadable_header"),
        (b"PK\x03\x04\x14\x00\x06\x00", "spreadsheet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "spreadsheet"),
        (b"%PDF-1.7\n1 0 obj\n", "not_text"),
        (b"\x89PNG\r\n\x1a\n", "not_text"),
        (b"\x7fELF\x02\x01\x01\x00\x00\n", "not_text"),
        (b"phone,name\n" + bytes(range(256)) * 4, "not_text"),
        ("phone,name\n1,Ana\n".encode("utf-16-le"), "not_text"),  # no byte order mark
        (b"nome,cidade\nAna,Rio\n", "no_phone_column"),
        (b"nome\nAna\n", "no_phone_column"),
        (b"<html><table>\n<tr>\n", "no_phone_column"),
        (b"phone:name:city\n1:Ana:Rio\n", "unknown_delimiter"),
        (b"phone name\n1 Ana\n", "unknown_delimiter"),
        (b"sep=:\nphone:name\n1:Ana\n", "unknown_delimiter"),
        (b"phone,name,Phone\n1,Ana,2\n", "duplicate_columns"),
        (b"phone;Data Exp;data_exp\n1;2;3\n", "duplicate_columns"),
        (b"+5511900000001,Ana\n+5511900000002,Rui\n", "no_header"),
        (b"Ana;(11) 90000-0001\nRui;(11) 90000-0002\n", "no_header"),
        (b"'11900000001\n'11900000002\n", "no_header"),
        (b'"phone,name\n1,Ana\n', "unreadable_header"),
        (b'"phone"x,name\n1,Ana\n', "unreadable_header"),
    ],
)
def test_a_file_that_is_no_list_of_contacts_is_refused_as_a_whole(content: bytes, reason_code: str) -> None:
    fault = fault_of(content)
    assert (fault.field, fault.reason_code) == ("file", reason_code)


def test_a_file_beyond_all_measure_is_refused_by_its_size() -> None:
    sample = b"phone\n1\n"
    assert inspect(sample, size=MAX_FILE_BYTES, mapping=None).headers == ("phone",)
    with pytest.raises(ContactFileError) as refusal:
        inspect(sample, size=MAX_FILE_BYTES + 1, mapping=None)
    assert refusal.value.reason_code == "file_too_large"


@pytest.mark.parametrize(
    ("mapping", "reason_code"),
    [
        ({"phone": "Telefone"}, "unknown_column"),
        ({"phone": ""}, "unknown_column"),
        ({"phone": "celular", "telefone": "fixo"}, "mapped_twice"),
        ({"phone": "celular", "name": "Celular"}, "mapped_twice"),
        ({"cidade": "fixo"}, "mapped_twice"),
        ({"?": "fixo"}, "nameless_target"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(mapping: dict[str, str], reason_code: str) -> None:
    fault = fault_of("celular,fixo,cidade\n1,2,Rio\n", mapping)
    assert (fault.field, fault.reason_code) == ("mapping", reason_code)


def test_two_columns_that_could_be_the_phone_ask_for_a_mapping() -> None:
    content = "telefone,celular\n1,2\n"
    fault = fault_of(content)
    assert (fault.field, fault.reason_code) == ("mapping", "ambiguous_column")
    assert "telefone, celular" in fault.sentence
    assert read(content, {"phone": "celular"}) == [Row(2, "2", None, (), {"telefone": "1"})]


def test_an_error_says_what_was_found_and_what_is_understood() -> None:
    assert "Found: nome, cidade. Understood: phone, telefone" in fault_of("nome,cidade\nAna,Rio\n").sentence
    assert fault_of("nome,cidade\nAna,Rio\n", {"phone": "Fone"}).sentence.endswith("Fone. Found: nome, cidade.")
    assert "and 10 more" in fault_of(",".join(f"c{number}" for number in range(30)) + "\n1\n").sentence


# --- Rows.


def test_short_blank_and_overlong_rows_are_told_apart() -> None:
    content = "phone,name,city\n1\n2,Ana\n\n,,\n , \n3,Ana,Rio,\n4,Ana,Rio,x\n5,,Rio\n,Ana,Rio\n"
    assert read(content) == [
        Row(2, "1", None, (), {}),
        Row(3, "2", "Ana", (), {}),
        Row(7, "3", "Ana", (), {"city": "Rio"}),
        BadRow(8, "too_many_cells", read(content)[3].sentence, "4,Ana,Rio,x"),  # type: ignore[union-attr]
        Row(9, "5", None, (), {"city": "Rio"}),
        Row(10, "", "Ana", (), {"city": "Rio"}),
    ]


def test_a_delimiter_at_the_end_of_every_line_is_no_column() -> None:
    assert read("phone;name;\n1;Ana;\n2;Rui\n3;Eva;x\n")[:2] == [
        Row(2, "1", "Ana", (), {}),
        Row(3, "2", "Rui", (), {}),
    ]
    assert outline(read("phone;name;\n3;Eva;x\n")) == [(2, "!too_many_cells")]


def test_the_header_itself_may_span_lines_and_stand_below_blank_ones() -> None:
    assert read('\n\nphone,"full\nname"\n1,Ana\n') == [Row(5, "1", "Ana", (), {})]


def test_what_looks_like_a_formula_is_data() -> None:
    content = 'phone,name,note\n1,=1+1,"=HYPERLINK(""x"")"\n2,@x,-2\n'
    assert read(content) == [
        Row(2, "1", "=1+1", (), {"note": '=HYPERLINK("x")'}),
        Row(3, "2", "@x", (), {"note": "-2"}),
    ]


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_file_of_contacts_or_refused(content: bytes) -> None:
    try:
        read(content)
    except ContactFileError as refusal:
        assert refusal.field == "file"
