"""The send path's client behind a proxy."""

import base64
import socket
import ssl
from dataclasses import dataclass

import pytest

from campaign_engine.providers.direct import LONGEST_ANSWER, DirectHttp
from tests.campaign_engine.providers.authority import Authority
from tests.campaign_engine.providers.posting import BODY, GOOD, fault, impatient, post
from tests.campaign_engine.providers.wire import Request, Server, answering, closing_after, response, serving


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


@pytest.mark.parametrize(("count", "pause_s"), [(1, 60), (3000, 0.02)], ids=["silent", "dribbling"])
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
        assert fault(impatient(connect_timeout_s=0.1), "https://provider.invalid") == ("connecting timed out", 0)


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
