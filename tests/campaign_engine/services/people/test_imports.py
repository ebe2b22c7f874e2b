"""Imports: a bad file leaves nothing behind, and a good one is counted once, whatever happens in between."""

import io
import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.db import db, transaction
from campaign_engine.errors import InvalidInput, NotFound
from campaign_engine.models import Company, Contact, ContactImport, ImportRowError
from campaign_engine.rules.files.csv_records import MAX_FIELD_CHARS
from campaign_engine.rules.phone import parse_phone
from campaign_engine.services.company import audit
from campaign_engine.services.people import contacts, imports, opt_outs
from campaign_engine.services.people.imports import CHUNK_BYTES, Importer
from jobs import importing
from tests import factories
from tests.campaign_engine import cloned

EXAMPLE = Path(__file__).parents[4] / "examples" / "contacts.csv"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MEBIBYTE = 1 << 20

database_url = cloned.database_url


def store(of: Company, content: bytes | str, **values: Any) -> ContactImport:
    """Do what every face does with an upload: one transaction."""
    given = {
        "user_id": None,
        "filename": "contacts.csv",
        "list_name": None,
        "mapping": None,
        "default_region": "BR",
        "max_bytes": 100 * MEBIBYTE,
        **values,
    }
    stream = io.BytesIO(content.encode() if isinstance(content, str) else content)
    with transaction() as session:
        return imports.create(session, company_id=of.id, stream=stream, **given)


def whole(of: Company, content: bytes | str, **values: Any) -> ContactImport:
    """Store a file and do the whole work; return the import as it is then."""
    import_id = store(of, content, **values).id
    importing.write_all(import_id)
    return imports.get(db.session(), of.id, import_id)


def counts(record: ContactImport) -> tuple[int, int, int, int, int]:
    return (
        record.row_count,
        record.created_count,
        record.updated_count,
        record.duplicate_count,
        record.error_count,
    )


def errors(record: ContactImport) -> list[tuple[int, str]]:
    return [(row.line, row.code) for row in imports.errors_of(db.session(), record.id)]


def people(of: Company) -> dict[str, Contact]:
    """Return the company's contacts by number, as stored."""
    db.session().expire_all()
    return {contact.phone: contact for contact in contacts.of_company(db.session(), of.id, limit=10_000)}


def leftovers(session: Session, import_id: int) -> tuple[int, int]:
    """Return how much of the file and of its keys is still stored."""
    row = session.execute(
        text(
            "SELECT (SELECT count(*) FROM contact_import_chunks WHERE import_id = :id),"
            " (SELECT count(*) FROM contact_import_keys WHERE import_id = :id)"
        ),
        {"id": import_id},
    ).one()
    return row[0], row[1]


# --- A good file.


def test_an_import_stands_in_the_audit_log_by_the_name_of_its_file(session: Session, company: Company) -> None:
    record = store(company, "phone\n+5511987654321\n", filename="clientes.csv")
    [entry] = audit.of_company(session, company.id, subject=("import", str(record.id)))
    assert (entry.action, entry.details) == ("import.created", {"filename": "clientes.csv"})


def test_the_example_gives_184_contacts_12_repeats_and_9_bad_rows(session: Session, company: Company) -> None:
    record = whole(company, EXAMPLE.read_bytes(), list_name="Clientes", filename="contacts.csv")
    assert (record.status, record.failure) == ("completed", None)
    assert counts(record) == (205, 184, 0, 12, 9)
    assert record.bytes_done == record.size_bytes == EXAMPLE.stat().st_size
    assert record.finished_at is not None
    assert contacts.member_counts(session, [record.list_id or 0]) == {record.list_id: 184}
    assert leftovers(session, record.id) == (0, 0)

    refused = list(imports.errors_of(session, record.id))
    assert [row.line for row in refused] == sorted(row.line for row in refused)
    assert len([row for row in refused if row.code == "duplicate"]) == 12
    assert len({row.code for row in refused}) == 10  # nine kinds of bad rows, and the repeats
    assert all(row.reason.endswith(".") and row.reason != row.excerpt for row in refused)
    assert list(imports.errors_of(session, record.id, limit=3)) == refused[:3]

    maria = people(company)["+5581900000001"]
    assert (maria.name, maria.variables) == ("Maria Magalhães", {"city": "Recife", "coupon": "NOV15"})
    assert maria.tags == ["vip"]


