"""Two checkouts beside each other: `python -m tests.bench.against OTHER [--rounds N] [--only NAME] [--json FILE]`.

A machine may be half as fast an hour later, in everything. So each benchmark runs in both checkouts by turns, and who
begins changes with every round; the medians are compared. OTHER is a checkout with its own `.venv` (`make setup-dev`).
FILE keeps every run: what it has already is not run again, so that a long comparison can be stopped and gone on with.
Begin a new one when either checkout has changed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.__main__ import BENCHMARKS
from tests.bench.figures import number

HERE = Path(__file__).parents[2]

Runs = dict[str, dict[str, list[dict[str, float]]]]
"""By benchmark and side (`this` or `other`): the value of each figure, by its name, for each round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, and print the medians of both sides with their difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.against", description=__doc__)
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs each benchmark")
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="only this one; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the runs are kept")
    chosen = parser.parse_args(arguments)
    python = chosen.other / ".venv/bin/python"
    if not python.exists():
        parser.error(f"{chosen.other} has no .venv; run `make setup-dev` in it")
    if chosen.rounds < 1:
        parser.error("--rounds: give a whole number from 1 up")
    sides = {"this": (Path(sys.executable), HERE), "other": (python, chosen.other)}
    runs: Runs = json.loads(chosen.json.read_text()) if chosen.json and chosen.json.exists() else {}
    for name in chosen.only or BENCHMARKS:
        kept = runs.setdefault(name, {"this": [], "other": []})
        for turn in range(chosen.rounds):
            for side in ("other", "this") if turn % 2 else ("this", "other"):
                if len(kept[side]) <= turn:
                    kept[side].append(_run(name, *sides[side]))
                    if chosen.json:
                        chosen.json.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + "\n")
        print(f"\n== {name}: the other, this, the difference of the medians; all values", *_lines(kept), sep="\n")
    return 0


def _run(name: str, python: Path, checkout: Path) -> dict[str, float]:
    """Run one benchmark in a checkout; return its figures. A bound that it misses is no fault here."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "bench.json"
        command = [python.absolute(), "-m", "tests.bench", "--only", name, "--json", kept]
        ended = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
        if not kept.exists():
            raise SystemExit(f"{name} gave no figures in {checkout}:\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(kept.read_text())[name]
    return {figure["name"]: figure["value"] for figure in found["figures"]}


def _lines(kept: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    for figure in kept["this"][0]:
        this, other = ([run[figure] for run in kept[side] if figure in run] for side in ("this", "other"))
        if not other:
            continue  # The other checkout does not measure it.
        before, after = median(other), median(this)
        difference = f"{after / before - 1:+.1%}" if before else "–"
        values = " ".join(map(number, other)) + " | " + " ".join(map(number, this))
        yield f"{figure:<64} {number(before):>10} {number(after):>10} {difference:>8}   {values}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Interrupted; what was measured is kept.")
