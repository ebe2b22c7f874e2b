"""Message texts with variables: `Hello {{name|customer}}, your code is {{coupon}}`.

    TemplateError(ValueError)     `str()` is a sentence for a person
    ├── UnclosedPlaceholder       {{ without its }}
    ├── EmptyName                 {{}}, {{ | fallback}}
    ├── EmptyText                 nothing to send
    ├── UnknownVariables          names that no contact has; suggests the closest known ones
    ├── MissingValue              this recipient has no value and the text gives no fallback
    └── TextTooLong               more characters than WhatsApp takes

Between {{ and }} stands a name, and after the first | a fallback (which may be empty: `{{name|}}`). Single
braces and a lone }} are ordinary text. Values are inserted as they are and never read again as a template.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from campaign_engine.json_types import Json

MAX_TEXT_CHARS: Final = 4096  # body of a text message (docs/wire.md, Text and media)
MAX_CAPTION_CHARS: Final = 1024  # caption of image, video, document (docs/wire.md, Text and media)

_KNOWN_NAMES_SHOWN: Final = 20
_SEPARATORS: Final = re.compile(r"[\W_]+")
_OPENING: Final = re.compile(r"\{\{(?!\{)")  # of three braces the outer one is ordinary text: {{{name}}} gives {Ana}

_Piece = tuple[str, str, str | None]  # literal before, name, fallback


class TemplateError(ValueError):
    """The text cannot be used, or not for this recipient."""


class UnclosedPlaceholder(TemplateError):
    """A {{ has no }}; `excerpt` is what follows it, cut short."""

    def __init__(self, excerpt: str) -> None:
        super().__init__(f"The text opens a variable and does not close it with }}}}: {excerpt}")


class EmptyName(TemplateError):
    """A placeholder without a name."""

    def __init__(self) -> None:
        super().__init__("The text has a variable without a name: write {{name}} or {{name|fallback}}.")


class EmptyText(TemplateError):
    """Nothing to send."""

    def __init__(self) -> None:
        super().__init__("The text is empty.")


class UnknownVariables(TemplateError):
    """The text uses `names` that are not among `known`."""

    def __init__(self, names: Sequence[str], known: Iterable[str]) -> None:
        known = sorted(known)
        close = {name: difflib.get_close_matches(name, known, n=1) for name in names}
        said = "".join(f" Instead of {name}, did you mean {near[0]}?" for name, near in close.items() if near)
        super().__init__(
            f"The text uses variables that no contact has: {', '.join(names)}.{said} Known: {_some(known)}."
        )


class MissingValue(TemplateError):
    """This recipient has no value, or a blank one, for `name`, and the text gives no fallback."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The contact has no value for {{{{{name}}}}} and the text gives no fallback.")
        self.name = name


class TextTooLong(TemplateError):
    """The text has `length` characters, more than `limit`."""

    def __init__(self, *, length: int, limit: int) -> None:
        super().__init__(f"The text has {length} characters; WhatsApp takes at most {limit}.")


