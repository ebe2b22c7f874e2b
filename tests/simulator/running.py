"""A simulator in a process of its own, a receiver of its webhooks, and waiting without sleeping for luck."""

import hashlib
import hmac
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import requests

T = TypeVar("T")

PHONE_NUMBER_ID = "100200300400500"
TOKEN = "test-token"
SECRET = "test-secret"
RECIPIENT = "+5511910000001"
INSTANCE = "test instance"
APIKEY = "test-apikey"

# No delays and no chance, unless a test asks for them.
PLAIN = (  # noqa: SIM905 - as one would type it
    "--latency-ms 0 --sent-delay-ms 0 --delivered-delay-ms 0 --read-delay-ms 0 --failed-delay-ms 0 "
    "--reply-delay-ms 0 --duplicate-delay-ms 0 --webhook-batch-ms 10 --webhook-retry-ms 10 --failure-share 0 "
    "--read-share 1 --throughput-per-s 0"
).split()


def wait_for(probe: Callable[[], T], *, within_s: float = 60.0) -> T:
    """Return the first true value of the probe; fail when there is none in time."""
    deadline = time.monotonic() + within_s
    while True:
        value = probe()
        if value:
            return value
        assert time.monotonic() < deadline, f"still {value!r} after {within_s} s"
        time.sleep(0.01)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "simulator", *arguments]


class Simulator:
    """One running simulator, spoken to over HTTP alone."""

    def __init__(self, *arguments: str, state_dir: Path | None = None, stderr: int | None = None) -> None:
        kept = ["--state-dir", str(state_dir)] if state_dir else []
        self.process = subprocess.Popen(
            command("--port", "0", "--parent-dies", *PLAIN, *kept, *arguments),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        self.url = self._address()
        self.http = requests.Session()

    def _address(self) -> str:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(timeout=60), "the simulator did not start in time"
        line = self.process.stdout.readline()
        assert line.startswith("WhatsApp simulator at http://127.0.0.1:"), line
        return line.split()[-1]

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """Stop the process and return its exit code."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        code = self.process.wait(timeout=60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    # The wire.

    def post_message(
        self,
        body: Any,
        *,
        phone_number_id: str = PHONE_NUMBER_ID,
        token: str | None = TOKEN,
        version: str = "v26.0",
        timeout: float = 60,
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.url}/{version}/{phone_number_id}/messages"
        return self.http.post(url, json=body, headers=headers, timeout=timeout)

    def send(self, to: str = RECIPIENT, callback_data: str | None = None, **elsewhere: Any) -> requests.Response:
        return self.post_message(text_message(to, callback_data), **elsewhere)

    def graph(self, method: str, path: str, token: str = TOKEN, **rest: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return self.http.request(method, f"{self.url}/v26.0/{path}", headers=headers, timeout=60, **rest)

    def evolution(
        self, method: str, path: str, body: Any = None, *, instance: str = INSTANCE, apikey: str | None = APIKEY
    ) -> requests.Response:
        """Call Evolution API: `path` is what stands before the name of the instance."""
        headers = {"apikey": apikey} if apikey else {}
        return self.http.request(method, f"{self.url}/{path}/{instance}", json=body, headers=headers, timeout=60)

    # The control API.

    def control(self, method: str, path: str, body: Any = None) -> requests.Response:
        return self.http.request(method, f"{self.url}/simulator/{path}", json=body, timeout=60)

    def register(self, **fields: Any) -> dict[str, Any]:
        number = {"phone_number_id": PHONE_NUMBER_ID, "access_token": TOKEN, "app_secret": SECRET, **fields}
        response = self.control("POST", "numbers", number)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def register_instance(self, **fields: Any) -> dict[str, Any]:
        response = self.control("POST", "instances", {"instance": INSTANCE, "apikey": APIKEY, **fields})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def behave(self, **settings: Any) -> None:
        response = self.control("PATCH", "behaviour", settings)
        assert response.status_code == 200, response.text

    def ledger(self, since: int = 0) -> list[dict[str, Any]]:
        return list(self.control("GET", f"ledger?since={since}&limit=10000").json()["messages"])

    def summary(self) -> dict[str, Any]:
        return dict(self.control("GET", "summary").json())

    def wait_until_delivered(self, *, within_s: float = 60.0) -> dict[str, Any]:
        """Return the counts of webhooks once none is pending."""

        def settled() -> dict[str, Any] | None:
            webhooks: dict[str, Any] = self.summary()["webhooks"]
            return webhooks if webhooks["pending"] == 0 else None

        settled_webhooks = wait_for(settled, within_s=within_s)
        assert settled_webhooks is not None
        return settled_webhooks


def text_message(to: str = RECIPIENT, callback_data: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": to,
        "type": "text",
        "text": {"body": "Hello"},
    }
    if callback_data is not None:
        body["biz_opaque_callback_data"] = callback_data
    return body


def signature_of(secret: bytes, body: bytes) -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Received:
    """One webhook as it arrived."""

    path: str
    body: bytes
    signature: str
    status_answered: int
    at: float

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def changes(self) -> list[dict[str, Any]]:
        return [change for entry in self.json["entry"] for change in entry["changes"]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item for change in self.changes for item in change["value"].get(kind, [])]


class Receiver:
    """A webhook receiver that checks every signature; `answers` holds the next statuses to answer with."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[int] = []
        self.always: int = 200
        self.wrong_signatures = 0
        self.hold = threading.Event()
        self.hold.set()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/webhooks/cloud"

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=60)

    def accepted(self) -> list[Received]:
        with self._lock:
            return [each for each in self.received if each.status_answered == 200]

    def statuses(self, message_id: str | None = None) -> list[dict[str, Any]]:
        """Return the statuses of accepted webhooks in their order of arrival."""
        found = [status for each in self.accepted() for status in each.of("statuses")]
        return [status for status in found if message_id is None or status["id"] == message_id]

    def inbound(self) -> list[dict[str, Any]]:
        return [message for each in self.accepted() for message in each.of("messages")]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                signature = self.headers.get("X-Hub-Signature-256", "")
                receiver.hold.wait(timeout=60)
                self.send_response(receiver._take(self.path, body, signature))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def _take(self, path: str, body: bytes, signature: str) -> int:
        with self._lock:
            if not hmac.compare_digest(signature, signature_of(SECRET.encode(), body)):
                self.wrong_signatures += 1
            status = self.answers.pop(0) if self.answers else self.always
            self.received.append(Received(path, body, signature, status, time.time()))
            return status


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
