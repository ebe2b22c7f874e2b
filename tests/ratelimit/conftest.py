"""A limiter of its own for every test, on a real Redis, with the time as an argument: nothing sleeps."""

import itertools
from collections.abc import Callable, Iterator

import pytest
import redis

from ratelimit import Limiter

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the Redis of the test run; replies are bytes. Tests stay apart by the prefix of their keys."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def new_limiter(server: redis.Redis) -> Callable[[], Limiter]:
    """Make a limiter with keys that nobody has used: one for each example of a property test."""
    return lambda: Limiter(server, prefix=f"test-{next(_numbers)}")


@pytest.fixture
def limiter(new_limiter: Callable[[], Limiter]) -> Limiter:
    return new_limiter()
