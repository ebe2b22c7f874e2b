"""`make bench`: every benchmark, on private servers; prints tables and writes JSON.

python -m tests.bench [--only NAME] [--seconds N] [--json FILE]
"""

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis as redis_package

from tests.bench import limit_use, ratelimit_bench
from tests.bench.servers import Servers, private_servers

RESULTS = Path(__file__).parents[2] / "docs" / "bench.json"


def _ratelimit(servers: Servers, _seconds: float) -> dict[str, Any]:
    with redis_package.Redis.from_url(servers.limits_redis_url) as client:
        results = ratelimit_bench.measure(client, rounds=30, slice_size=300)
    print(ratelimit_bench.table(results))
    return results


def _limit_use(servers: Servers, seconds: float) -> dict[str, Any]:
    results = limit_use.measure(servers, limits=["20/minute", "600/minute"], seconds=seconds)
    print(limit_use.table(results))
    return results


BENCHMARKS: dict[str, Callable[[Servers, float], dict[str, Any]]] = {
    "ratelimit": _ratelimit,
    "limit-use": _limit_use,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks; each has servers of its own."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="only this one; repeatable")
    parser.add_argument("--seconds", type=float, default=120, help="how long the runs of the engine send (default 120)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help=f"default {RESULTS.name} in docs/")
    chosen = parser.parse_args(arguments)
    results: dict[str, Any] = json.loads(chosen.json.read_text()) if chosen.json.exists() else {}
    for name in chosen.only or BENCHMARKS:
        print(f"\n== {name}")
        with private_servers() as servers:
            results[name] = {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": f"{os.cpu_count()} processors, Python {platform.python_version()}",
                **BENCHMARKS[name](servers, chosen.seconds),
            }
    chosen.json.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nWritten to {chosen.json}")


if __name__ == "__main__":
    main()
