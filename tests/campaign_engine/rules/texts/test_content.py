"""What a campaign says: faults by field, variables, and the part of the wire it becomes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.rules.texts import content, rendering

TEXT = {"type": "text", "text": "Olá {{name|cliente}}, cupom {{Código Único}}"}
TEMPLATE = {
    "type": "template",
    "name": "promo_nov",
    "language": "pt_BR",
    "components": [
        {"type": "header", "parameters": [{"type": "image", "image": {"id": "7"}}]},
        {
            "type": "body",
            "parameters": [
                {"type": "text", "text": "{{name|amigo}}"},
                {"type": "text", "parameter_name": "code", "text": "{{coupon}}"},
            ],
        },
        {
            "type": "button",
            "sub_type": "quick_reply",
            "index": "0",
            "parameters": [{"type": "payload", "payload": "{{STOP}}"}],
        },
    ],
}
MEDIA = {"type": "media", "media_type": "image", "link": "https://example.com/a.png", "caption": "Para {{name}}"}


# --- Faults.


@pytest.mark.parametrize(
    ("given_content", "fields"),
    [
        (TEXT, []),
        (TEMPLATE, []),
        (MEDIA, []),
        ({"type": "template", "name": "a", "language": "en"}, []),
        ({"type": "media", "media_type": "audio", "id": "7"}, []),
        ({"type": "media", "media_type": "document", "id": "7", "filename": "a.pdf", "caption": "x"}, []),
        ({"type": "media", "media_type": "sticker", "link": "https://example.com/a.webp", "caption": ""}, []),
        ({}, ["content.type"]),
        ({"type": None}, ["content.type"]),
        ({"type": "poll"}, ["content.type"]),
        ({"type": "text"}, ["content.text"]),
        ({"type": "text", "text": ""}, ["content.text"]),
        ({"type": "template"}, ["content.name", "content.language"]),
        ({"type": "template", "name": "a"}, ["content.language"]),
        ({"type": "template", "language": "en"}, ["content.name"]),
        ({"type": "media", "link": "https://example.com"}, ["content.media_type"]),
        ({"type": "media", "media_type": "hologram", "id": "7"}, ["content.media_type"]),
        ({"type": "media", "media_type": "image"}, ["content.link"]),
        ({"type": "media", "media_type": "image", "link": "https://example.com", "id": "7"}, ["content.link"]),
        ({"type": "media", "media_type": "audio", "id": "7", "caption": "x"}, ["content.caption"]),
        ({"type": "media", "media_type": "sticker", "id": "7", "caption": "x"}, ["content.caption"]),
    ],
)
def test_what_cannot_be_used_is_named_by_its_field(given_content: dict[str, Any], fields: list[str]) -> None:
    faults = content.faults_of(given_content)
    assert list(faults) == fields
    assert all(sentence.endswith(".") for sentences in faults.values() for sentence in sentences)


@given(
    given_content=st.dictionaries(
        st.sampled_from(["type", "text", "name", "language", "media_type", "link", "id", "caption"]),
        st.none() | st.sampled_from(["text", "template", "media", "image", "audio", "", "Olá", "{{a}}"]),
    )
)
def test_a_content_without_a_fault_can_be_read_and_rendered(given_content: dict[str, Any]) -> None:
    if not content.faults_of(given_content):
        field = content.field_with_text(given_content)
        variables = {}
        for named, template in content.templates_of(given_content):
            assert named == field
            variables |= dict.fromkeys(template.variables, "x")
        rendered = content.render(given_content, variables)
        assert set(rendered) == {"type", rendered["type"]}
        json.dumps(rendered)


# --- Variables.


@pytest.mark.parametrize(
    ("given_content", "field", "names"),
    [
        (TEXT, "content.text", [("name", "codigo_unico")]),
        (TEMPLATE, "content.components", [("name",), ("coupon",)]),
        (MEDIA, "content.caption", [("name",)]),
        ({**MEDIA, "caption": None}, "content.caption", []),
        ({**TEMPLATE, "components": None}, "content.components", []),
    ],
)
def test_the_texts_with_variables_are_found_with_their_field(
    given_content: dict[str, Any], field: str, names: list[tuple[str, ...]]
) -> None:
    found = list(content.templates_of(given_content))
    assert [template.variables for _, template in found] == names
    assert {name for name, _ in found} <= {field}
    assert content.field_with_text(given_content) == field


def test_a_caption_has_its_own_length() -> None:
    long = "x" * (rendering.MAX_CAPTION_CHARS + 1)
    with pytest.raises(rendering.TextTooLong):
        list(content.templates_of({**MEDIA, "caption": long}))
    with pytest.raises(rendering.TextTooLong):
        content.render({**MEDIA, "caption": "{{name}}"}, {"name": long})
    assert list(content.templates_of({"type": "text", "text": long}))


def test_a_contacts_variables_get_the_names_that_a_text_uses() -> None:
    given_variables = {"Data de Expedição": "1/2", "Pedido Nº": 7, "vip": False, "nada": None}
    assert content.named_variables(given_variables) == {
        "data_de_expedicao": "1/2",
        "pedido_no": "7",
        "vip": "False",
    }


# --- The wire.


def test_a_text_is_rendered_for_its_recipient() -> None:
    assert content.render(TEXT, {"codigo_unico": "X20"}) == {
        "type": "text",
        "text": {"body": "Olá cliente, cupom X20"},
    }


def test_a_text_without_a_value_for_this_recipient_is_refused() -> None:
    with pytest.raises(rendering.MissingValue):
        content.render(TEXT, {"name": "Ana"})


def test_a_template_has_its_text_parameters_filled_and_nothing_else_touched() -> None:
    rendered = content.render(TEMPLATE, {"name": "Ana", "coupon": "X20"})
    components = json.loads(json.dumps(TEMPLATE["components"]))
    components[1]["parameters"][0]["text"] = "Ana"
    components[1]["parameters"][1]["text"] = "X20"
    assert rendered == {
        "type": "template",
        "template": {"name": "promo_nov", "language": {"code": "pt_BR"}, "components": components},
    }
    # A payload comes back by webhook as it was sent, braces and all: it is no text for people.
    assert rendered["template"]["components"][2]["parameters"][0]["payload"] == "{{STOP}}"


@pytest.mark.parametrize("components", [None, []])
def test_a_template_without_parameters_says_nothing_of_components(components: object) -> None:
    rendered = content.render({**TEMPLATE, "components": components}, {})
    assert rendered["template"] == {"name": "promo_nov", "language": {"code": "pt_BR"}}


@pytest.mark.parametrize(
    ("given_content", "wire"),
    [
        (MEDIA, {"type": "image", "image": {"link": "https://example.com/a.png", "caption": "Para Ana"}}),
        ({"type": "media", "media_type": "audio", "id": "7"}, {"type": "audio", "audio": {"id": "7"}}),
        (
            {"type": "media", "media_type": "document", "id": "7", "filename": "a.pdf", "caption": "", "link": None},
            {"type": "document", "document": {"id": "7", "filename": "a.pdf"}},
        ),
    ],
)
def test_media_goes_out_under_its_own_kind(given_content: dict[str, Any], wire: dict[str, Any]) -> None:
    assert content.render(given_content, {"name": "Ana"}) == wire


def test_rendering_changes_nothing_of_the_campaigns_content() -> None:
    for given_content in (TEXT, TEMPLATE, MEDIA):
        before = json.dumps(given_content)
        content.render(given_content, {"name": "Ana", "coupon": "X", "codigo_unico": "Y"})
        assert json.dumps(given_content) == before


def test_a_value_that_looks_like_a_variable_is_not_read_again() -> None:
    rendered = content.render({"type": "text", "text": "{{name}}"}, {"name": "{{coupon}}"})
    assert rendered["text"]["body"] == "{{coupon}}"
