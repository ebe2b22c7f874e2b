"""What comments say is written down elsewhere is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WIRE = "docs/" + "wire.md"
CITED = re.compile(re.escape(WIRE) + r"(?:, ([A-Z][A-Za-z ]*[A-Za-z]))?")


def headings() -> set[str]:
    text = (ROOT / WIRE).read_text(encoding="utf-8")
    return set(re.findall(r"^#{2,} (.+)$", text, re.MULTILINE))


def citations() -> list[tuple[str, str]]:
    """Return (where, heading) of every citation in the sources; the heading is empty where none follows on its line."""
    folders = ("campaign_engine", "cli", "jobs", "ratelimit", "simulator", "tests", "tools", "web")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".lua")]
    return [
        (f"{path.relative_to(ROOT)}:{number}", heading)
        for path in sources
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for heading in CITED.findall(line)
    ]


def test_every_heading_cited_of_the_wire_is_there() -> None:
    known, found = headings(), citations()
    assert len(found) > 30
    assert [(where, heading) for where, heading in found if heading not in known] == []


def test_no_heading_of_the_wire_stands_twice() -> None:
    text = (ROOT / WIRE).read_text(encoding="utf-8")
    assert len(re.findall(r"^#{2,} ", text, re.MULTILINE)) == len(headings())


@pytest.mark.parametrize(("page", "at_least"), [("how-to-add.md", 15), ("architecture.md", 8)])
def test_every_file_that_a_page_names_is_there(page: str, at_least: int) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w[\w/]*/(?:\w+\.(?:py|md|html|lua))?)`", text))
    assert len(named) > at_least
    roots = (ROOT, ROOT / "campaign_engine", ROOT / "campaign_engine" / "services")
    assert [name for name in sorted(named) if not any((root / name).exists() for root in roots)] == []
