"""Message templates of each WABA: what exists, and whether a message fits it (docs/wire.md, Templates)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.errors import Refused

CATEGORIES = ("MARKETING", "UTILITY", "AUTHENTICATION")
_NAME = re.compile(r"[a-z0-9_]{1,512}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z]{2})?", re.ASCII)
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")
_MEDIA_FORMATS = ("IMAGE", "VIDEO", "DOCUMENT", "LOCATION")


@dataclass(frozen=True, slots=True)
class Template:
    """An approved template; `components` are as Meta's template list shows them."""

    template_id: str
    name: str
    language: str
    category: str
    components: tuple[Mapping[str, Any], ...] = ()
    status: str = "APPROVED"

    def as_json(self) -> dict[str, object]:
        return {
            "id": self.template_id,
            "name": self.name,
            "language": self.language,
            "status": self.status,
            "category": self.category,
            "parameter_format": "NAMED" if self._is_named() else "POSITIONAL",
            "components": list(self.components),
        }

    def check(self, components: Sequence[Mapping[str, Any]]) -> None:
        """Compare a message's components with the template.

        Raises Refused (132015, 132000, 132012, 131008).
        """
        if self.status != "APPROVED":
            raise Refused(132015, f"Template {self.name} is {self.status.lower()}.")
        self._check_text("body", _texts(self.components, "BODY"), _parameters(components, "body"))
        header = _of_type(self.components, "HEADER")
        if header:
            self._check_header(header, _parameters(components, "header"))
        self._check_buttons(components)

    def _is_named(self) -> bool:
        names = _placeholders(_texts(self.components, "BODY") + _texts(self.components, "HEADER"))
        return any(not name.isdigit() for name in names)

    def _check_text(self, place: str, text: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        expected = _placeholders(text)
        if len(parameters) != len(expected):
            raise _wrong_count(place, len(parameters), len(expected))
        for parameter in parameters:
            if parameter.get("type") == "text" and not parameter.get("text"):
                raise Refused(131008, f"{place}: Parameter of type text is missing text value")
        if self._is_named():
            given = {str(parameter.get("parameter_name")) for parameter in parameters}
            if given != set(expected):
                raise Refused(132012, f"{place}: Parameter names differ, expected {', '.join(expected)}")

    def _check_header(self, header: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]]) -> None:
        wanted = str(header.get("format", "TEXT")).upper()
        if wanted not in _MEDIA_FORMATS:
            self._check_text("header", str(header.get("text", "")), parameters)
            return
        if len(parameters) != 1:
            raise _wrong_count("header", len(parameters), 1)
        received = str(parameters[0].get("type", "unknown")).upper()
        if received != wanted:
            raise Refused(132012, f"header: Format mismatch, expected {wanted}, received {received}")

    def _check_buttons(self, components: Sequence[Mapping[str, Any]]) -> None:
        buttons = _of_type(self.components, "BUTTONS")
        given = {str(each.get("index")) for each in components if _is(each, "button") and each.get("parameters")}
        for place, button in enumerate(buttons.get("buttons", [])):
            has_variable = _is(button, "URL") and bool(_placeholders(str(button.get("url", ""))))
            if has_variable and str(place) not in given:
                raise Refused(131008, f"buttons: Button at index {place} of type Url requires a parameter")


class Templates:
    """The templates of every WABA. A WABA that nobody gave any has the three built-in ones."""

    def __init__(self) -> None:
        self._by_waba: dict[str, dict[tuple[str, str], Template]] = {}

    def of(self, waba_id: str) -> Iterable[Template]:
        return self._of(waba_id).values()

    def put(self, waba_id: str, template: Template) -> None:
        self._by_waba.setdefault(waba_id, dict(_BUILT_IN))[(template.name, template.language)] = template

    def added(self) -> Iterator[tuple[str, Template]]:
        """Yield every template that is not built in, with its WABA."""
        for waba_id, templates in self._by_waba.items():
            for key, template in templates.items():
                if _BUILT_IN.get(key) is not template:
                    yield waba_id, template

    def clear(self) -> None:
        self._by_waba.clear()

    def find(self, waba_id: str, name: str, language: str, *, accept_unknown: bool) -> Template | None:
        """Return the template, or None for an unknown name that is accepted unseen.

        Raises Refused (132001).
        """
        known = self._of(waba_id)
        template = known.get((name, language))
        if template is not None:
            return template
        if accept_unknown and not any(known_name == name for known_name, _ in known):
            return None
        raise Refused(132001, f"template name ({name}) does not exist in {language}")

    def _of(self, waba_id: str) -> Mapping[tuple[str, str], Template]:
        return self._by_waba.get(waba_id, _BUILT_IN)


def created(template_id: str, body: Mapping[str, Any]) -> Template:
    """Return the template that a creation request describes, approved at once. Raises Refused (100)."""
    name, language, category = body.get("name"), body.get("language"), body.get("category")
    components = body.get("components", [])
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refused(100, "Param name must be lower case letters, digits and underscores, at most 512.")
    if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
        raise Refused(100, "Param language must be a language code, for example pt_BR.")
    if not isinstance(category, str) or category.upper() not in CATEGORIES:
        raise Refused(100, f"Param category must be one of {{{', '.join(CATEGORIES)}}}.")
    if not isinstance(components, list) or not all(isinstance(each, dict) for each in components):
        raise Refused(100, "Param components must be an array of objects.")
    for each in components:
        buttons = each.get("buttons", [])
        if not isinstance(buttons, list) or not all(isinstance(button, dict) for button in buttons):
            raise Refused(100, "Param components[buttons] must be an array of objects.")
    if not _texts(components, "BODY"):
        raise Refused(100, "Param components must contain a BODY with text.")
    return Template(template_id, name, language, category.upper(), tuple(components))


def _wrong_count(place: str, found: int, expected: int) -> Refused:
    return Refused(
        132000,
        f"{place}: number of localizable_params ({found}) does not match the expected number of params ({expected})",
    )


def _is(component: Mapping[str, Any], kind: str) -> bool:
    """Compare a component's type; clients write it in either case."""
    return str(component.get("type", "")).lower() == kind.lower()


def _of_type(components: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    """Return the first component of this type, an empty one when there is none."""
    return next((each for each in components if _is(each, kind)), {})


def _texts(components: Iterable[Mapping[str, Any]], kind: str) -> str:
    return str(_of_type(components, kind).get("text", ""))


def _parameters(components: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return list(_of_type(components, kind).get("parameters", []))


def _placeholders(text: str) -> list[str]:
    """Return the different placeholders of a text, in order of appearance."""
    return list(dict.fromkeys(_PLACEHOLDER.findall(text)))


_BUILT_IN = {
    (template.name, template.language): template
    for template in (
        Template(
            "900000000000001", "hello_world", "en_US", "UTILITY",
            ({"type": "BODY", "text": "Welcome. This message proves that your account is set up."},),
        ),
        Template(
            "900000000000002", "oferta_da_semana", "pt_BR", "MARKETING",
            (
                {"type": "BODY", "text": "Olá {{1}}, esta semana {{2}} está com desconto."},
                {"type": "FOOTER", "text": "Responda SAIR para não receber mais."},
                {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "SAIR"}]},
            ),
        ),
        Template(
            "900000000000003", "pedido_enviado", "pt_BR", "UTILITY",
            ({"type": "BODY", "text": "{{nome}}, o pedido {{pedido}} saiu para entrega."},),
        ),
    )
}  # fmt: skip
