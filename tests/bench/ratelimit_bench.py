"""Decisions a second of `ratelimit`, beside the strategies of `limits` and a PING, on one Redis.

    python -m tests.bench.ratelimit_bench --redis-url redis://127.0.0.1:6379/0 [--json [FILE]]

Every contender does the same thing in the same process: one thread, one client, allowed decisions over 1,000 keys.
They take turns in short slices, in a new random order each round, so that whatever else the machine does falls on
all of them; a ratio is the median over the rounds of the two slices of one round. The floor is `client.ping()`: the
least that a round trip costs whoever calls redis-py. `ratelimit` goes to the connection without redis-py's command
layer; what it does when it cannot (Sentinel, Cluster) is measured too, as "through redis-py".

Uses keys of its own and deletes them. Use a server that nobody else uses.
"""

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import limits
import redis
from limits.storage import RedisStorage
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)

from ratelimit import Limit, Limiter, Rate

PREFIX = "ratelimit-bench"
KEYS = 1_000
SCOPES = ("account", "user", "portfolio", "pair")
Call = Callable[[int], object]


@dataclass(frozen=True)
class Figure:
    """One contender: decisions a second (median), how it compares with the PING, what it costs the server."""

    name: str
    per_second: float
    of_the_floor: float
    server_us: float


@dataclass(frozen=True)
class Target:
    """What is promised of the library, and what was measured."""

    name: str
    at_least: float
    measured: float

    @property
    def holds(self) -> bool:
        return self.measured >= self.at_least


class ThroughRedisPy:
    """A client of which nothing is known but that it executes commands."""

    def __init__(self, client: redis.Redis) -> None:
        self.execute_command = client.execute_command


def contenders(client: redis.Redis) -> dict[str, Call]:
    """Everything that is measured, by name; the argument is the number of a key."""
    limiter = Limiter(client, prefix=PREFIX)
    ordinary = Limiter(ThroughRedisPy(client), prefix=PREFIX)
    wide = Rate.parse("1000000/minute")
    ones = [[Limit("account", f"account:{i}", wide, burst=500_000)] for i in range(KEYS)]
    fours = [[Limit(scope, f"four-{scope}:{i}", wide, burst=500_000) for scope in SCOPES] for i in range(KEYS)]
    logs = [[Limit("account", f"account:{i}", Rate.parse("1000/minute"), kind="window")] for i in range(KEYS)]
    full = [Limit("account", "full", Rate.parse("1/day"))]
    limiter.acquire(full)

    storage = RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix=PREFIX)
    item = limits.parse("1000000 per minute")

    def in_turn(strategy: RateLimiter, scopes: Sequence[str]) -> Call:
        name = type(strategy).__name__
        return lambda i: all(strategy.hit(item, name, scope, str(i)) for scope in scopes)

    calls: dict[str, Call] = {
        "PING": lambda _: client.ping(),
        "ratelimit, 1 limit": lambda i: limiter.acquire(ones[i]),
        "ratelimit, 4 limits": lambda i: limiter.acquire(fours[i]),
        "ratelimit, 1 limit, refused": lambda _: limiter.acquire(full),
        "ratelimit, 1 window": lambda i: limiter.acquire(logs[i]),
        "ratelimit through redis-py, 1 limit": lambda i: ordinary.acquire(ones[i]),
        "ratelimit through redis-py, 4 limits": lambda i: ordinary.acquire(fours[i]),
    }
    for word, strategy in (
        ("fixed-window", FixedWindowRateLimiter(storage)),
        ("moving-window", MovingWindowRateLimiter(storage)),
        ("sliding-window-counter", SlidingWindowCounterRateLimiter(storage)),
    ):
        calls[f"limits {word}, 1 limit"] = in_turn(strategy, SCOPES[:1])
        calls[f"limits {word}, 4 limits"] = in_turn(strategy, SCOPES)
    return calls


def race(calls: dict[str, Call], *, rounds: int, slice_size: int) -> dict[str, list[float]]:
    """Decisions a second of every contender in every round."""
    rates: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for number in range(rounds + 1):
        random.shuffle(names)
        for name in names:
            call, keys = calls[name], [random.randrange(KEYS) for _ in range(slice_size)]
            started = time.perf_counter()
            for key in keys:
                call(key)
            if number:  # the first round warms up
                rates[name].append(slice_size / (time.perf_counter() - started))
    return rates


def ratio(rates: dict[str, list[float]], one: str, other: str) -> float:
    """How many times as fast `one` is: the median of the paired slices."""
    return statistics.median(a / b for a, b in zip(rates[one], rates[other], strict=True))


def server_us(client: redis.Redis, call: Call, *, count: int) -> float:
    """Microseconds that the server spends on one decision, by its own account."""
    before = _spent_us(client)
    for key in range(count):
        call(key % KEYS)
    return (_spent_us(client) - before) / count


