"""What Evolution API says of itself: it stands before the session of one phone."""

from collections.abc import Mapping
from typing import Any

from campaign_engine.providers.base import Traits
from campaign_engine.providers.cloud_api.errors import MARKETING_REFUSED, SHIELDED

NO_TEMPLATES = "Evolution API sends no templates: write a text instead."
NO_UPLOADS = "Evolution API knows no uploaded files: give the file's address."


def unsuited(content: Mapping[str, Any]) -> str | None:
    """Return, as a sentence, why a phone cannot send a content; None when it can."""
    if content["type"] == "template":
        return NO_TEMPLATES
    if content["type"] == "media" and not content.get("link"):
        return NO_UPLOADS
    return None


TRAITS = Traits(
    name="evolution",
    title="Evolution API",
    token_title="API key",  # noqa: S106 - what it is called
    named_by="instance",
    needed_fields=("name", "access_token", "base_url", "instance"),
    foreign_fields=("phone_number_id", "app_secret", "verify_token"),
    most_in_flight=1,
    carries_our_id=False,
    has_pair_limit=False,
    unsuited=unsuited,
    codes_of_refusal=frozenset({str(MARKETING_REFUSED)}),  # of the business channel, which hands Meta's codes on
    codes_of_shielding=frozenset({str(SHIELDED)}),
    notice="This system uses Evolution API.",
)
