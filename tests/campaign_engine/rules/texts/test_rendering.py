"""Message texts: variables are found once, filled in for each recipient, and never read again."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.rules.texts.rendering import (
    MAX_CAPTION_CHARS,
    MAX_TEXT_CHARS,
    EmptyName,
    EmptyText,
    MissingValue,
    TemplateError,
    TextTooLong,
    UnclosedPlaceholder,
    UnknownVariables,
    component_templates,
    parse,
    render_components,
    variable_name,
)

VALUES = {"name": "João", "city": "São Paulo, SP", "coupon": "NOV10", "1": "um", "blank": " \n"}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("Olá {{name}}!", "Olá João!"),
        ("{{name}}", "João"),
        ("{{name}}{{coupon}}", "JoãoNOV10"),
        ("{{ name }} {{\tcity\n}}", "João São Paulo, SP"),
        ("{{Name}}, {{CITY}}, {{cíty}}", "João, São Paulo, SP, São Paulo, SP"),
        ("{{1}} de {{name}}", "um de João"),
        ("{{name|cliente}}", "João"),
        ("{{nickname|cliente}}", "cliente"),
        ("{{blank | querido cliente }}!", "querido cliente!"),
        ("Oi{{nickname|}}!", "Oi!"),
        ("{{nickname|a|b}}", "a|b"),
        ("{{nickname|{x} }}", "{x}"),
        ("no variables", "no variables"),
        ("{ name } }} {x} {", "{ name } }} {x} {"),
        ("{{{name}}}", "{João}"),
        ("é {{name}}}", "é João}"),
        ("line\r\n{{name}}\n", "line\r\nJoão\n"),
    ],
)
def test_a_text_is_rendered_for_a_recipient(text: str, rendered: str) -> None:
    assert parse(text).render(VALUES) == rendered


def test_names_are_told_with_and_without_a_fallback_in_order_of_first_use() -> None:
    template = parse("{{coupon|X}} {{Name}} {{city|aí}} {{name|cliente}} {{city}} {{other|}}")
    assert template.variables == ("coupon", "name", "city", "other")
    assert template.required == ("name", "city")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Olá {{name", UnclosedPlaceholder),
        ("Olá {{name}", UnclosedPlaceholder),
        ("{{name {{city}}", UnclosedPlaceholder),
        ("{{", UnclosedPlaceholder),
        ("{{}}", EmptyName),
        ("{{ }}", EmptyName),
        ("{{|cliente}}", EmptyName),
        ("{{ -- }}", EmptyName),
        ("", EmptyText),
        (" \n", EmptyText),
        ("x" * (MAX_TEXT_CHARS + 1), TextTooLong),
        ("{{name}}" + "x" * (MAX_TEXT_CHARS + 1), TextTooLong),
    ],
)
def test_a_text_that_can_never_be_sent_is_refused_at_once(text: str, error: type[TemplateError]) -> None:
    with pytest.raises(error) as refusal:
        parse(text)
    assert type(refusal.value) is error


def test_the_unclosed_place_is_shown() -> None:
    with pytest.raises(UnclosedPlaceholder, match=r"\{\{nmae, seu cupom"):
        parse("Olá {{nmae, seu cupom é {{coupon}}")


def test_an_unknown_variable_is_named_with_the_closest_known_one() -> None:
    template = parse("{{nmae}} {{city}} {{cuopn|X}} {{zzz}}")
    with pytest.raises(UnknownVariables) as refusal:
        template.check({"name", "city", "coupon"})
    assert str(refusal.value) == (
        "The text uses variables that no contact has: nmae, cuopn, zzz. Instead of nmae, did you mean name?"
        " Instead of cuopn, did you mean coupon? Known: city, coupon, name."
    )
    template.check({"nmae", "city", "cuopn", "zzz", "more"})


def test_an_unknown_variable_is_told_also_when_there_is_nothing_to_know_or_too_much() -> None:
    with pytest.raises(UnknownVariables, match="Known: none"):
        parse("{{name}}").check([])
    with pytest.raises(UnknownVariables, match=r"v19 and 80 more\.$"):
        parse("{{name}}").check([f"v{number:02}" for number in range(100)])


@pytest.mark.parametrize("values", [{}, {"name": ""}, {"name": " \t\n"}, {"NAME": "João"}])
def test_a_missing_or_blank_value_without_fallback_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(MissingValue) as refusal:
        parse("Olá {{name}}").render(values)
    assert refusal.value.name == "name"


def test_a_text_that_renders_to_nothing_visible_is_refused() -> None:
    with pytest.raises(EmptyText):
        parse(" {{name|}}\n").render({})


def test_the_limit_is_that_of_the_rendered_text() -> None:
    template = parse("{{name}}" + "x" * (MAX_TEXT_CHARS - 4))
    assert len(template.render(VALUES)) == MAX_TEXT_CHARS
    with pytest.raises(TextTooLong, match=f"{MAX_TEXT_CHARS + 1} characters; WhatsApp takes at most {MAX_TEXT_CHARS}"):
        template.render({"name": "Joana"})
    assert len(parse("x" * MAX_TEXT_CHARS).render({})) == MAX_TEXT_CHARS
    with pytest.raises(TextTooLong):
        parse("x" * MAX_TEXT_CHARS, max_chars=MAX_CAPTION_CHARS)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Name", "name"),
        ("  Data de Expedição ", "data_de_expedicao"),
        ("data_de_expedicao", "data_de_expedicao"),
        ("Nº do pedido", "no_do_pedido"),
        ("e-mail", "e_mail"),
        ("_id", "id"),
        ("A--B..C", "a_b_c"),
        ("\ufeffTELÉFONO\u200b", "telefono"),
        ("1", "1"),
        ("Имя", "имя"),
        ("???", ""),
        ("", ""),
    ],
)
def test_a_variable_has_one_name_however_it_is_written(written: str, name: str) -> None:
    assert variable_name(written) == name


@given(text=st.text())
def test_the_name_of_a_name_is_itself(text: str) -> None:
    assert variable_name(variable_name(text)) == variable_name(text)


literals = st.text(alphabet=st.characters(exclude_characters="{"), max_size=10)
names = st.sampled_from(["name", "city", "coupon"])


@given(
    pieces=st.lists(st.tuples(literals, names), min_size=1, max_size=8),
    tail=literals,
    values=st.fixed_dictionaries({name: st.text(max_size=20) for name in ("name", "city", "coupon")}),
)
def test_values_come_out_as_they_are_and_are_never_read_again(
    pieces: list[tuple[str, str]], tail: str, values: dict[str, str]
) -> None:
    values = {name: f"{{{{name}}}}{value}{{{{x|y}}}}" for name, value in values.items()}
    text = "".join(f"{literal}{{{{{name}}}}}" for literal, name in pieces) + tail
    expected = "".join(f"{literal}{values[name]}" for literal, name in pieces) + tail
    assert parse(text).render(values) == expected


@given(text=st.text(alphabet="{}| na\n", max_size=30))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        template = parse(text)
    except TemplateError:
        return
    template.check({"n", "a", "na", *template.variables})
    assert set(template.required) <= set(template.variables)
    if "{{" not in text:
        assert template.render({}) == text


# --- Components of approved templates (docs/wire.md, Templates).


def components() -> list[dict[str, Any]]:
    return [
        {
            "type": "header",
            "parameters": [{"type": "image", "image": {"id": "1037543291543636", "caption": "{{name}}"}}],
        },
        {
            "type": "body",
            "parameters": [
                {"type": "text", "text": "{{name|cliente}}"},
                {"type": "text", "parameter_name": "code", "text": "{{coupon}} em {{city}}"},
            ],
        },
        {
            "type": "carousel",
            "cards": [{"components": [{"type": "body", "parameters": [{"type": "text", "text": "{{1}}"}]}]}],
        },
        {
            "type": "button",
            "sub_type": "quick_reply",
            "index": 0,
            "parameters": [{"type": "payload", "payload": "STOP"}],
        },
        {"type": "footer"},
    ]


def test_every_text_parameter_of_a_template_is_rendered_and_nothing_else() -> None:
    expected = components()
    expected[1]["parameters"][0]["text"] = "João"
    expected[1]["parameters"][1]["text"] = "NOV10 em São Paulo, SP"
    expected[2]["cards"][0]["components"][0]["parameters"][0]["text"] = "um"
    assert render_components(components(), VALUES) == expected


def test_rendering_components_leaves_the_given_ones_alone() -> None:
    given_components = components()
    before = copy.deepcopy(given_components)
    rendered = render_components(given_components, VALUES)
    rendered[0]["parameters"][0]["image"]["id"] = "other"
    rendered[2]["cards"].clear()
    assert given_components == before


def test_the_names_in_components_can_be_checked_before_a_campaign_starts() -> None:
    templates = component_templates(components())
    assert [template.variables for template in templates] == [("name",), ("coupon", "city"), ("1",)]


def test_components_refuse_what_texts_refuse() -> None:
    with pytest.raises(MissingValue):
        render_components(components(), {"name": "João"})
    with pytest.raises(UnclosedPlaceholder):
        component_templates([{"type": "body", "parameters": [{"type": "text", "text": "{{name"}]}])