def _spent_us(client: redis.Redis) -> float:
    stats = client.info("commandstats")
    return sum(float(stats[name]["usec"]) for name in ("cmdstat_evalsha", "cmdstat_ping") if name in stats)


def memory_bytes(client: redis.Redis) -> dict[str, int]:
    """What one key takes, as `MEMORY USAGE` says."""
    limiter = Limiter(client, prefix=PREFIX)
    bucket = Limit("account", "memory", Rate.parse("20/minute"))
    window = Limit("account", "memory", Rate.parse("20/minute"), kind="window")
    tier = Limit("tier", "memory", Rate.parse("1000/day"), kind="distinct")
    limiter.acquire([bucket])
    limiter.acquire([window], 20)
    limiter.acquire([tier], 1000, member=[f"+49151{i:08}" for i in range(1000)])
    strategy = MovingWindowRateLimiter(
        RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix=PREFIX)
    )
    for _ in range(20):
        strategy.hit(limits.parse("20 per minute"), "memory")
    return {
        "token-bucket": _memory(client, limiter.prefix + bucket.tail),
        "window, 20 of 20 in use": _memory(client, limiter.prefix + window.tail),
        "distinct, 1000 members": _memory(client, limiter.prefix + tier.tail),
        "limits moving-window, 20 of 20 in use": _memory(client, f"{PREFIX}:LIMITER/memory/20/1/minute"),
    }


def _memory(client: redis.Redis, key: str) -> int:
    return int(client.memory_usage(key, samples=0) or 0)


def measure(client: redis.Redis, *, rounds: int, slice_size: int, server_count: int = 1_000) -> dict[str, Any]:
    """All figures, ready for JSON. `server_count` decisions tell what one costs the server."""
    calls = contenders(client)
    try:
        rates = race(calls, rounds=rounds, slice_size=slice_size)
        figures = [
            Figure(
                name,
                statistics.median(rates[name]),
                ratio(rates, name, "PING"),
                server_us(client, calls[name], count=server_count),
            )
            for name in calls
        ]
        memory = memory_bytes(client)
    finally:
        for key in client.scan_iter(match=f"*{PREFIX}*", count=1_000):
            client.delete(key)
    targets = [
        Target(
            "4 limits in one call / limits moving-window called 4 times",
            3.5,
            ratio(rates, "ratelimit, 4 limits", "limits moving-window, 4 limits"),
        ),
        Target(
            "1 limit / limits moving-window",
            1.0,
            ratio(rates, "ratelimit, 1 limit", "limits moving-window, 1 limit"),
        ),
        Target("1 limit / PING", 0.75, ratio(rates, "ratelimit, 1 limit", "PING")),
    ]
    server = client.info("server")
    return {
        "server": server.get("valkey_version") or server["redis_version"],
        "python": platform.python_version(),
        "redis_py": version("redis"),
        "limits": version("limits"),
        "rounds": rounds,
        "slice": slice_size,
        "figures": [asdict(figure) for figure in figures],
        "memory_bytes": memory,
        "targets": [asdict(target) | {"holds": target.holds} for target in targets],
    }


def table(results: dict[str, Any]) -> str:
    """The results for people."""
    lines = [
        f"Redis {results['server']}, Python {results['python']}, redis-py {results['redis_py']}, "
        f"limits {results['limits']}; {results['rounds']} rounds of {results['slice']} decisions, medians",
        "",
        f"{'':40}{'decisions/s':>12}{'of the PING':>13}{'server µs':>11}",
    ]
    lines += [
        f"{figure['name']:40}{figure['per_second']:12,.0f}{figure['of_the_floor']:13.0%}{figure['server_us']:11.1f}"
        for figure in results["figures"]
    ]
    lines += ["", f"{'memory of one key':58}{'bytes':>7}"]
    lines += [f"{name:58}{size:7,}" for name, size in results["memory_bytes"].items()]
    lines += ["", f"{'target':62}{'at least':>9}{'measured':>10}"]
    lines += [
        f"{target['name']:62}{target['at_least']:9.2f}{target['measured']:10.2f}"
        f"  {'holds' if target['holds'] else 'MISSED'}"
        for target in results["targets"]
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON where that is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--redis-url", required=True, help="a server that nobody else uses")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--slice", type=int, default=300, help="decisions of one contender in one round")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="JSON to FILE, or instead of the table")
    chosen = parser.parse_args(arguments)
    with redis.Redis.from_url(chosen.redis_url) as client:
        results = measure(client, rounds=chosen.rounds, slice_size=chosen.slice)
    as_json = json.dumps(results, indent=2, ensure_ascii=False)
    if chosen.json == "-":
        print(as_json)
        return
    print(table(results))
    if chosen.json:
        Path(chosen.json).write_text(as_json + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
