"""The send path's own HTTP client: against tiny servers, and its reading against `http.client`'s."""

import base64
import gc
import hashlib
import http.client
import io
import ipaddress
import socket
import ssl
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.providers import direct
from campaign_engine.providers.direct import LONGEST_ANSWER, Answer, ConnectionFault, DirectHttp
from tests.campaign_engine.providers.wire import (
    Request,
    Server,
    answering,
    closing_after,
    cutting,
    response,
    serving,
)

BODY = b'{"to": "+5511900000001"}'
GOOD = response(body=b'{"ok": 1}')
AUTHORITY = "tests of the send path"
TCP_INFO_SEGMENTS_IN = 152  # offset of tcpi_data_segs_in in Linux's struct tcp_info


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what this machine's environment says of proxies and certificates out of it."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)


@pytest.fixture
def client() -> DirectHttp:
    return DirectHttp(connect_timeout_s=5, timeout_s=5)


def impatient() -> DirectHttp:
    return DirectHttp(connect_timeout_s=0.1, timeout_s=0.1)


def post(client: DirectHttp, url: str, *, leaving: Callable[[], object] = lambda: None, body: bytes = BODY) -> Answer:
    return client.post(f"{url}/v1/messages", headers={"Authorization": "Bearer T"}, body=body, leaving=leaving)


def fault(client: DirectHttp, url: str, *, body: bytes = BODY) -> tuple[str, int]:
    """Post in vain; return the reason and how often `leaving` was called."""
    left: list[None] = []
    with pytest.raises(ConnectionFault) as caught:
        post(client, url, leaving=lambda: left.append(None), body=body)
    return str(caught.value), len(left)


# --- What is read, against another reader.


def read(pieces: Sequence[bytes]) -> direct._Reader:
    """Feed an answer in exactly these pieces, which no test could make the kernel keep apart."""
    reader = direct._Reader()
    for piece in pieces:
        assert not reader.complete, "complete before its end"
        reader.feed(piece)
    return reader


def result(reader: direct._Reader) -> tuple[int, dict[str, str], bytes, bool]:
    assert reader.complete, "not complete at its end"
    return reader.status_code, reader.headers, b"".join(reader.parts), reader.may_go_on


