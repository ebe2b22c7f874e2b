"""Imports over the API: the file is checked and stored at once, its job is a hint."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from werkzeug.test import TestResponse

from campaign_engine.clock import utc_now
from campaign_engine.services.people import imports
from tests.web.conftest import Caller, problem

GOOD = "telefone;nome;cidade\n+55 11 98765-4321;João;São Paulo\n(21) 99876-5432;Ana;Rio\n"


def upload(call: Caller, content: str | bytes = GOOD, *, filename: str = "contacts.csv", **form: Any) -> TestResponse:
    data = content.encode() if isinstance(content, str) else content
    return call("POST", "/contacts/import", data={"file": (io.BytesIO(data), filename), **form})


def run_job(database: Callable[[], Any], import_id: str) -> None:
    with database() as session:
        importer = imports.Importer(session, int(import_id))
        while importer.write_some(session, now=utc_now()):
            pass


def test_a_file_is_stored_and_its_job_enqueued(call: Caller, redis_client: redis.Redis) -> None:
    answer = upload(call, list="Customers")
    assert answer.status_code == 202
    assert answer.json["status"] == "pending"
    assert answer.json["percent"] == 0
    assert answer.json["size_bytes"] == len(GOOD.encode())
    assert redis_client.llen("rq:queue:contact-sync") == 1


def test_progress_counts_end_at_a_hundred_percent(call: Caller, database: Callable[[], Any]) -> None:
    made = upload(call, GOOD + "abc;No number;\n+55 11 98765 4321;Again;\n", list="Customers").json
    run_job(database, made["id"])

    shown = call("GET", f"/imports/{made['id']}").json
    assert (shown["status"], shown["percent"], shown["failure"]) == ("completed", 100, None)
    assert shown["counts"] == {"rows": 4, "created": 2, "updated": 0, "duplicates": 1, "errors": 1}
    assert shown["finished_at"].endswith("Z")
    assert call("GET", f"/lists/{shown['list_id']}").json["contact_count"] == 2


def test_bad_rows_are_a_csv_file_that_runs_nothing(call: Caller, database: Callable[[], Any]) -> None:
    made = upload(call, 'telefone,nome\n"=cmd|calc",x\n+1,y\nabc,z\n').json
    run_job(database, made["id"])

    answer = call("GET", f"/imports/{made['id']}/errors.csv")
    assert answer.mimetype == "text/csv"
    assert f"import-{made['id']}-errors.csv" in answer.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == ["line", "excerpt", "code", "reason"]
    assert [(row[0], row[1], row[2]) for row in rows[1:]] == [
        ("2", "'=cmd|calc", "letters"),
        ("3", "+1", "too_short"),
        ("4", "abc", "letters"),
    ]
    assert all(row[3].endswith((".", "again.")) for row in rows[1:])


def test_a_large_error_file_is_complete(call: Caller, database: Callable[[], Any]) -> None:
    made = upload(call, "telefone,nome\n" + "abc,x\n" * 2500).json
    run_job(database, made["id"])
    assert len(call("GET", f"/imports/{made['id']}/errors.csv").text.splitlines()) == 2501


@pytest.mark.parametrize(
    ("content", "form", "field"),
    [
        ("", {}, "file"),
        ("\n\n", {}, "file"),
        ("telefone;nome\n", {}, "file"),
        ("colour;size\nred;5\n", {}, "file"),
        (b"\xff\xfe\x00\x00", {}, "file"),
        (b"PK\x03\x04 an archive of something", {}, "file"),
        (GOOD, {"mapping": "{"}, "mapping"),
        (GOOD, {"mapping": "[]"}, "mapping"),
        (GOOD, {"mapping": '"phone"'}, "mapping"),
        (GOOD, {"mapping": json.dumps({"phone": 7})}, "mapping.phone.value"),
        (GOOD, {"mapping": json.dumps({"phone": "no such column"})}, "mapping"),
        (GOOD, {"mapping": "[" * 100_000}, "mapping"),
        (GOOD, {"default_region": "Brazil"}, "default_region"),
        (GOOD, {"default_region": "XX"}, "default_region"),
        (GOOD, {"list": ""}, "list"),
        (GOOD, {"list": "x" * 201}, "list"),
        (GOOD, {"list": "a\0b"}, "list"),
        (GOOD, {"colour": "green"}, "colour"),
    ],
)
def test_a_bad_upload_is_refused_by_the_name_of_its_field(
    call: Caller,
    row_counts: Callable[[], dict[str, int]],
    redis_client: redis.Redis,
    content: str | bytes,
    form: dict[str, str],
    field: str,
) -> None:
    before = row_counts()
    assert list(problem(upload(call, content, **form), 422)["errors"]) == [field]
    assert row_counts() == before
    assert redis_client.llen("rq:queue:contact-sync") == 0


def test_an_upload_without_a_file_names_it(call: Caller) -> None:
    body = problem(call("POST", "/contacts/import", data={"list": "Customers"}), 422)
    assert list(body["errors"]) == ["file"]
    body = problem(call("POST", "/contacts/import", json={"file": "contacts.csv"}), 422)
    assert list(body["errors"]) == ["file"]


def test_a_text_in_the_place_of_the_file_is_refused(call: Caller) -> None:
    answer = call("POST", "/contacts/import", data={"file": "telefone"}, content_type="multipart/form-data")
    assert list(problem(answer, 422)["errors"]) == ["file"]


def test_a_second_file_is_refused_by_name(call: Caller) -> None:
    data = {"file": (io.BytesIO(GOOD.encode()), "a.csv"), "other": (io.BytesIO(b"x"), "b.csv")}
    assert list(problem(call("POST", "/contacts/import", data=data), 422)["errors"]) == ["other"]


def test_a_mapping_says_which_column_is_what(call: Caller, database: Callable[[], Any]) -> None:
    content = "a,b\n11987654321,Ana\n"
    made = upload(call, content, mapping=json.dumps({"phone": "a", "name": "b"}), default_region="BR").json
    run_job(database, made["id"])
    (contact,) = call("GET", "/contacts").json["items"]
    assert (contact["phone"], contact["name"]) == ("+5511987654321", "Ana")
