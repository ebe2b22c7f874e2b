"""Requests of the send path, written to sockets of our own: the bytes leave in one write, at a moment we know.

There are two reasons. Whether a message may have left decides between “sent again” and “unknown”, and only the writer
to the socket knows when it leaves. And a message through `requests`, `urllib3` and `http.client` costs eight times the
CPU of the same bytes on a socket (docs/adr/0005). llhttp, Node's parser, reads the answers, through `httptools`;
everything that is not a send goes through `requests`.
"""

import base64
import re
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import certifi
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from requests import Session
from requests.utils import select_proxy

LONGEST_ANSWER = 1_000_000  # bytes with its head; an answer to a message has some hundred
IDLE_S = 30.0
"""How long a connection may lie idle and still be used. Servers and the boxes between close it after a minute or so,
and nobody knows the fate of a request that meets the close. If a server says that it closes sooner, that counts.
"""

_AT_ONCE = 16_384  # bytes: one TLS record, and less than the empty buffer of any connection takes without waiting
_PRINTABLE = re.compile(r"[!-~]+")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\xa0-\xff]*")
_STAYS_OPEN = re.compile(r"(?i:timeout)=(\d{1,6})")
_TUNNEL_IS_OPEN = re.compile(rb"HTTP/1\.[01] 2\d\d[ \r]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class ConnectionFault(OSError):
    """There is no answer; the text says why, in a few words without addresses or tokens."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said; names of headers are in lower case."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


class DirectHttp:
    """Connections to any number of servers, kept alive between requests and shared by the threads of a process."""

    def __init__(self, *, connect_timeout_s: float, timeout_s: float) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._routes: dict[str, _Route] = {}
        self._looking_up = threading.Lock()

    def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, leaving: Callable[[], object] = lambda: None
    ) -> Answer:
        """Send a POST with a JSON body and return the answer, whatever its status; redirects are not followed.

        Side effects: calls `leaving` just before the first byte goes to the socket; when it was not called, nothing
        left.

        Raises:
            ConnectionFault: there is no answer.
        """
        split = _split(url)
        origin = f"{split.scheme}://{split.netloc}"
        route = self._routes.get(origin)
        if route is None:
            with self._looking_up:
                route = self._routes[origin] = self._routes.get(origin) or _Route(split)
        request = _head(route, split, headers, len(body)) + body
        connection = route.idle_connection() or route.connect(self._connect_timeout_s)
        try:
            answer, keep = connection.exchange(request, leaving=leaving, timeout_s=self._timeout_s)
        except BaseException:
            connection.close()
            raise
        if keep:
            route.keep(connection, answer)
        else:
            connection.close()
        return answer


def _head(route: "_Route", split: SplitResult, headers: Mapping[str, str], length: int) -> bytes:
    given = [f"{name}: {value}" for name, value in headers.items()]
    if not all(map(_HEADER.fullmatch, given)):
        raise ConnectionFault("a header is not one")
    lines = [
        f"POST {route.prefix}{split.path or '/'}{'?' if split.query else ''}{split.query} HTTP/1.1",
        f"Host: {route.host_header}",
        *route.headers,
        *given,
        "Accept: application/json",
        "Accept-Encoding: identity",
        "User-Agent: campaign-engine",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    ]
    return _encoded(lines)


def _encoded(lines: Iterable[str]) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _split(
    url: str, *, schemes: Collection[str] = _DEFAULT_PORTS, fault: str = "the address is not one"
) -> SplitResult:
    # `urlsplit` itself drops line ends and goes on with what is left.
    if _PRINTABLE.fullmatch(url):
        with suppress(ValueError):
            split = urlsplit(url)
            if split.scheme in schemes and split.hostname and split.port != 0:
                return split
    raise ConnectionFault(fault)


class _Route:
    """How one server is reached: directly, or through the proxy that the environment names for it.

    Proxies and CA certificates are looked up once, where `requests` looks for them.
    """

    def __init__(self, split: SplitResult) -> None:
        url = f"{split.scheme}://{split.netloc}"
        with Session() as session:
            found = session.merge_environment_settings(url, {}, stream=False, verify=True, cert=None)
        secure = split.scheme == "https"
        trusted = found["verify"] if isinstance(found["verify"], str) else certifi.where()
        self._context = _context(trusted) if secure else None
        self._host, port = split.hostname or "", split.port or _DEFAULT_PORTS[split.scheme]
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self.host_header = shown if port == _DEFAULT_PORTS[split.scheme] else f"{shown}:{port}"
        self.prefix, self.headers = "", list[str]()
        self._at, self._tunnel = (self._host, port), b""
        named = select_proxy(url, found["proxies"])
        if named:
            proxy = _split_proxy(named)
            self._at = (proxy.hostname or "", proxy.port or 80)
            if secure:
                target = f"{shown}:{port}"
                self._tunnel = _encoded([f"CONNECT {target} HTTP/1.1", f"Host: {target}", *_password_for(proxy)])
            else:
                self.prefix, self.headers = f"http://{self.host_header}", _password_for(proxy)
        self._idle: deque[_Connection] = deque()

    def idle_connection(self) -> "_Connection | None":
        """Return a kept connection that the other side has not closed, the one used last first."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_usable():
                return connection
            connection.close()

    def keep(self, connection: "_Connection", answer: Answer) -> None:
        """Keep a connection for the next request, for as long as the other side says it does (less a second)."""
        said = _STAYS_OPEN.search(answer.headers.get("keep-alive", ""))
        connection.usable_until = time.monotonic() + (min(IDLE_S, int(said[1]) - 1) if said else IDLE_S)
        self._idle.append(connection)

    def connect(self, connect_timeout_s: float) -> "_Connection":
        """Open a connection.

        Raises:
            ConnectionFault: it cannot be made; nothing has left.
        """
        plain = None
        try:
            plain = socket.create_connection(self._at, timeout=connect_timeout_s)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is None:
                return _Connection(plain)
            if self._tunnel:
                self._open_tunnel(plain, time.monotonic() + connect_timeout_s)
                plain.settimeout(connect_timeout_s)
            return _Connection(self._context.wrap_socket(plain, server_hostname=self._host))
        except (OSError, ValueError) as error:
            if plain is not None:
                plain.close()
            raise ConnectionFault(_why_not_connected(error)) from error

    def _open_tunnel(self, plain: socket.socket, deadline: float) -> None:
        plain.sendall(self._tunnel)
        said = b""
        while b"\r\n\r\n" not in said and len(said) < LONGEST_ANSWER:
            plain.settimeout(_left_until(deadline))
            more = plain.recv(65_536)
            if not more:
                raise ConnectionFault("the proxy closed the connection")
            said += more
        if not _TUNNEL_IS_OPEN.match(said):
            raise ConnectionFault("the proxy refuses the connection")


class _Connection:
    """One open connection, used by one thread at a time."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)
        self.usable_until = 0.0

    def __del__(self) -> None:
        self.close()

    def exchange(self, request: bytes, *, leaving: Callable[[], object], timeout_s: float) -> tuple[Answer, bool]:
        """Write a request in one piece and read the answer; say whether the connection may be used again.

        Raises:
            ConnectionFault: there is no answer.
        """
        reader = _Reader()
        deadline = time.monotonic() + timeout_s
        # A socket with a timeout is polled before it is written to, and between the two a thread may wait long for the
        # interpreter. A blocking one is written to at once; only a request larger than the buffer would have to wait.
        self._socket.settimeout(None if len(request) <= _AT_ONCE else timeout_s)
        leaving()
        try:
            self._socket.sendall(request)
            while not reader.complete:
                self._socket.settimeout(_left_until(deadline))
                reader.feed(self._socket.recv(65_536))
        except ConnectionFault:
            raise
        except TimeoutError as error:
            raise ConnectionFault("no answer in time") from error
        except OSError as error:
            raise ConnectionFault("the connection broke") from error
        return Answer(reader.status_code, reader.headers, b"".join(reader.parts)), reader.may_go_on

    def is_usable(self) -> bool:
        """Whether the other side has kept it open. Anything it sent unasked is a close, or nothing we understand."""
        return time.monotonic() < self.usable_until and not self._poll.poll(0)

    def close(self) -> None:
        """Close it; harmless when it is closed already."""
        self._socket.close()


class _Reader:
    """Collects one answer, fed as it comes."""

    def __init__(self) -> None:
        self.complete = False
        self.may_go_on = False
        self.status_code = 0
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self._length = 0
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take what was read; no bytes mean that the other side has closed.

        Raises:
            ConnectionFault: it is no answer, or not a whole one.
        """
        if not data:
            # An answer that does not say its length ends with its connection.
            if self.status_code < 200 or "content-length" in self.headers or "transfer-encoding" in self.headers:
                raise ConnectionFault("the connection broke")
            self.complete = True
        self._length += len(data)
        if self._length > LONGEST_ANSWER:
            raise ConnectionFault("the answer is too long")
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.complete:
                raise ConnectionFault("the answer is not HTTP") from error
            self.may_go_on = False  # Something came after the answer.
        if self.complete:
            del self._parser  # It refers back to this reader: a circle that only the garbage collector could free.

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.complete:
            raise ConnectionFault("there is more than one answer")  # stops the parser; only `feed` sees it

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status_code < 200:  # a header after the body is no part of the head
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status_code = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def on_message_complete(self) -> None:
        if self.status_code < 200:
            self.headers.clear()  # 100 Continue and its like come before the answer.
            return
        self.complete = True
        self.may_go_on = self._parser.should_keep_alive()


def _context(verify: str) -> ssl.SSLContext:
    try:
        folder = Path(verify).is_dir()
        return ssl.create_default_context(cafile=None if folder else verify, capath=verify if folder else None)
    except OSError as error:
        raise ConnectionFault("the certificates this machine trusts cannot be read") from error


def _split_proxy(named: str) -> SplitResult:
    url = named if "://" in named else f"http://{named}"
    return _split(url, schemes=("http",), fault="the proxy's address is not one that can be used")


def _password_for(proxy: SplitResult) -> list[str]:
    if proxy.username is None:
        return []
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return ["Proxy-Authorization: Basic " + base64.b64encode(pair.encode()).decode()]


def _left_until(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _why_not_connected(error: Exception) -> str:
    match error:
        case ConnectionFault():
            return str(error)
        case ssl.SSLError():
            return "the TLS certificate or handshake was refused"
        case socket.gaierror() | ValueError():
            return "the host name cannot be resolved"
        case TimeoutError():
            return "connecting timed out"
        case _:
            return "connection refused or host unreachable"
