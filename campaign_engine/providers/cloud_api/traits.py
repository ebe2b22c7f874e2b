"""What the Cloud API says of itself."""

from campaign_engine.providers.base import Traits
from campaign_engine.providers.cloud_api.errors import MARKETING_REFUSED, SHIELDED

TRAITS = Traits(
    name="cloud_api",
    title="WhatsApp Cloud API",
    token_title="Access token",  # noqa: S106 - what it is called
    named_by="phone_number_id",
    needed_fields=("name", "access_token", "phone_number_id"),
    foreign_fields=(),
    most_in_flight=256,
    carries_our_id=True,
    has_pair_limit=True,
    codes_of_refusal=frozenset({str(MARKETING_REFUSED)}),
    codes_of_shielding=frozenset({str(SHIELDED)}),
)
