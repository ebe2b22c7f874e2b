"""Connections that the send path's client keeps: used again, left, one to a thread, closed with it."""

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest

from campaign_engine.providers import direct
from campaign_engine.providers.direct import DirectHttp
from tests.campaign_engine.providers.posting import GOOD, converse_all_at_once, post, says, shut, used_after
from tests.campaign_engine.providers.wire import Request, answering, closing_after, response, serving


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
    barrier = threading.Barrier(2, timeout=60)
    second_may_end = threading.Event()

    def answer(connection: socket.socket, request: Request) -> bool:
        if b"together" in request.body:
            barrier.wait()
            if request.connection == 1:
                second_may_end.wait(60)
        connection.sendall(GOOD)
        return True

    with serving(answer) as server, ThreadPoolExecutor(2) as threads:
        both = [threads.submit(post, client, server.url, body=b"together") for _ in range(2)]
        wait(both, timeout=60, return_when=FIRST_COMPLETED)
        second_may_end.set()
        for one in both:
            one.result()
        for _ in range(3):
            post(client, server.url)
        assert [request.connection for request in server.requests[2:]] == [1, 1, 1]


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


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
    barrier = threading.Barrier(4, timeout=60)

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
    with serving(closing_after(b"HTTP/1.1 200 OK\r\nServer: old\r\n\r\nhello")) as server:
        for _ in range(2):
            assert post(client, server.url).content == b"hello"
        assert server.connection_count == 2


def test_sixty_four_threads_get_each_its_own_answer_on_as_many_connections(client: DirectHttp) -> None:
    assert converse_all_at_once(client, threads=64, rounds=5) == 64


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
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0\n"


def test_connections_end_with_their_client(eventually: Callable[..., None]) -> None:
    client = DirectHttp(connect_timeout_s=60, timeout_s=60)
    with serving(answering(GOOD)) as server:
        post(client, server.url)
        assert server.closed_count == 0
        del client
        eventually(lambda: server.closed_count == 1)
