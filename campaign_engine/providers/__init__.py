"""The ways to WhatsApp: a folder for each, which declares what it is and how it is spoken to.

Another one is a folder, a line in `REGISTRY` and, where its accounts have fields of their own, a migration.
"""

from collections.abc import Mapping, Sequence

from campaign_engine.config import Config
from campaign_engine.providers.base import Provider
from campaign_engine.providers.cloud_api.adapter import CloudApi
from campaign_engine.providers.evolution.adapter import Evolution

REGISTRY: Sequence[type[Provider]] = (CloudApi, Evolution)
"""Every provider there is; the first is meant where somebody names none."""


def build(config: Config, registry: Sequence[type[Provider]] = REGISTRY) -> Mapping[str, Provider]:
    """Return every provider by the name that accounts use; opens no connection."""
    return {kind.traits.name: kind.of(config) for kind in registry}
