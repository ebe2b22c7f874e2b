"""What the send path's client takes for an answer: its reading against `http.client`'s, and what is none."""

import gc
import http.client
import io
import socket
import weakref
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.providers import direct
from campaign_engine.providers.direct import LONGEST_ANSWER, ConnectionFault, DirectHttp
from tests.campaign_engine.providers.posting import fault, impatient, post
from tests.campaign_engine.providers.wire import Request, answering, closing_after, cutting, response, serving

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
        server.released.wait(60)
        return False

    with serving(hang) as server:
        assert fault(impatient(), server.url) == ("no answer in time", 1)


def test_an_answer_that_dribbles_in_has_the_same_deadline() -> None:
    """Each byte comes in time for its read; the answer would be whole after a minute."""

    def dribble(connection: socket.socket, request: Request) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")
        for _ in range(3000):
            connection.sendall(b"x")
            server.released.wait(0.02)
        return False

    with serving(dribble) as server:
        assert fault(impatient(), server.url) == ("no answer in time", 1)


def test_an_answer_of_which_there_is_always_more_to_read_has_the_same_deadline() -> None:
    """All of it is there at once, in so many chunks that reading them takes far longer than the deadline."""
    client = DirectHttp(connect_timeout_s=60, timeout_s=0.002)
    with serving(answering(CHUNK + b"1\r\nx\r\n" * 160_000 + b"0\r\n\r\n")) as server:
        assert fault(client, server.url) == ("no answer in time", 1)
