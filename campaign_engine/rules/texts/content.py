"""What a campaign says: text, an approved template, or media; checked once and rendered per recipient.

As the JSON API takes it: `{"type": "text", "text"}`, `{"type": "template", "name", "language", "components"}`,
`{"type": "media", "media_type", "link" or "id", "caption", "filename"}`.
"""

from collections.abc import Iterator, Mapping

from campaign_engine.json_types import Json
from campaign_engine.rules.texts import rendering
from campaign_engine.rules.texts.rendering import TextTemplate

MEDIA_TYPES = ("image", "video", "audio", "document", "sticker")
MEDIA_WITH_CAPTION = ("image", "video", "document")


def templates_of(content: Json) -> Iterator[tuple[str, TextTemplate]]:
    """Yield (field, template) for every text with variables.

    Raises:
        rendering.TemplateError: one of them cannot be read.
    """
    if content["type"] == "text":
        yield "content.text", rendering.parse(content["text"])
    elif content["type"] == "template":
        for template in rendering.component_templates(content.get("components") or []):
            yield "content.components", template
    elif content.get("caption"):
        yield "content.caption", rendering.parse(content["caption"], max_chars=rendering.MAX_CAPTION_CHARS)


def named_variables(given: Mapping[str, object]) -> dict[str, str]:
    """Return a contact's variables under the names that a text uses; nulls are left out."""
    return {rendering.variable_name(name): str(value) for name, value in given.items() if value is not None}


def field_with_text(content: Json) -> str:
    """Return the field in which a person wrote the text with variables."""
    return {"text": "content.text", "template": "content.components"}.get(content["type"], "content.caption")


def faults_of(content: Json) -> dict[str, list[str]]:
    """Return what is wrong with a content, per field; variables are not looked at."""
    kind = content.get("type")
    if kind == "text":
        return {} if content.get("text") else {"content.text": ["A text is needed."]}
    if kind == "template":
        return {f"content.{name}": ["This is needed."] for name in ("name", "language") if not content.get(name)}
    if kind == "media":
        if content.get("media_type") not in MEDIA_TYPES:
            return {"content.media_type": ["Accepted are " + ", ".join(MEDIA_TYPES) + "."]}
        if bool(content.get("link")) == bool(content.get("id")):
            return {"content.link": ["Give either a link or the id of an uploaded file."]}
        if content.get("caption") and content["media_type"] not in MEDIA_WITH_CAPTION:
            return {"content.caption": [f"WhatsApp shows no caption under {content['media_type']}."]}
        return {}
    return {"content.type": ["Accepted are text, template and media."]}


def render(content: Json, variables: Mapping[str, str]) -> Json:
    """Return the part of Meta's body that belongs to the content, for one recipient.

    Raises:
        rendering.TemplateError: a value is missing or the result is too long for this recipient.
    """
    if content["type"] == "text":
        return {"type": "text", "text": {"body": rendering.parse(content["text"]).render(variables)}}
    if content["type"] == "template":
        template: Json = {"name": content["name"], "language": {"code": content["language"]}}
        if content.get("components"):
            template["components"] = rendering.render_components(content["components"], variables)
        return {"type": "template", "template": template}
    kind = content["media_type"]
    media = {key: content[key] for key in ("id", "link", "filename") if content.get(key)}
    if content.get("caption"):
        caption = rendering.parse(content["caption"], max_chars=rendering.MAX_CAPTION_CHARS)
        media["caption"] = caption.render(variables)
    return {"type": kind, kind: media}