class _Played:
    """As much of a socket as `http.client` asks for."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def by_http_client(data: bytes) -> tuple[int, dict[str, str], bytes, bool]:
    reading = http.client.HTTPResponse(_Played(data), method="POST")  # type: ignore[arg-type]
    reading.begin()
    headers = {name.lower(): value for name, value in reading.getheaders()}
    return reading.status, headers, reading.read(), not reading.will_close


LENGTH = b"HTTP/1.1 200 OK\r\nX-Empty:\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Long: a\tb\r\n\r\n"
    b'5;name=value\r\nhello\r\nC;q="x y"\r\n, wide world\r\n0;last\r\nT-One: 1\r\nX-Long: c\r\n\r\n'
)
CLOSED = b"HTTP/1.1 200 OK\r\nServer: old\r\n\r\nhello"
EMPTY = b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\nContent-Length: 9\r\nX-Early: 1\r\n\r\n" + LENGTH
WHOLE = {"length": LENGTH, "chunks": CHUNKED, "closed": CLOSED, "empty": EMPTY, "continued": CONTINUED}


@pytest.mark.parametrize("case", WHOLE)
def test_an_answer_may_be_cut_into_pieces_anywhere(case: str) -> None:
    data = WHOLE[case]
    end = [b""] if case == "closed" else []
    expected = by_http_client(data)
    for at in range(1, len(data)):
        assert result(read([data[:at], data[at:], *end])) == expected
    assert result(read([data[at : at + 1] for at in range(len(data))] + end)) == expected


@pytest.mark.parametrize("case", WHOLE)
def test_an_answer_that_ends_anywhere_too_early_is_none(case: str) -> None:
    data = WHOLE[case]
    whole_from = data.index(b"\r\n\r\n") + 4 if case == "closed" else len(data)
    for at in range(whole_from):
        with pytest.raises(ConnectionFault, match="the connection broke"):
            read([data[:at], b""] if at else [b""])


_WORD = st.text("abcdefghijXYZ0123-_", min_size=1, max_size=6)
_VALUE = st.text("abc XYZ019;,=\"'()/\xa1\xe9\xff", max_size=12).map(lambda text: text.strip(" "))


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bool]:
    """An answer, and whether it ends with its connection."""
    framing = draw(st.sampled_from(["length", "chunked", "close", "empty"]))
    version = "1.1" if framing == "chunked" else draw(st.sampled_from(["1.0", "1.1"]))
    status = draw(st.sampled_from([204, 304] if framing == "empty" else [200, 201, 302, 400, 408, 429, 500, 503, 599]))
    named = draw(st.dictionaries(_WORD.map(lambda word: f"X-{word}"), _VALUE, max_size=4))
    headers = list(
        {name.lower(): f"{name}:{draw(st.sampled_from(['', ' ', '  ']))}{named[name]}" for name in named}.values()
    )
    if draw(st.booleans()):
        headers.append(f"Connection: {draw(st.sampled_from(['close', 'Close', 'keep-alive', 'Keep-Alive']))}")
    body = b"" if framing == "empty" else draw(st.binary(max_size=40))
    if framing == "length":
        headers.append(f"Content-Length: {len(body)}")
    elif framing == "chunked":
        headers.append("Transfer-Encoding: chunked")
        body = draw(_chunks(body))
    head = "\r\n".join([f"HTTP/{version} {status} {draw(_VALUE)}", *draw(st.permutations(headers))]) + "\r\n\r\n"
    before = b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 2))
    return before + head.encode("latin-1") + body, framing == "close"


@st.composite
def _chunks(draw: st.DrawFn, body: bytes) -> bytes:
    made = b""
    while body:
        size = draw(st.integers(1, len(body)))
        written = f"{size:x}" if draw(st.booleans()) else f"{size:03X}"
        extension = draw(st.sampled_from(["", ";a", ";a=b", ';a="b c"']))
        made += f"{written}{extension}\r\n".encode() + body[:size] + b"\r\n"
        body = body[size:]
    trailers = draw(st.lists(_WORD.map(lambda word: f"T-{word}: 1\r\n"), max_size=2))
    return made + b"0\r\n" + "".join(trailers).encode() + b"\r\n"


@given(answer=answers(), data=st.data())
def test_whatever_is_answered_is_read_as_another_client_reads_it(
    answer: tuple[bytes, bool], data: st.DataObject
) -> None:
    raw, ends_with_connection = answer
    cuts = data.draw(st.lists(st.integers(1, len(raw) - 1), max_size=8, unique=True).map(sorted))
    pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert result(read(pieces + [b""] * ends_with_connection)) == by_http_client(raw)


@given(
    data=st.lists(st.binary(min_size=1, max_size=30) | st.sampled_from([LENGTH[:30], LENGTH[30:], CHUNKED]), max_size=5)
)
def test_no_bytes_whatsoever_do_more_than_break_the_answer(data: list[bytes]) -> None:
    reader = direct._Reader()
    for piece in [*data, b""]:
        if not reader.complete:
            try:
                reader.feed(piece)
            except ConnectionFault:
                return


def test_an_answer_that_was_read_is_no_work_for_the_garbage_collector() -> None:
    gc.disable()
    try:
        reader = read([LENGTH])
        gone = weakref.ref(reader)
        del reader
        assert gone() is None
    finally:
        gc.enable()


# --- The request.


def test_the_request_is_these_bytes_in_one_write(client: DirectHttp) -> None:
    seen: list[bytes] = []
    segments: list[int] = []

    def answer(connection: socket.socket, request: Request) -> bool:
        seen.append(connection.recv(65_536))
        if sys.platform == "linux":
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
            segments.append(struct.unpack_from("I", info, TCP_INFO_SEGMENTS_IN)[0])
        connection.sendall(GOOD)
        return True

    with serving(answer, reads=False) as server:
        client.post(f"{server.url}/v1/messages?a=b", headers={"apikey": "T é"}, body=BODY)
        client.post(server.url, headers={}, body=b"")
        assert seen == [
            (
                f"POST /v1/messages?a=b HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\napikey: T \xe9\r\n"
                "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: campaign-engine\r\n"
                "Content-Type: application/json\r\nContent-Length: 24\r\n\r\n"
            ).encode("latin-1")
            + BODY,
            (
                f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: campaign-engine\r\n"
                "Content-Type: application/json\r\nContent-Length: 0\r\n\r\n"
            ).encode(),
        ]
        if sys.platform == "linux":
            assert segments == [1, 2]


@pytest.mark.parametrize(
    "path",
    ["/a\r\nX: y", "/a\nb", "/a\rb", "/a b", "/a\tb", "/ã", "/a\0b", "/a\x7fb", " /a", "/a\r\n", "/?a=b\r\nX:y"],
)
def test_an_address_that_is_none_reaches_nobody(client: DirectHttp, path: str) -> None:
    with serving(answering(GOOD)) as server:
        assert fault(client, server.url + path) == ("the address is not one", 0)
        assert server.connection_count == 0


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:9/a",
        "ftp://127.0.0.1/a",
        "http:///a",
        "http://:80",
        "http://127.0.0.1:0",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:http",
        "http://[::1",
        "http://ex\u00e4mple.invalid",
        "http://example.invalid\r\nX-Y: z",
    ],
)
def test_an_address_that_cannot_be_understood_is_refused(client: DirectHttp, url: str) -> None:
    assert fault(client, url) == ("the address is not one", 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nY: b"),
        ("X", "a\nb"),
        ("X", "a\rb"),
        ("X", "a\n"),
        ("X", "a\0b"),
        ("X", "a\x85b"),
        ("X", "T\u20ac"),
        ("X\r\nY", "a"),
        ("X Y", "a"),
        ("X:", "a"),
        ("", "a"),
        ("\u00c4", "a"),
    ],
)
def test_a_header_that_is_none_reaches_nobody(client: DirectHttp, name: str, value: str) -> None:
    with serving(answering(GOOD)) as server:
        with pytest.raises(ConnectionFault, match="a header is not one"):
            client.post(server.url, headers={name: value}, body=BODY, leaving=lambda: pytest.fail("it left"))
        assert server.connection_count == 0


# --- When it leaves.


def test_the_moment_of_leaving_is_after_connecting_and_before_the_first_byte(
    client: DirectHttp, eventually: Callable[..., None]
) -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        eventually(lambda: server.connection_count == 1)
        raise Stopped

    with serving(answering(GOOD)) as server:
        with pytest.raises(Stopped):
            post(client, server.url, leaving=stop)
        eventually(lambda: server.closed_count == 1)
        assert server.requests == []


def test_every_request_leaves_once_on_new_and_kept_connections(client: DirectHttp) -> None:
    left: list[int] = []
    with serving(answering(GOOD)) as server:
        for _ in range(3):
            post(client, server.url, leaving=lambda: left.append(len(server.requests)))
    assert left == [0, 1, 2]


def test_nothing_leaves_when_the_connection_is_refused(client: DirectHttp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert fault(client, f"http://127.0.0.1:{port}") == ("connection refused or host unreachable", 0)


@pytest.mark.parametrize("host", ["no-such-host.invalid", f"{'a' * 64}.invalid", "a..invalid"])
def test_nothing_leaves_when_the_name_leads_nowhere(client: DirectHttp, host: str) -> None:
    assert fault(client, f"http://{host}") == ("the host name cannot be resolved", 0)


@pytest.mark.skipif(sys.platform != "linux", reason="a full backlog is refused elsewhere")
def test_nothing_leaves_when_connecting_takes_too_long() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
    ):
        makes_room = threading.Timer(1, lambda: full.accept()[0].close())
        makes_room.start()
        assert fault(impatient(), f"http://127.0.0.1:{full.getsockname()[1]}") == ("connecting timed out", 0)
        makes_room.cancel()
        makes_room.join()


# --- Connections are kept.


def test_one_connection_serves_many_requests_whatever_the_status(client: DirectHttp) -> None:
    statuses = [200, 400, 503, 204, 302, 200]
    with serving(answering(*(response(status, b"") for status in statuses))) as server:
        assert [post(client, server.url).status_code for _ in statuses] == statuses
        assert server.connection_count == 1


def test_a_redirect_is_an_answer_and_not_followed(client: DirectHttp) -> None:
    with (
        serving(answering(GOOD)) as elsewhere,
        serving(answering(response(307, b"", headers={"Location": elsewhere.url}))) as server,
    ):
        answer = post(client, server.url)
        assert (answer.status_code, answer.headers["location"]) == (307, elsewhere.url)
        assert (len(server.requests), elsewhere.requests) == (1, [])


def test_the_connection_used_last_is_used_first(client: DirectHttp) -> None:
    barrier = threading.Barrier(2, timeout=5)
    second_may_end = threading.Event()

    def answer(connection: socket.socket, request: Request) -> bool:
        if b"together" in request.body:
            barrier.wait()
            if request.connection == 1:
                second_may_end.wait(5)
        connection.sendall(GOOD)
        return True

    with serving(answer) as server, ThreadPoolExecutor(2) as threads:
        both = [threads.submit(post, client, server.url, body=b"together") for _ in range(2)]
        wait(both, timeout=5, return_when=FIRST_COMPLETED)
        second_may_end.set()
        for one in both:
            one.result()
        for _ in range(3):
            post(client, server.url)
        assert [request.connection for request in server.requests[2:]] == [1, 1, 1]


def shut(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def says(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


def say_goodbye(connection: socket.socket) -> None:
    """Send TLS's close_notify and leave the connection open."""
    assert isinstance(connection, ssl.SSLSocket)
    connection.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        connection.unwrap()
    connection.settimeout(None)


