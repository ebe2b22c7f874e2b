"""The send path's own HTTP client: what it asks, byte by byte, and the moment at which it leaves."""

import socket
import struct
import sys
import threading
from collections.abc import Callable

import pytest

from campaign_engine.providers.direct import ConnectionFault, DirectHttp
from tests.campaign_engine.providers.posting import BODY, GOOD, fault, impatient, post
from tests.campaign_engine.providers.wire import Request, answering, serving

TCP_INFO_SEGMENTS_IN = 152  # offset of tcpi_data_segs_in in Linux's struct tcp_info

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
        makes_room = threading.Timer(60, lambda: full.accept()[0].close())
        makes_room.start()
        assert fault(impatient(connect_timeout_s=0.1), f"http://127.0.0.1:{full.getsockname()[1]}") == (
            "connecting timed out",
            0,
        )
        makes_room.cancel()
        makes_room.join()
