"""The map has every room that there is, and none that is gone."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {"campaign_engine/migrations/versions", "ratelimit/lua/kinds", "ratelimit/lua/terms"}
"""Packages that are parts of a room."""


def rooms() -> list[str]:
    packages = ("campaign_engine", "cli", "jobs", "ratelimit", "simulator", "web")
    found = {path.parent.relative_to(ROOT).as_posix() for name in packages for path in (ROOT / name).rglob("*.py")}
    return sorted(found - PARTS)


def test_the_map_has_each_room_once() -> None:
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([\w/]+)` \|", text, re.MULTILINE)) == rooms()


@pytest.mark.parametrize("room", rooms())
def test_each_room_says_what_it_is(room: str) -> None:
    assert (ROOT / room / "__init__.py").read_text(encoding="utf-8").startswith('"""')