@dataclass
class Idling:
    """Answers; then, when `go` is set, does something to the first connection, and reads on."""

    act: Callable[[socket.socket], None]

    def __post_init__(self) -> None:
        self.go, self.done = threading.Event(), threading.Event()

    def __call__(self, connection: socket.socket, request: Request) -> bool:
        connection.sendall(GOOD)
        if request.connection == 0:
            self.go.wait(5)
            self.act(connection)
            self.done.set()
        return True


def used_after(
    client: DirectHttp, act: Callable[[socket.socket], None], *, tls: ssl.SSLContext | None = None
) -> list[int]:
    """Return which connections two requests went to, when something happened to the first one in between."""
    idling = Idling(act)
    with serving(idling, tls=tls) as server:
        post(client, server.url)
        idling.go.set()
        assert idling.done.wait(5)
        assert post(client, server.url).content == b'{"ok": 1}'
        return [request.connection for request in server.requests]


UNASKED = {
    "closed": shut,
    "reset": reset,
    "garbage": says(b"\0"),
    "a time-out": says(response(408, b"", headers={"Connection": "close"})),
    "another answer": says(GOOD),
}


@pytest.mark.parametrize("case", UNASKED)
def test_a_kept_connection_on_which_anything_happened_gets_no_request(client: DirectHttp, case: str) -> None:
    assert used_after(client, UNASKED[case]) == [0, 1]