@pytest.mark.parametrize(
    ("encoding", "delimiter", "line_end"),
    [
        ("utf-8", ",", "\n"),
        ("utf-8-sig", ",", "\n"),
        ("latin-1", ";", "\r\n"),
        ("cp1252", ";", "\r\n"),
        ("utf-16", "\t", "\r\n"),
        ("utf-8-sig", ";", "\r\n"),
        ("utf-8", "|", "\r"),
    ],
)
def test_a_file_means_the_same_however_it_was_saved(
    session: Session, company: Company, encoding: str, delimiter: str, line_end: str
) -> None:
    lines = ["Telefone;Nome;Cidade", "(11) 90000-0001;João Conceição;São Paulo", "21 90000-0002;Íris;Niterói", ""]
    record = whole(company, line_end.join(lines).replace(";", delimiter).encode(encoding))
    assert counts(record) == (2, 2, 0, 0, 0)
    found = people(company)
    assert {phone: (each.name, each.variables) for phone, each in found.items()} == {
        "+5511900000001": ("João Conceição", {"cidade": "São Paulo"}),
        "+5521900000002": ("Íris", {"cidade": "Niterói"}),
    }


def test_a_mapping_and_a_region_say_what_the_file_does_not(session: Session, company: Company) -> None:
    content = "a,b,c\n11 15-2345-6789,Martín,X\n"
    mapping = {"phone": "a", "name": "b", "Código Único": "c"}
    record = whole(company, content, mapping=mapping, default_region="AR")
    assert counts(record) == (1, 1, 0, 0, 0)
    contact = people(company)["+5491123456789"]
    assert (contact.name, contact.variables) == ("Martín", {"codigo_unico": "X"})


def test_a_file_of_many_pieces_is_read_across_their_seams(session: Session, company: Company) -> None:
    # Cells of about 9,000 bytes, of characters of two bytes, so that seams fall inside rows and inside characters.
    filler = "ã" * 4_500
    content = "phone,note\n" + "".join(f"1190000{at:04},{filler}{at}\n" for at in range(250))
    assert len(content.encode()) > 2 * CHUNK_BYTES
    stored = store(company, content)
    assert leftovers(session, stored.id)[0] == 3
    importing.write_all(stored.id)
    record = imports.get(session, company.id, stored.id)
    assert counts(record) == (250, 250, 0, 0, 0)
    assert people(company)["+5511900000249"].variables == {"note": f"{filler}249"}
    assert record.bytes_done == len(content.encode())


# --- A bad one.

GOOD = "phone,name\n11900000001,Ana\n"

