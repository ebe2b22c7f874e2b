"""How many messages a second the simulator accepts: `python -m tests.simulator.measure [--messages N] ...`.

Starts a simulator and sends from this process over keep-alive connections with one request in flight on each.
Options it does not know go to the simulator, for example `--latency-ms 50 --state-dir DIR`.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator

from tests.simulator.running import PHONE_NUMBER_ID, TOKEN, Simulator, receiving, text_message


class Sender(asyncio.Protocol):
    """One connection; it sends the next request when the answer to the last one is complete."""

    def __init__(self, requests: Iterator[bytes], took_s: list[float], done: asyncio.Event) -> None:
        self._requests = requests
        self._took_s = took_s
        self._done = done
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < int(head.lower().partition(b"content-length: ")[2].split()[0]):
            return
        assert head.startswith(b"HTTP/1.1 200"), self._buffer
        self._took_s.append(time.perf_counter() - self._began_at)
        self._buffer = b""
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        self._done.set()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._began_at = time.perf_counter()
        self._transport.write(request)


def request(place: int) -> bytes:
    body = json.dumps(text_message(f"+55119{10_000_000 + place:08d}", f"m{place}")).encode()
    head = (
        f"POST /v26.0/{PHONE_NUMBER_ID}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def measure(simulator: Simulator, messages: int, connections: int) -> None:
    host, port = simulator.url.removeprefix("http://").split(":")
    requests = iter([request(place) for place in range(messages)])
    took_s: list[float] = []
    ended = [asyncio.Event() for _ in range(connections)]
    began_at = time.perf_counter()
    for done in ended:
        await asyncio.get_running_loop().create_connection(
            lambda done=done: Sender(requests, took_s, done),  # type: ignore[misc]
            host,
            int(port),
        )
    for done in ended:
        await done.wait()
    rate = messages / (time.perf_counter() - began_at)
    took_s.sort()
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    times = ", ".join(f"{name} {took_s[int(share * messages)] * 1000:.1f} ms" for name, share in shares.items())
    print(f"{rate:,.0f} messages/s over {connections} connections; {times}, longest {took_s[-1] * 1000:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--webhooks", action="store_true", help="receive status webhooks in this process")
    arguments, settings = parser.parse_known_args()
    simulator = Simulator(*settings)
    try:
        with receiving() as receiver:
            simulator.register(webhook_url=receiver.url if arguments.webhooks else None)
            asyncio.run(measure(simulator, arguments.messages, arguments.connections))
            webhooks = simulator.wait_until_delivered(within_s=60)
            print(f"webhooks: {webhooks}")
    finally:
        simulator.stop()


if __name__ == "__main__":
    main()