def test_a_kept_connection_on_which_nothing_happened_gets_the_next_request(client: DirectHttp) -> None:
    assert used_after(client, lambda _: None) == [0, 0]


def test_all_closed_connections_are_passed_over(client: DirectHttp, eventually: Callable[..., None]) -> None:
    barrier = threading.Barrier(4, timeout=5)

    def answer(connection: socket.socket, request: Request) -> bool:
        if request.connection < 4:
            barrier.wait()
        connection.sendall(GOOD)
        return request.connection >= 4

    with serving(answer) as server, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: post(client, server.url), range(4)))
        eventually(lambda: server.closed_count == 4)
        post(client, server.url)
        post(client, server.url)
        assert sorted(request.connection for request in server.requests) == [0, 1, 2, 3, 4, 4]


LAST = {
    "Connection: close": response(body=b"x", headers={"Connection": "close"}),
    "close among others": response(body=b"x", headers={"Connection": "foo, Close"}),
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "another answer after it": response(body=b"x") + response(500, b"no"),
    "the start of another answer": response(body=b"x") + b"H",
    "garbage after it": response(body=b"x") + b"\0",
    "garbage after chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\0",
    "a second answer to chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + GOOD,
    "closes in one second": response(body=b"x", headers={"Keep-Alive": "timeout=1"}),
    "closes at once": response(body=b"x", headers={"Keep-Alive": "max=3, Timeout=0"}),
}