BAD_FILES: dict[str, tuple[bytes | str, dict[str, Any], str, str]] = {
    # name: (content, how it was given, field, code; any code where it says none)
    "empty": ("", {}, "file", "empty_file"),
    "blank lines": ("\n\n \n", {}, "file", "empty_file"),
    "a header alone": ("phone,name\n", {}, "file", "no_contacts"),
    "a header and blank rows": ("phone,name\n,\n ,\n", {}, "file", "no_contacts"),
    "no header": ("11900000001,Ana\n11900000002,Eva\n", {}, "file", "no_header"),
    "no phone column": ("colour,size\nred,5\n", {}, "file", "no_phone_column"),
    "two columns of one name": ("phone,Cidade,cidade\n11900000001,a,b\n", {}, "file", "duplicate_columns"),
    "a delimiter nobody uses": ("phone:name\n11900000001:Ana\n", {}, "file", "unknown_delimiter"),
    "a stated delimiter nobody uses": ("sep=#\nphone#name\n11900000001#Ana\n", {}, "file", "unknown_delimiter"),
    "an open quotation mark in the header": ('phone,"name\n11900000001,Ana\n', {}, "file", ""),
    "a spreadsheet": (b"PK\x03\x04\x14\x00" + bytes(500), {}, "file", "spreadsheet"),
    "an old spreadsheet": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), {}, "file", "spreadsheet"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(500), {}, "file", "not_text"),
    "bytes": (bytes(range(256)) * 20, {}, "file", "not_text"),
    "half of UTF-16": (b"\xff\xfe\x00\xd8\x00", {}, "file", ""),
    "too large": (GOOD + "x" * MEBIBYTE, {"max_bytes": MEBIBYTE}, "file", "file_too_large"),
    "a mapping to no column": (GOOD, {"mapping": {"phone": "Celular"}}, "mapping", "unknown_column"),
    "a mapping of one column twice": (
        GOOD,
        {"mapping": {"phone": "phone", "name": "phone"}},
        "mapping",
        "mapped_twice",
    ),
    "a mapping without a name": (GOOD, {"mapping": {"--": "name"}}, "mapping", "nameless_target"),
    "two columns that could be the number": (
        "celular,telefone\n11900000001,11900000002\n",
        {},
        "mapping",
        "ambiguous_column",
    ),
    "a region that is none": (GOOD, {"default_region": "Brasil"}, "default_region", "invalid_input"),
    "a list without a name": (GOOD, {"list_name": "  "}, "list", "invalid_input"),
    "a list with a name of a page": (GOOD, {"list_name": "x" * 201}, "list", "invalid_input"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_clear_error_and_leaves_no_row_anywhere(
    session: Session, company: Company, case: str
) -> None:
    content, values, field, code = BAD_FILES[case]
    before = cloned.row_counts(session)
    with pytest.raises(InvalidInput) as refusal:
        store(company, content, **{"list_name": "A new list", **values})
    assert list(refusal.value.errors) == [field]
    assert [len(sentences) for sentences in refusal.value.errors.values()] == [1]
    assert refusal.value.code == code or not code
    assert refusal.value.errors[field][0].rstrip().endswith((".", "?"))
    assert cloned.row_counts(session) == before


def test_a_file_of_just_the_size_that_is_accepted_is_accepted(session: Session, company: Company) -> None:
    content = GOOD.ljust(MEBIBYTE, "\n")
    assert store(company, content, max_bytes=MEBIBYTE).size_bytes == MEBIBYTE


@pytest.mark.parametrize(
    ("filename", "kept"),
    [("promo\udce7\udce3o.csv", "promo??o.csv"), ("a\0b.csv", "ab.csv"), ("x" * 500, "x" * 200), ("Olá 🎉", "Olá 🎉")],
)
def test_the_name_of_a_file_is_no_reason_to_refuse_it(
    session: Session, company: Company, filename: str, kept: str
) -> None:
    assert store(company, GOOD, filename=filename).filename == kept


# --- Bad rows.


def test_a_hostile_cell_is_kept_as_it_is_or_costs_its_row_alone(session: Session, company: Company) -> None:
    rng = random.Random(7)
    noise = "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(MAX_FIELD_CHARS))  # nothing compresses it
    kept = {
        2: "=cmd|' /C calc'!A0",
        3: "@SUM(1+1)*cmd",
        4: "{{name}} {} {0} %(x)s %s :id",
        5: "'; DROP TABLE contacts; --",
        6: "👩‍👩‍👧‍👦 🎉 ﷽",
        7: "\u202egnp.exe",
        8: '{"a": [1, "\\u0000"]}',
        9: "tab\there",
        10: "\x01 bell \x07",
        11: "NULL",
        12: noise,
        13: "\\N",
    }
    refused = {
        14: ("x\0y", "nul_character"),
        15: (noise + "x", "field_too_long"),
        16: ("half \udc00", "undecodable"),
    }
    rows = {**kept, **{line: cell for line, (cell, _) in refused.items()}}
    content = b"phone,note\n" + b"".join(
        f"1190000{line:04},".encode() + b'"' + cell.replace('"', '""').encode("utf-8", "surrogatepass") + b'"\n'
        for line, cell in rows.items()
    )
    record = whole(company, content)
    assert counts(record) == (15, 12, 0, 0, 3)
    assert errors(record) == [(line, code) for line, (_, code) in refused.items()]
    found = people(company)
    assert {line: found[f"+551190000{line:04}"].variables["note"] for line in kept} == kept


def test_a_hostile_name_or_tag_is_kept_or_costs_its_row_alone(session: Session, company: Company) -> None:
    rng = random.Random(7)
    noise = "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(5000))
    content = (
        "phone,name,tags\n"
        f"11900000001,{noise},{noise[:100]}\n"
        f"11900000002,=1+1,{noise}\n"  # an index of PostgreSQL takes no such tag
        "11900000003,Ana,\"a,b;c|d, ,a\"\n"
        '11900000004,"{a,""b""}","{x}|""y"""\n'
    )  # fmt: skip
    record = whole(company, content)
    assert counts(record) == (4, 3, 0, 0, 1)
    assert errors(record) == [(3, "tag_too_long")]
    found = people(company)
    assert found["+5511900000001"].name == noise
    assert found["+5511900000001"].tags == [noise[:100]]
    assert found["+5511900000003"].tags == ["a", "b", "c", "d"]
    assert (found["+5511900000004"].name, found["+5511900000004"].tags) == ('{a,"b"}', ["{x}", '"y"'])


def test_a_row_without_a_number_that_can_be_is_listed_with_its_line_and_what_it_says(
    session: Session, company: Company
) -> None:
    content = (
        "phone,name\n,Sem Número\na confirmar,Ana\n11 9000,Eva\n"
        '"11900000001\n",ok\n'
        '"11900000002,never closed\n11900000003,Bia\n'
    )
    record = whole(company, content)
    listed = [(row.line, row.code, row.excerpt) for row in imports.errors_of(session, record.id)]
    assert listed == [
        (2, "empty", ""),
        (3, "letters", "a confirmar"),
        (4, "too_short", "11 9000"),
        (7, "unclosed_quote", '"11900000002,never closed'),
    ]
    assert sorted(people(company)) == ["+5511900000001", "+5511900000003"]


# --- Repeats.


def test_a_repeat_names_the_first_line_also_when_that_was_written_long_ago(session: Session, company: Company) -> None:
    content = (
        "phone,name\n"
        "+55 11 98765-4321,The first\n"  # line 2
        "11900000003,x\n11900000004,x\n"  # 3, 4
        "11900000005,x\n"  # 5, the second transaction begins
        "11 8765-4321,Without its nine\n"  # 6
        "(11) 98765-4321,Again\n"  # 7
        "11900000008,x\n"  # 8, the third
        "+5511987654321,And again\n"  # 9
    )
    record = in_steps(store(company, content).id, of=company, rows=3)
    assert counts(record) == (8, 5, 0, 3, 0)
    listed = [(row.line, row.code, row.excerpt, row.reason) for row in imports.errors_of(session, record.id)]
    same = "The same person as in line 2; the first line counts."
    assert listed == [
        (6, "duplicate", "11 8765-4321", same),
        (7, "duplicate", "(11) 98765-4321", same),
        (9, "duplicate", "+5511987654321", same),
    ]
    assert people(company)["+5511987654321"].name == "The first"


def test_a_second_import_keeps_what_it_does_not_say_and_touches_no_opt_out(session: Session, company: Company) -> None:
    whole(
        company, "phone,name,city,coupon,tags\n11987654321,João,Recife,A,vip\n11900000002,Eva,Rio,B,\n", list_name="A"
    )
    with transaction() as own:
        opt_outs.add(own, company_id=company.id, phone="11 98765-4321", source="reply", default_region="BR", now=NOW)
    content = "phone,name,coupon,tags,new\n11 8765-4321,,C,novo,1\n11900000003,Bia,,,\n"
    record = whole(company, content, list_name="B")
    assert counts(record) == (2, 1, 1, 0, 0)
    joao = people(company)["+5511987654321"]
    assert (joao.name, joao.variables) == ("João", {"city": "Recife", "coupon": "C", "new": "1"})
    assert sorted(joao.tags) == ["novo", "vip"]
    lists = {each.name: each.id for each in contacts.lists_of(session, company.id)}
    assert contacts.member_counts(session, list(lists.values())) == {lists["A"]: 2, lists["B"]: 2}
    opted_out = opt_outs.of_company(session, company.id)
    assert [(each.phone_key, each.source, each.opted_out_at) for each in opted_out] == [("551187654321", "reply", NOW)]


# --- Interruptions.


def in_steps(import_id: int, *, of: Company, rows: int) -> ContactImport:
    """Do the whole work in transactions of `rows` rows."""
    session = db.session()
    importer = Importer(session, import_id, rows_per_transaction=rows)
    while importer.write_some(session, now=NOW):
        session.commit()
    session.commit()
    return imports.get(session, of.id, import_id)


# Two bad rows, two repeats (one in a later transaction), a record of two lines, eight people.
INTERRUPTED = (
    "phone,name\n"
    "11900000001,A\n11900000002,B\nabc,bad\n"
    '11900000003,"C\nover two lines"\n11900000001,repeat\n11900000004,D\n'
    "11900000005,E\n1,bad\n11900000006,F\n"
    "11900000003,repeat\n11900000007,G\n11900000008,H\n"
)


@pytest.mark.parametrize("rows", [1, 3, 4, 12, 13])
def test_an_import_that_dies_anywhere_and_is_run_again_counts_everything_once(
    session: Session, company: Company, rows: int
) -> None:
    expected_errors = [(4, "letters"), (7, "duplicate"), (10, "too_short"), (12, "duplicate")]
    steps = 12 // rows + 1
    for dies_at in range(steps + 1):
        of = factories.company(session)
        session.commit()
        import_id = store(of, INTERRUPTED, list_name="All").id

        importer = Importer(session, import_id, rows_per_transaction=rows)
        for step in range(steps):
            importer.write_some(session, now=NOW)
            if step == dies_at:
                session.rollback()  # what PostgreSQL does for a process that is gone
                break
            session.commit()
        session.expire_all()

        record = in_steps(import_id, of=of, rows=rows)
        assert record.status == "completed"
        assert counts(record) == (12, 8, 0, 2, 2)
        assert errors(record) == expected_errors
        assert sorted(people(of)) == [f"+551190000000{at}" for at in range(1, 9)]
        assert contacts.member_counts(session, [record.list_id or 0]) == {record.list_id: 8}
        assert leftovers(session, import_id) == (0, 0)


def test_an_import_goes_on_with_other_transactions_than_it_began_with(session: Session, company: Company) -> None:
    import_id = store(company, INTERRUPTED).id
    assert Importer(session, import_id, rows_per_transaction=5).write_some(session, now=NOW)
    session.commit()
    assert counts(in_steps(import_id, of=company, rows=100)) == (12, 8, 0, 2, 2)


def test_what_is_not_finished_is_known_and_what_is_finished_is_not_done_again(
    session: Session, company: Company
) -> None:
    import_id = store(company, INTERRUPTED).id
    assert import_id in imports.unfinished(session)
    importer = Importer(session, import_id, rows_per_transaction=5)
    importer.write_some(session, now=NOW)
    session.commit()
    assert imports.get(session, company.id, import_id).status == "running"
    assert import_id in imports.unfinished(session)
    done = in_steps(import_id, of=company, rows=5)
    assert import_id not in imports.unfinished(session)
    assert not importer.write_some(session, now=NOW)
    importing.write_all(import_id)
    assert counts(imports.get(session, company.id, import_id)) == counts(done) == (12, 8, 0, 2, 2)


def test_two_runs_of_one_import_at_once_count_everything_once(
    session: Session, company: Company, other_session: Callable[[], Session]
) -> None:
    content = "phone\n" + "".join(f"1190000{at:04}\n" for at in range(300)) + "11900000000\n"
    import_id = store(company, content).id
    barrier = threading.Barrier(2, timeout=60)

    def run(own: Session) -> None:
        importer = Importer(own, import_id, rows_per_transaction=50)
        barrier.wait()
        while importer.write_some(own, now=NOW):
            own.commit()
        own.commit()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(run, (other_session(), other_session())))
    record = imports.get(session, company.id, import_id)
    assert (record.status, counts(record)) == ("completed", (301, 300, 0, 1, 0))


