"""The last results as a table in `docs/performance.md`, so that text and figures cannot drift apart."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench import figures
from tests.bench.figures import Figure

BEGIN, END = "<!-- results -->\n", "<!-- end of results -->"


def write(document: Path, kept: Mapping[str, Any]) -> None:
    """Put the results in the place of those the document has, between its two marks."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(before + BEGIN + "".join(f"{line}\n" for line in _lines(kept)) + END + after)


def _lines(kept: Mapping[str, Any]) -> Iterator[str]:
    machines = sorted({benchmark["machine"] for benchmark in kept.values()})
    yield f"\nOn {'; '.join(machines)}.\n"
    yield "| benchmark | figure | measured | bound | |"
    yield "|---|---|---:|---:|---|"
    for name, benchmark in kept.items():
        shown = f"{name}, {benchmark['at'][:10]}"
        for entry in benchmark.get("figures", ()):
            figure = Figure(**{key: value for key, value in entry.items() if key != "passed"})
            measured = f"{figures.number(figure.value)} {figure.unit}"
            yield f"| {shown} | {figure.name} | {measured} | {figures.bound(figure)} | {figures.verdict(figure)} |"
            shown = ""
    yield ""
