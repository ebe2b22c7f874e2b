"""The ways to WhatsApp: one adapter per provider behind one small protocol."""

from collections.abc import Mapping

from campaign_engine.config import Config
from campaign_engine.providers.base import Provider
from campaign_engine.providers.cloud_api.adapter import CloudApi
from campaign_engine.providers.evolution.adapter import Evolution


def build(config: Config) -> Mapping[str, Provider]:
    """Return the adapter of every provider by the name that accounts use; opens no connection."""
    return {
        "cloud_api": CloudApi(version=config.cloud_api_version, timeout_s=config.provider_timeout_s),
        "evolution": Evolution(timeout_s=config.provider_timeout_s),
    }