def test_the_job_tells_how_far_it_is_stops_when_it_is_asked_to_and_goes_on_later(
    session: Session, company: Company, other_session: Callable[[], Session]
) -> None:
    content = "phone\n" + "".join(f"1190000{at:04}\n" for at in range(4100))
    import_id = store(company, content).id
    told: list[tuple[int, int]] = []

    def tell(rows: int) -> None:
        with other_session() as own:  # sees what is committed, and no more
            told.append((rows, own.get_one(ContactImport, import_id).row_count))

    importing.write_all(import_id, stopping=lambda: True, told=tell)
    record = imports.get(session, company.id, import_id)
    assert (record.status, told, record.row_count) == ("running", [(2000, 2000)], 2000)
    assert 0 < record.bytes_done <= record.size_bytes
    importing.write_all(import_id, told=tell)
    record = imports.get(session, company.id, import_id)
    assert (record.status, told) == ("completed", [(2000, 2000), (4000, 4000)])
    assert counts(record) == (4100, 4100, 0, 0, 0)


def test_rows_that_the_database_refuses_end_the_import_with_the_reason(session: Session, company: Company) -> None:
    session.execute(text("ALTER TABLE contacts ADD CONSTRAINT tests CHECK (name <> 'refused by the test')"))
    session.commit()
    content = "phone,name\n11900000001,Ana\n11900000002,refused by the test\n"
    record = whole(company, content)
    session.execute(text("ALTER TABLE contacts DROP CONSTRAINT tests"))
    session.commit()
    assert (record.status, counts(record)) == ("failed", (0, 0, 0, 0, 0))
    assert record.failure == "The database refused a row after line 0 (IntegrityError)."
    assert record.finished_at is not None
    assert people(company) == {}
    assert leftovers(session, record.id) == (0, 0)
    assert record.id not in imports.unfinished(session)


