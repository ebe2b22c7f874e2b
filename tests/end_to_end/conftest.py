"""Plants, ended with everything they started."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_package

from cli.embedded.postgres import EmbeddedPostgres
from tests.campaign_engine.cloned import cloned
from tests.end_to_end.plant import Plant


@pytest.fixture
def make_plant(
    database_url: str, redis_url: str, redis_client: redis_package.Redis, tmp_path: Path
) -> Iterator[Callable[..., Plant]]:
    """A function that makes a plant with settings of its own; Redis is empty before it."""
    plants: list[Plant] = []

    def make(**settings: str) -> Plant:
        plants.append(Plant(database_url=database_url, redis_url=redis_url, folder=tmp_path, **settings))
        return plants[-1]

    yield make
    for plant in plants:
        plant.stop()


@pytest.fixture(scope="module")
def shared_plant(
    _postgres: EmbeddedPostgres, migrated_template: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plant]:
    """One plant for all tests of a module, with every part started: starting one takes as long as a campaign."""
    with redis_package.Redis.from_url(redis_url) as client:
        client.flushall()
    with cloned(_postgres, migrated_template) as url:
        plant = Plant(
            database_url=url,
            redis_url=redis_url,
            folder=tmp_path_factory.mktemp("plant"),
            VERIFY_INTERVAL_S="2",
            CAMPAIGN_MESSAGES_WORKERS="3",
        )
        try:
            plant.start_simulator("--failure-share", "0")
            plant.start_web()
            plant.start_engine()
            yield plant
        finally:
            plant.stop()


@pytest.fixture
def plant(shared_plant: Plant) -> Plant:
    """The plant of the module; its simulator remembers nothing. Each test has a company and campaigns of its own."""
    shared_plant.renew_simulator()
    return shared_plant
