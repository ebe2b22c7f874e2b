"""`make bench`: every benchmark, on private servers; prints tables and writes JSON.

python -m tests.bench [--only NAME] [--quick] [--seconds N] [--peer CMD] [--json FILE]

Ends with status 1 when a figure misses its bound. `docs/performance.md` says what each figure means.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis as redis_package

from cli.embedded.postgres import MAJOR_VERSION
from tests.bench import (
    deliveries,
    fairness_bench,
    lateness,
    limit_use,
    preparing,
    ratelimit_bench,
    report,
    throughput,
    waiting,
)
from tests.bench.figures import Figure, Result, table
from tests.bench.options import Options
from tests.bench.works import Opening, fresh_works

DOCS = Path(__file__).parents[2] / "docs"
RESULTS, DOCUMENT = DOCS / "bench.json", DOCS / "performance.md"


def _ratelimit(opening: Opening, options: Options) -> Result:
    """Measure the library alone, on one of the servers."""
    rounds, slice_size, server_count = (2, 20, 20) if options.quick else (30, 300, 1_000)
    with opening() as plant, redis_package.Redis.from_url(plant.servers.limits_redis_url) as client:
        results = ratelimit_bench.measure(client, rounds=rounds, slice_size=slice_size, server_count=server_count)
    print(ratelimit_bench.table(results))
    figures = [
        Figure(name=target["name"], value=target["measured"], unit="times", at_least=target["at_least"])
        for target in results["targets"]
    ]
    return Result(tuple(figures), results)


BENCHMARKS: dict[str, Callable[[Opening, Options], Result]] = {
    "ratelimit": _ratelimit,
    "limit-use": limit_use.measure,
    "throughput": throughput.measure,
    "lateness": lateness.measure,
    "waiting": waiting.measure,
    "preparing": preparing.measure,
    "deliveries": deliveries.measure,
    "fairness": fairness_bench.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks, each on servers of its own; return the exit status."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="only this one; repeatable")
    parser.add_argument("--quick", action="store_true", help="a few seconds of each, to see that it works")
    parser.add_argument("--seconds", type=float, help="how long a run is measured; each has a usual time of its own")
    parser.add_argument(
        "--peer", metavar="CMD", help="another engine to compare the throughput with (tests/bench/peer.py)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"default {RESULTS.name} in docs/; none for --quick")
    chosen = parser.parse_args(arguments)
    path: Path | None = chosen.json or (None if chosen.quick else RESULTS)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is stopped on the way out
    options = Options(quick=chosen.quick, seconds=chosen.seconds, peer=chosen.peer)
    kept: dict[str, Any] = json.loads(path.read_text()) if path is not None and path.exists() else {}
    missed = 0
    for name in chosen.only or BENCHMARKS:
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        try:
            result = BENCHMARKS[name](fresh_works, options)
        except (AssertionError, subprocess.SubprocessError) as error:
            # What it waited for did not come. The others are worth measuring all the same.
            print(f"FAILED: {error}", flush=True)
            missed += 1
            continue
        missed += sum(figure.has_bound and not figure.passed for figure in result.figures)
        print(table(result.figures), flush=True)
        kept[name] = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "took_s": round(time.monotonic() - started),
            **result.as_json(),
        }
        if path is not None:
            path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
        if path == RESULTS:
            report.write(DOCUMENT, kept)
    print(f"\n{missed or 'None'} of the bounds missed.")
    return 1 if missed else 0


def machine() -> str:
    """Return what of this machine the figures depend on."""
    return f"{os.cpu_count()} processors, Python {platform.python_version()}, PostgreSQL {MAJOR_VERSION}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Interrupted; everything that was started has been stopped.")