@pytest.mark.parametrize("case", LAST)
def test_after_its_last_answer_a_connection_is_left(client: DirectHttp, case: str) -> None:
    with serving(answering(LAST[case])) as server:
        for _ in range(2):
            answer = post(client, server.url)
            assert (answer.status_code, answer.content) == (200, b"x")
        assert [request.connection for request in server.requests] == [0, 1]


NOT_LAST = {
    "HTTP/1.0 that stays": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
    "after 100 Continue": b"HTTP/1.1 100 Continue\r\n\r\n" + response(body=b"x"),
    "after early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nRetry-After: 9\r\n\r\n" + response(body=b"x"),
    "after several": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + response(body=b"x"),
    "an empty line after it": response(body=b"x") + b"\r\n",
    "that offers an upgrade": response(body=b"x", headers={"Upgrade": "h2,h2c", "Connection": "Upgrade, Keep-Alive"}),
    "stays for a while": response(body=b"x", headers={"Keep-Alive": "timeout=60, max=100"}),
    "says nothing of a time": response(body=b"x", headers={"Keep-Alive": "timeout=soon"}),
}


@pytest.mark.parametrize("case", NOT_LAST)
def test_other_answers_leave_the_connection_in_use(client: DirectHttp, case: str) -> None:
    with serving(answering(NOT_LAST[case])) as server:
        for _ in range(2):
            answer = post(client, server.url)
            assert (answer.status_code, answer.content) == (200, b"x")
            assert "retry-after" not in answer.headers
        assert [request.connection for request in server.requests] == [0, 0]


def test_a_connection_that_was_idle_for_too_long_is_left(client: DirectHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "IDLE_S", 0.0)
    with serving(answering(GOOD)) as server:
        post(client, server.url)
        post(client, server.url)
        assert server.connection_count == 2


def test_an_answer_that_ends_with_its_connection_is_whole(client: DirectHttp) -> None:
    with serving(closing_after(CLOSED)) as server:
        for _ in range(2):
            assert post(client, server.url).content == b"hello"
        assert server.connection_count == 2


def converse_all_at_once(client: DirectHttp, *, threads: int, rounds: int, tls: ssl.SSLContext | None = None) -> int:
    """Let threads post, each round all together, check that each gets its own answers, and count the connections."""
    begin, all_are_here = threading.Barrier(threads, timeout=10), threading.Barrier(threads, timeout=10)

    def echo(connection: socket.socket, request: Request) -> bool:
        all_are_here.wait()
        connection.sendall(response(body=request.body))
        return True

    def converse(thread: int) -> bool:
        bodies = [b"%d/%d " % (thread, at) * 20 for at in range(rounds)]
        begin.wait()
        return [post(client, server.url, body=body).content for body in bodies] == bodies

    with serving(echo, tls=tls) as server, ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(converse, range(threads)))
        assert len(server.requests) == threads * rounds
        return server.connection_count


def test_sixty_four_threads_get_each_its_own_answer_on_as_many_connections(client: DirectHttp) -> None:
    assert converse_all_at_once(client, threads=64, rounds=5) == 64


# --- No answer.