def test_what_was_written_before_a_failure_stays_and_nothing_of_the_file(session: Session, company: Company) -> None:
    import_id = store(company, INTERRUPTED).id
    Importer(session, import_id, rows_per_transaction=5).write_some(session, now=NOW)
    assert leftovers(session, import_id) == (1, 3)
    imports.fail(session, import_id, reason="The disk is full.", now=NOW)
    session.commit()
    record = imports.get(session, company.id, import_id)
    assert (record.status, record.failure, counts(record)) == ("failed", "The disk is full.", (5, 3, 0, 1, 1))
    assert leftovers(session, import_id) == (0, 0)
    # An import that is over stays as it ended.
    imports.fail(session, import_id, reason="Another reason.", now=NOW)
    session.expire_all()
    assert record.failure == "The disk is full."


def test_an_import_of_another_company_does_not_exist(session: Session, company: Company, app: Flask) -> None:
    record = store(factories.company(session), GOOD)
    for import_id in (record.id, 10**12):
        with pytest.raises(NotFound):
            imports.get(session, company.id, import_id)
    mine: Mapping[str, Contact] = people(company)
    assert mine == {}
    assert session.query(ImportRowError).filter_by(import_id=record.id).all() == []


def test_numbers_are_stored_in_the_form_they_are_sent_in(session: Session, company: Company) -> None:
    whole(company, EXAMPLE.read_bytes())
    for phone, contact in people(company).items():
        parsed = parse_phone(phone, default_region=None)
        assert (parsed.e164, parsed.key) == (phone, contact.phone_key)
