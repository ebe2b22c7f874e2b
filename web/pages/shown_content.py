"""What a campaign says, as a page shows it: its text with the variables marked."""

import re
from dataclasses import dataclass

from campaign_engine.json_types import Json
from campaign_engine.rules.texts import rendering

_PLACEHOLDER = re.compile(r"(\{\{(?!\{).*?\}\})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text: ordinary, or a variable with the words that replace it."""

    text: str
    explanation: str | None = None


@dataclass(frozen=True, slots=True)
class ShownContent:
    """A content: a title, a text in pieces (maybe none), and named facts."""

    title: str
    pieces: list[Piece]
    facts: list[tuple[str, str]]


def pieces_of(text: str) -> list[Piece]:
    """Split a text at its variables, as the recipients' texts are."""
    return [_piece(part) for part in _PLACEHOLDER.split(text) if part]


def shown_content(content: Json) -> ShownContent:
    """Return what the page of a campaign says about its content."""
    kind = content.get("type")
    if kind == "template":
        values = [value for value in _texts(content) if value]
        facts = [("Template", str(content.get("name"))), ("Language", str(content.get("language")))]
        facts += [(f"Value {at}", value) for at, value in enumerate(values, start=1)]
        return ShownContent("The approved template", [], facts)
    if kind == "media":
        facts = [("Kind", str(content.get("media_type")))]
        facts += [(name.capitalize(), str(content[name])) for name in ("link", "id", "filename") if content.get(name)]
        return ShownContent("The file and its caption", pieces_of(content.get("caption") or ""), facts)
    return ShownContent("The message", pieces_of(content.get("text") or ""), [])


def _texts(content: Json) -> list[str]:
    try:
        return [template.text for template in rendering.component_templates(content.get("components") or [])]
    except rendering.TemplateError:
        return []


def _piece(part: str) -> Piece:
    if not _PLACEHOLDER.fullmatch(part):
        return Piece(part)
    name, has_fallback, fallback = part[2:-2].partition("|")
    known_as = rendering.variable_name(name) or name.strip()
    if not has_fallback:
        return Piece(part, f"The contact's {known_as}; without one the message is not sent.")
    return Piece(part, f"The contact's {known_as}; without one: “{fallback.strip()}”.")