BROKEN = {
    "cut before it was read": (cutting, False, "the connection broke"),
    "cut after it was read": (cutting, True, "the connection broke"),
    "closed without a word": (closing_after(b""), True, "the connection broke"),
    "cut in the head": (closing_after(b"HTTP/1.1 200 OK\r\nContent-Le"), True, "the connection broke"),
    "cut in the body": (closing_after(response(body=b"{", length=9)), True, "the connection broke"),
    "cut after 100 Continue": (closing_after(b"HTTP/1.1 100 Continue\r\n\r\n"), True, "the connection broke"),
    "cut in a chunk": (
        closing_after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"),
        True,
        "the connection broke",
    ),
    "mail": (answering(b"220 mail.example.com ESMTP\r\n"), True, "the answer is not HTTP"),
    "TLS": (answering(b"\x15\x03\x01\x00\x02\x02\x50"), True, "the answer is not HTTP"),
    "HTTP/2": (answering(b"HTTP/2 200 OK\r\n\r\n"), True, "the answer is not HTTP"),
    "another protocol": (
        answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
        True,
        "the answer is not HTTP",
    ),
    "two lengths": (answering(response(body=b"x", headers={"content-length": "2"})), True, "the answer is not HTTP"),
    "length and chunks": (
        answering(response(body=b"0\r\n\r\n", headers={"Transfer-Encoding": "chunked"})),
        True,
        "the answer is not HTTP",
    ),
    "a chunk without a size": (
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        True,
        "the answer is not HTTP",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_answer_says_why_and_ends_the_connection(client: DirectHttp, case: str) -> None:
    behave, reads, reason = BROKEN[case]
    with serving(behave, reads=reads) as server:
        assert fault(client, server.url) == (reason, 1)
        assert len(server.requests) == 1, "nothing is ever sent twice"
        assert fault(client, server.url) == (reason, 1)
        assert server.connection_count == 2


CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000),
    "chunks": (CHUNK, b"1\r\nx\r\n" * 1000),
    "chunk extensions": (CHUNK + b"1;a=", b"x" * 10_000),
    "trailers": (CHUNK + b"0\r\n", b"X: y\r\n" * 1000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    "header": (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 10_000),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "empty lines": (b"", b"\r\n" * 1000),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_an_answer_without_end_is_cut_off(client: DirectHttp, case: str) -> None:
    first, again = ENDLESS[case]

    def flood(connection: socket.socket, request: Request) -> bool:
        connection.sendall(first)
        for _ in range(8 * LONGEST_ANSWER // len(again)):
            connection.sendall(again)
        return False

    with serving(flood) as server:
        assert fault(client, server.url) == ("the answer is too long", 1)


def test_an_answer_may_be_as_long_as_the_longest(client: DirectHttp) -> None:
    content = b"x" * (LONGEST_ANSWER - len(response(body=b"")) - 5)
    with serving(answering(response(body=content))) as server:
        assert post(client, server.url).content == content


@pytest.mark.parametrize(
    "said_first",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", response(body=b"{", length=9)],
    ids=["nothing", "a status line", "continue", "half a body"],
)
def test_an_answer_that_does_not_come_in_time_is_none(said_first: bytes) -> None:
    def hang(connection: socket.socket, request: Request) -> bool:
        connection.sendall(said_first)
        server.released.wait(10)
        return False

    with serving(hang) as server:
        assert fault(impatient(), server.url) == ("no answer in time", 1)


def test_an_answer_that_dribbles_in_has_the_same_deadline() -> None:
    """Each byte comes in time for its read; the answer would be whole after half a second."""

    def dribble(connection: socket.socket, request: Request) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n")
        for _ in range(25):
            connection.sendall(b"x")
            server.released.wait(0.02)
        return False

    with serving(dribble) as server:
        assert fault(impatient(), server.url) == ("no answer in time", 1)


def test_an_answer_of_which_there_is_always_more_to_read_has_the_same_deadline() -> None:
    """All of it is there at once, in so many chunks that reading them takes far longer than the deadline."""
    client = DirectHttp(connect_timeout_s=5, timeout_s=0.002)
    with serving(answering(CHUNK + b"1\r\nx\r\n" * 160_000 + b"0\r\n\r\n")) as server:
        assert fault(client, server.url) == ("no answer in time", 1)


# --- TLS.


@dataclass(frozen=True)
class Authority:
    """A private CA; `path` is its certificate."""

    path: Path
    folder: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    def context(self, *names: str, days: int = 1, self_signed: bool = False) -> ssl.SSLContext:
        """What a server needs to be `names`; with `days` below 0, until yesterday."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=3))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key((key if self_signed else self.key).public_key()),
                critical=False,
            )
            .sign(key if self_signed else self.key, hashes.SHA256())
        )
        path = self.folder / f"{made.serial_number}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, AUTHORITY)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("authority")
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(folder / "ca.pem", folder, name, key)


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The authority, trusted by this process."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.path))
    return authority


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
        server.released.wait(1)
        return False

    with serving(close_later, reads=False) as server:
        assert fault(impatient(), server.url.replace("http:", "https:")) == ("connecting timed out", 0)


@pytest.mark.parametrize("secure", [False, True], ids=["in clear", "over TLS"])
def test_a_server_that_does_not_read_holds_nobody(trusted: Authority, secure: bool) -> None:
    context = trusted.context("127.0.0.1")

    def wait_unread(connection: socket.socket, request: Request) -> bool:
        with context.wrap_socket(connection.dup(), server_side=True) if secure else connection:
            server.released.wait(10)
        return False

    client = DirectHttp(connect_timeout_s=5, timeout_s=0.2)
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


# --- Proxies.


def through(monkeypatch: pytest.MonkeyPatch, proxy: Server, scheme: str = "http", *, password: str = "") -> None:
    monkeypatch.setenv(f"{scheme}_proxy", proxy.url.replace("://", f"://{password}"))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://provider.invalid", "provider.invalid"),
        ("http://provider.invalid:80", "provider.invalid"),
        ("http://provider.invalid:8080", "provider.invalid:8080"),
        ("http://provider.invalid:443", "provider.invalid:443"),
        ("http://somebody:secret@PROVIDER.invalid", "provider.invalid"),
        ("http://[2001:db8::1]", "[2001:db8::1]"),
        ("http://[2001:db8::1]:8080", "[2001:db8::1]:8080"),
    ],
)
def test_a_proxy_is_asked_for_the_whole_address(
    client: DirectHttp, monkeypatch: pytest.MonkeyPatch, url: str, host: str
) -> None:
    with serving(answering(GOOD)) as proxy:
        through(monkeypatch, proxy)
        for _ in range(2):
            assert post(client, url).status_code == 200
        assert {request.line for request in proxy.requests} == {f"POST http://{host}/v1/messages HTTP/1.1"}
        assert {request.headers["host"] for request in proxy.requests} == {host}
        assert not any("proxy-authorization" in request.headers for request in proxy.requests)
        assert proxy.connection_count == 1


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def test_a_proxy_is_told_its_password(client: DirectHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answering(GOOD)) as proxy:
        through(monkeypatch, proxy, password="us%40er:p%3Ass@")
        post(client, "http://provider.invalid")
        assert proxy.requests[0].headers["proxy-authorization"] == basic("us@er:p:ss")
        assert proxy.requests[0].headers["authorization"] == "Bearer T"


@dataclass
class Tunnel:
    """A proxy that stands in for the server behind it as well; `inside` is what was sent through."""

    context: ssl.SSLContext
    said: bytes = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"

    def __post_init__(self) -> None:
        self.inside: list[bytes] = []

    def __call__(self, connection: socket.socket, _request: Request) -> bool:
        for at in range(len(self.said)):
            connection.sendall(self.said[at : at + 1])
        with self.context.wrap_socket(connection.dup(), server_side=True) as secure:
            while data := secure.recv(65_536):
                self.inside.append(data)
                secure.sendall(GOOD)
        return False


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("https://provider.invalid", "provider.invalid:443", "provider.invalid"),
        ("https://provider.invalid:8443", "provider.invalid:8443", "provider.invalid:8443"),
        ("https://[2001:db8::1]", "[2001:db8::1]:443", "[2001:db8::1]"),
    ],
)
def test_tls_goes_through_a_tunnel_that_alone_sees_the_proxys_password(
    client: DirectHttp, trusted: Authority, monkeypatch: pytest.MonkeyPatch, url: str, target: str, host: str
) -> None:
    tunnel = Tunnel(trusted.context("provider.invalid", "2001:db8::1"))
    left: list[int] = []
    with serving(tunnel) as proxy:
        through(monkeypatch, proxy, "https", password="user:pass@")
        for _ in range(2):
            post(client, url, leaving=lambda: left.append(len(tunnel.inside)))
        (request,) = proxy.requests
        assert request.line == f"CONNECT {target} HTTP/1.1"
        assert request.headers == {"host": target, "proxy-authorization": basic("user:pass")}
    assert left == [0, 1]
    for data in tunnel.inside:
        assert data.startswith(f"POST /v1/messages HTTP/1.1\r\nHost: {host}\r\n".encode())
        assert data.endswith(BODY)
        assert b"Proxy-" not in data


@pytest.mark.parametrize("said", [b"HTTP/1.0 200\r\n\r\n", b"HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n"])
def test_a_proxy_may_agree_in_few_words(
    client: DirectHttp, trusted: Authority, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    with serving(Tunnel(trusted.context("provider.invalid"), said)) as proxy:
        through(monkeypatch, proxy, "https")
        assert post(client, "https://provider.invalid").status_code == 200


def test_nothing_leaves_when_the_server_behind_the_tunnel_is_not_who_it_says(
    client: DirectHttp, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Tunnel(trusted.context("other.invalid"))) as proxy:
        through(monkeypatch, proxy, "https")
        said = fault(client, "https://provider.invalid")
        assert said == ("the TLS certificate or handshake was refused", 0)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (response(407, b"", headers={"Proxy-Authenticate": "Basic"}), "the proxy refuses the connection"),
        (b"HTTP/1.1 503 200\r\n\r\n", "the proxy refuses the connection"),
        (b"220 mail.example.com ESMTP 200 \r\n\r\n", "the proxy refuses the connection"),
        (b"", "the proxy closed the connection"),
        (b"HTTP/1.1 200 OK\r\n", "the proxy closed the connection"),
        (b"x" * 2 * LONGEST_ANSWER, "the proxy refuses the connection"),
    ],
)
def test_nothing_leaves_when_the_proxy_refuses(
    client: DirectHttp, monkeypatch: pytest.MonkeyPatch, said: bytes, reason: str
) -> None:
    with serving(closing_after(said)) as proxy:
        through(monkeypatch, proxy, "https")
        assert fault(client, "https://provider.invalid") == (reason, 0)


@pytest.mark.parametrize(("count", "pause_s"), [(1, 10), (25, 0.02)], ids=["silent", "dribbling"])
def test_nothing_leaves_when_the_proxy_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, count: int, pause_s: float
) -> None:
    def dribble(connection: socket.socket, request: Request) -> bool:
        for _ in range(count):
            connection.sendall(b"x")
            server.released.wait(pause_s)
        return False

    with serving(dribble) as server:
        through(monkeypatch, server, "https")
        assert fault(impatient(), "https://provider.invalid") == ("connecting timed out", 0)


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://127.0.0.1:1080",
        "https://127.0.0.1:3128",
        "http://",
        "http://127.0.0.1:x",
        "http://[::1",
        "127.0.0.1:0",
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(client: DirectHttp, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("all_proxy", proxy)
    assert fault(client, "http://provider.invalid") == ("the proxy's address is not one that can be used", 0)


def test_a_proxy_may_be_named_without_its_scheme(client: DirectHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answering(GOOD)) as proxy:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        assert post(client, "http://provider.invalid").status_code == 200


def test_a_server_for_which_no_proxy_is_wanted_is_reached_directly(
    client: DirectHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answering(GOOD)) as proxy, serving(answering(GOOD)) as server:
        through(monkeypatch, proxy)
        monkeypatch.setenv("no_proxy", "localhost,127.0.0.0/8")
        post(client, server.url)
        post(client, "http://provider.invalid")
        assert (server.requests[0].line, len(proxy.requests)) == ("POST /v1/messages HTTP/1.1", 1)


# --- Connections and processes.


def test_nothing_is_open_before_the_first_request() -> None:
    """A pool forks after it has imported and made everything: a connection it shared would mix up the answers."""
    program = (
        "import os, stat\n"
        "from campaign_engine.providers.direct import DirectHttp\n"
        "client = DirectHttp(connect_timeout_s=1, timeout_s=1)\n"
        "kinds = [os.fstat(int(name)).st_mode for name in os.listdir('/dev/fd') if os.path.exists(f'/dev/fd/{name}')]\n"
        "print(sum(map(stat.S_ISSOCK, kinds)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "0\n"


def test_connections_end_with_their_client(eventually: Callable[..., None]) -> None:
    client = DirectHttp(connect_timeout_s=5, timeout_s=5)
    with serving(answering(GOOD)) as server:
        post(client, server.url)
        assert server.closed_count == 0
        del client
        eventually(lambda: server.closed_count == 1)
