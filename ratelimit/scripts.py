"""The Lua scripts: put together from the files under `lua/`, and known to Redis by their SHA-1.

A script that decides has four parts: the terms (how the arguments are read), the clock, the Lua of the kinds, the body.
It has only the kinds of the present call, so a call pays for what it uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the name that Redis knows it by."""

    text: str
    sha: str


_PROVIDED: dict[str, str] = {}


def provide(path: str, text: str) -> None:
    """Add Lua that is not among the files of this package, under the name it would have there."""
    _PROVIDED[path] = text


@cache
def _text(path: str) -> str:
    if path in _PROVIDED:
        return _PROVIDED[path]
    return resources.files("ratelimit").joinpath("lua", f"{path}.lua").read_text(encoding="utf-8")


def assemble(*paths: str) -> Script:
    """The files under `lua/` (without their ending), one after the other, as one script."""
    text = "\n".join(map(_text, paths))
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def decision(body: str, terms: str, kinds: Iterable[str]) -> Script:
    """The script `body` with its `terms`, knowing the Lua of `kinds`."""
    return assemble(f"terms/{terms}", "clock", *(f"kinds/{kind}" for kind in sorted(kinds)), body)
