"""The send path's client over TLS: whom it trusts, and what it says of it."""

import hashlib
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path

import certifi
import pytest

from campaign_engine.providers.direct import DirectHttp
from tests.campaign_engine.providers.authority import AUTHORITY, Authority
from tests.campaign_engine.providers.posting import (
    GOOD,
    converse_all_at_once,
    fault,
    impatient,
    post,
    says,
    shut,
    used_after,
)
from tests.campaign_engine.providers.wire import Request, answering, closing_after, serving


def say_goodbye(connection: socket.socket) -> None:
    """Send TLS's close_notify and leave the connection open."""
    assert isinstance(connection, ssl.SSLSocket)
    connection.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        connection.unwrap()
    connection.settimeout(None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_connection_over_tls_is_kept_and_its_session_tickets_do_no_harm(
    client: DirectHttp, trusted: Authority, version: ssl.TLSVersion
) -> None:
    spoken: list[str | None] = []

    def answer(connection: socket.socket, request: Request) -> bool:
        assert isinstance(connection, ssl.SSLSocket)
        spoken.append(connection.version())
        connection.sendall(GOOD)
        return True

    context = trusted.context("127.0.0.1")
    context.maximum_version = version
    with serving(answer, tls=context) as server:
        for _ in range(5):
            assert post(client, server.url).content == b'{"ok": 1}'
        assert server.connection_count == 1
    assert set(spoken) == {version.name.replace("_", ".")}


def test_threads_that_begin_together_share_what_was_looked_up_for_all(
    client: DirectHttp, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "long_enough_to_wait_for.pem"
    bundle.write_bytes(authority.path.read_bytes() + Path(certifi.where()).read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    assert converse_all_at_once(client, threads=8, rounds=2, tls=authority.context("127.0.0.1")) == 8


def test_an_answer_over_tls_may_come_in_many_records(client: DirectHttp, trusted: Authority) -> None:
    content = bytes(range(256)) * 400

    def answer(connection: socket.socket, request: Request) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
        connection.sendall(b"\r\n%x\r\n" % len(content))
        connection.sendall(content)
        connection.sendall(b"\r\n0\r\n")
        connection.sendall(b"\r\n")
        return True

    with serving(answer, tls=trusted.context("127.0.0.1")) as server:
        for _ in range(2):
            assert post(client, server.url).content == content
        assert server.connection_count == 1


@pytest.mark.parametrize("act", [shut, say_goodbye, says(GOOD)], ids=["closed", "close_notify", "another answer"])
def test_a_kept_connection_over_tls_on_which_anything_happened_gets_no_request(
    client: DirectHttp, trusted: Authority, act: Callable[[socket.socket], None]
) -> None:
    assert used_after(client, act, tls=trusted.context("127.0.0.1")) == [0, 1]


@pytest.mark.parametrize("case", ["another name", "another address", "expired", "self-signed", "an unknown authority"])
def test_nothing_leaves_for_a_server_that_is_not_who_it_says(
    client: DirectHttp, authority: Authority, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    if case != "an unknown authority":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.path))
    name = {"another name": "other.example", "another address": "127.0.0.2"}.get(case, "127.0.0.1")
    context = authority.context(name, days=-1 if case == "expired" else 1, self_signed=case == "self-signed")
    with serving(answering(GOOD), tls=context) as server:
        assert fault(client, server.url) == ("the TLS certificate or handshake was refused", 0)
        assert server.requests == []


def test_certificates_may_lie_in_a_folder(
    client: DirectHttp, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # OpenSSL finds an authority by the hash of its name, in its canonical form: here, one attribute in lower case.
    attribute = b"\x06\x03\x55\x04\x03\x0c%c%s" % (len(AUTHORITY), AUTHORITY.encode())
    sequence = b"\x30%c%s" % (len(attribute), attribute)
    name = b"\x31%c%s" % (len(sequence), sequence)
    (number,) = struct.unpack("<I", hashlib.sha1(name, usedforsecurity=False).digest()[:4])
    (tmp_path / f"{number:08x}.0").write_bytes(authority.path.read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with serving(answering(GOOD), tls=authority.context("127.0.0.1")) as server:
        assert post(client, server.url).status_code == 200


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_nothing_leaves_when_the_trusted_certificates_cannot_be_read(
    client: DirectHttp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with serving(answering(GOOD)) as server:
        said = fault(client, server.url.replace("http:", "https:"))
        assert said == ("the certificates this machine trusts cannot be read", 0)
        assert server.connection_count == 0


def test_nothing_leaves_in_clear_where_tls_was_asked_for(client: DirectHttp) -> None:
    with serving(closing_after(GOOD), reads=False) as server:
        reason, left = fault(client, server.url.replace("http:", "https:"))
        assert (reason, left) == ("the TLS certificate or handshake was refused", 0)


def test_nothing_leaves_when_the_handshake_takes_too_long() -> None:
    def close_later(connection: socket.socket, request: Request) -> bool:
        server.released.wait(60)
        return False

    with serving(close_later, reads=False) as server:
        assert fault(impatient(connect_timeout_s=0.1), server.url.replace("http:", "https:")) == (
            "connecting timed out",
            0,
        )


@pytest.mark.parametrize("secure", [False, True], ids=["in clear", "over TLS"])
def test_a_server_that_does_not_read_holds_nobody(trusted: Authority, secure: bool) -> None:
    context = trusted.context("127.0.0.1")

    def wait_unread(connection: socket.socket, request: Request) -> bool:
        with context.wrap_socket(connection.dup(), server_side=True) if secure else connection:
            server.released.wait(60)
        return False

    client = DirectHttp(connect_timeout_s=60, timeout_s=0.2)
    with serving(wait_unread, reads=False) as server:
        url = server.url.replace("http:", "https:") if secure else server.url
        assert fault(client, url, body=bytes(20_000_000)) == ("no answer in time", 1)


def test_a_large_body_arrives_whole(client: DirectHttp, trusted: Authority) -> None:
    body = bytes(range(256)) * 4000
    for tls in (None, trusted.context("127.0.0.1")):
        with serving(answering(GOOD), tls=tls) as server:
            for _ in range(2):
                post(client, server.url, body=body)
            assert [request.body == body for request in server.requests] == [True, True]
            assert server.connection_count == 1
