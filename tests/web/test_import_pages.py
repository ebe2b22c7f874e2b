"""The pages of imports, as a browser without scripts sees them."""

import io
import re
from typing import Any

import pytest
import redis
from flask import Flask
from rq import Queue
from sqlalchemy import text

from jobs import importing, queues
from tests.web.conftest import Database, People
from tests.web.visitor import Visitor
from web.pages import imports as import_pages


def upload(visitor: Visitor, content: bytes | None, **fields: Any) -> Any:
    files = {} if content is None else {"file": (io.BytesIO(content), fields.pop("filename", "people.csv"))}
    return visitor.press("/imports", **files, **fields)


def test_a_file_is_taken_and_followed_to_its_counts(people: People, redis_client: redis.Redis, app: Flask) -> None:
    answer = upload(
        people.operator, b"phone,name\n+5511980000001,Ana\n+5511980000001,Again\nnot a number,Bo\n", list=" customers "
    )
    assert answer.status_code == 303
    assert Queue(queues.CONTACT_SYNC, connection=redis_client).count == 1
    html = people.viewer.see(answer.location)
    assert 'src="/static/js/import.js"' in html
    assert 'data-state="pending"' in html
    with app.app_context():
        importing.write_all(int(answer.location.rpartition("/")[2]))
    html = people.viewer.see(answer.location)
    assert "import.js" not in html
    assert dict(re.findall(r'data-count="(\w+)">(\d+)<', html)) == {
        "rows": "3",
        "created": "1",
        "updated": "0",
        "duplicates": "1",
        "errors": "1",
    }
    assert "not a number" in html
    assert people.viewer.get(f"/api/v1{answer.location}/errors.csv").status_code == 200
    history = people.viewer.see("/imports")
    assert f'href="{answer.location}">people.csv</a>' in history
    assert "customers" in history


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "Choose a file."),
        (b"", ""),
        (b"name,city\nAna,Recife\n", ""),
        (b"\x00\x01\x02\x03" * 100, ""),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_beside_its_field(
    people: People, database: Database, content: bytes | None, sentence: str
) -> None:
    answer = upload(people.operator, content, list="kept")
    html = answer.get_data(as_text=True)
    assert answer.status_code == 422
    field = re.search(r'<input id="file"[^>]*>\s*<p class="error" id="file-error">([^<]+)</p>', html)
    assert field is not None
    assert 'aria-invalid="true"' in field[0]
    assert "file-error" in field[0]
    assert sentence in field[1]
    assert 'value="kept"' in html
    with database() as session:
        stored = "SELECT count(*) FROM contact_imports WHERE company_id = :company_id"
        assert session.scalar(text(stored), {"company_id": people.company_id}) == 0


def test_a_list_name_that_cannot_be_used_is_refused_beside_its_field(people: People) -> None:
    for name in ("a\0b", "x" * 201):
        answer = upload(people.operator, b"phone\n+5511980000001\n", list=name)
        assert answer.status_code == 422
        assert 'id="list-error"' in answer.get_data(as_text=True)


def test_importing_needs_the_role_and_the_token(people: People) -> None:
    assert upload(people.viewer, b"phone\n+5511980000001\n").status_code == 403
    assert "you can look, not import" in people.viewer.see("/imports")
    answer = people.operator.client.post("/imports", data={"file": (io.BytesIO(b"phone\n"), "x.csv")})
    assert answer.status_code == 400


def test_the_history_is_paged(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_pages, "IMPORTS_PER_PAGE", 2)
    for at in range(3):
        assert upload(people.operator, b"phone\n+5511980000001\n", filename=f"f{at}.csv").status_code == 303
    html = people.viewer.see("/imports")
    assert re.findall(r">(f\d\.csv)</a>", html) == ["f2.csv", "f1.csv"]
    older = re.search(r'href="([^"]+)" rel="next"', html)
    assert older is not None
    assert re.findall(r">(f\d\.csv)</a>", people.viewer.see(older[1])) == ["f0.csv"]