def variable_name(text: str) -> str:
    """Return a variable's name in its one form: "Data de Expedição" and "data_de_expedicao" are the same name.

    Lower case, without accents, each run of anything but letters and digits as one underscore, none at the
    ends. Columns of a contact file and names in a text both pass through here. Empty when nothing is left.
    """
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = "".join(char for char in plain if unicodedata.category(char) not in ("Mn", "Cf"))
    return _SEPARATORS.sub("_", kept).strip("_")


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A text split once at its variables, to be rendered for many recipients.

    `variables` are all names in order of first use, `required` those used at least once without a fallback.
    `max_chars` is the limit of a rendered text, in characters (code points).
    """

    text: str
    variables: tuple[str, ...]
    required: tuple[str, ...]
    max_chars: int
    _pieces: tuple[_Piece, ...]
    _tail: str

    def check(self, known: Iterable[str]) -> None:
        """Raise UnknownVariables when a name is not among `known`, given as `variable_name` has them.

        A fallback excuses nothing: a slip of the pen would send the fallback to everybody.
        """
        known = frozenset(known)
        unknown = [name for name in self.variables if name not in known]
        if unknown:
            raise UnknownVariables(unknown, known)

    def render(self, variables: Mapping[str, str]) -> str:
        """Return the text for one recipient, whose `variables` have names as `variable_name` gives them.

        A blank value counts as none. Raises MissingValue, TextTooLong, and EmptyText when nothing is visible.
        """
        if not self._pieces:
            return self.text
        parts: list[str] = []
        for literal, name, fallback in self._pieces:
            value = variables.get(name)
            if not value or value.isspace():
                if fallback is None:
                    raise MissingValue(name)
                value = fallback
            parts += (literal, value)
        rendered = "".join(parts) + self._tail
        if len(rendered) > self.max_chars:
            raise TextTooLong(length=len(rendered), limit=self.max_chars)
        if not rendered or rendered.isspace():
            raise EmptyText
        return rendered


def parse(text: str, *, max_chars: int = MAX_TEXT_CHARS) -> TextTemplate:
    """Split a text at its variables; a text that was split lately costs only a look-up.

    Raises UnclosedPlaceholder, EmptyName, EmptyText, and TextTooLong when it is too long whatever the values.
    """
    return _parse(text, max_chars)


def component_templates(components: list[Json]) -> list[TextTemplate]:
    """Return the template of every `text` parameter of an approved template's components, in order.

    The shape is Meta's (docs/wire.md, Templates); cards inside a carousel are searched too. It serves to check the
    names before a campaign starts. Raises what `parse` raises.
    """
    return [parse(text) for text in _texts(components)]


def render_components(components: list[Json], variables: Mapping[str, str]) -> list[Json]:
    """Return the components for one recipient: a copy, with every `text` parameter rendered.

    Raises what `parse` and `TextTemplate.render` raise.
    """
    return [{key: _filled(key, value, variables) for key, value in each.items()} for each in components]


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _texts(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "text" and isinstance(value, str):
                yield value
            else:
                yield from _texts(value)


def _filled(key: str, node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_filled(key, each, variables) for each in node]
    if isinstance(node, dict):
        return {inner: _filled(inner, value, variables) for inner, value in node.items()}
    return parse(node).render(variables) if key == "text" and isinstance(node, str) else node


@lru_cache(maxsize=1024)
def _parse(text: str, max_chars: int) -> TextTemplate:
    if not text or text.isspace():
        raise EmptyText
    pieces, tail = _split(text)
    literal_chars = sum(len(literal) for literal, _, _ in pieces) + len(tail)
    if literal_chars > max_chars:
        raise TextTooLong(length=literal_chars, limit=max_chars)
    variables = dict.fromkeys(name for _, name, _ in pieces)
    required = dict.fromkeys(name for _, name, fallback in pieces if fallback is None)
    return TextTemplate(text, tuple(variables), tuple(required), max_chars, pieces, tail)


def _split(text: str) -> tuple[tuple[_Piece, ...], str]:
    pieces: list[_Piece] = []
    literal, *openings = _OPENING.split(text)
    for opening in openings:
        inside, closed, after = opening.partition("}}")
        if not closed:
            raise UnclosedPlaceholder("{{" + opening[:40])
        written_name, has_fallback, fallback = inside.partition("|")
        name = variable_name(written_name)
        if not name:
            raise EmptyName
        pieces.append((literal, name, fallback.strip() if has_fallback else None))
        literal = after
    return tuple(pieces), literal


def _some(names: Sequence[str]) -> str:
    left_out = len(names) - _KNOWN_NAMES_SHOWN
    shown = ", ".join(names[:_KNOWN_NAMES_SHOWN])
    return f"{shown} and {left_out} more" if left_out > 0 else shown or "none"
