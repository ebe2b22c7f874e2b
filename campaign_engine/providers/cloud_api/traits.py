"""What the Cloud API says of itself."""

from campaign_engine.providers.base import Traits

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
)
