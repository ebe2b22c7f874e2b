"""A plant for each test, ended with everything it started."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_package

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
