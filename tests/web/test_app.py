"""The application as a whole: what it is made of, its headers, its document, its health."""

import re
import socket
from typing import Any

import pytest
from flask import Flask

from campaign_engine.config import ConfigError
from tests import factories
from tests.web.conftest import Caller
from web import bodies
from web.app import create_app


def test_it_is_built_without_a_connection() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.05)
        port = server.getsockname()[1]
        create_app(
            factories.config(
                database_url=f"postgresql://postgres@127.0.0.1:{port}/none", redis_url=f"redis://127.0.0.1:{port}/0"
            )
        )
        with pytest.raises(TimeoutError):
            server.accept()


def test_it_needs_a_secret_key() -> None:
    config = factories.config(database_url="postgresql:///none", redis_url="redis://localhost", SECRET_KEY="")
    with pytest.raises(ConfigError, match="SECRET_KEY"):
        create_app(config)


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/login", "/api/v1/campaigns", "/nothing", "/webhooks/cloud"])
def test_every_answer_is_guarded_by_headers(app: Flask, path: str) -> None:
    headers = app.test_client().get(path, headers={"Accept": "text/html"}).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]


def test_only_imports_and_webhooks_take_larger_bodies(app: Flask) -> None:
    larger = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if hasattr(app.view_functions[rule.endpoint], bodies._MARK) and rule.rule.startswith(("/api", "/webhooks"))
    }
    assert larger == {
        "/api/v1/contacts/import",
        "/webhooks/cloud",
        "/webhooks/evolution/<account_key>",
        "/webhooks/evolution/<account_key>/<event>",
    }
    assert app.config["MAX_CONTENT_LENGTH"] == 5 << 20


def test_it_is_ready_with_all_its_parts(app: Flask) -> None:
    assert app.test_client().get("/healthz").json == {"status": "ok"}
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 200
    assert answer.json == {"status": "ok", "parts": {"postgres": "ok", "redis": "ok", "limits": "ok"}}


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json
    return found


def test_the_document_has_every_address_of_the_api(app: Flask, document: dict[str, Any]) -> None:
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and not rule.rule.endswith("/openapi.json")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {
        (path, method) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    assert described == served
    assert document["openapi"].startswith("3.")


def test_every_operation_of_the_document_is_described(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                assert operation["summary"].endswith("."), (method, path)


def test_the_document_uses_only_what_openapi_3_has(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                places = {parameter["in"] for parameter in operation.get("parameters", [])}
                assert places <= {"query", "path", "header", "cookie"}, (method, path)
    upload = document["paths"]["/api/v1/contacts/import"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert upload["schema"] == {"$ref": "#/components/schemas/ImportRequest"}
    assert document["components"]["schemas"]["ImportRequest"]["properties"]["file"]["format"] == "binary"


def test_the_document_says_what_may_be_null_and_hides_no_secret_field(document: dict[str, Any]) -> None:
    account = document["components"]["schemas"]["Account"]["properties"]
    assert account["access_token"]["writeOnly"] is True
    assert account["rate_limit"]["nullable"] is True
    assert account["id"] == {"type": "string", "readOnly": True}


def test_the_reference_is_a_page_of_our_own(app: Flask, document: dict[str, Any]) -> None:
    page = app.test_client().get("/docs")
    assert page.status_code == 200
    for path in document["paths"]:
        assert path in page.text
    assert "audience.recipients.phone" in page.text
    # It works without a network and under our own content security policy.
    assert re.findall(r'(?:src|href)="(?!/|#)[^"]*"', page.text) == []
    assert "<script" not in page.text
    assert "style=" not in page.text
    assert app.test_client().get("/docs/docs.css").mimetype == "text/css"


def test_answers_are_json_with_their_fields_in_order(call: Caller) -> None:
    assert list(call("GET", "/campaigns").json) == ["items", "next_cursor"]
