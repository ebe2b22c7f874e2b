"""Connections to Redis, by what they are for."""

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel

from campaign_engine.config import Config, ConfigError

PATIENT_RETRIES = 120
"""The pauses grow to a second: a worker waits about two minutes for a Redis that is away."""


def for_workers(config: Config) -> Redis:
    """Return a connection that waits for Redis to come back, for queues and workers."""
    retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), PATIENT_RETRIES)
    return _connect(config.redis_url, retry=retry, retry_on_error=[RedisConnectionError, RedisTimeoutError])


def for_requests(config: Config) -> Redis:
    """Return a connection that gives up soon, for answers to people and for calls that sending must not wait for."""
    return _connect(config.redis_url, retry=_brief(), socket_timeout=2.0, socket_connect_timeout=2.0)


def for_limits(config: Config) -> Redis:
    """Return the limiter's connection; it gives up soon, and then nothing is sent."""
    return _connect(config.limiter_redis_url, retry=_brief(), socket_timeout=2.0, socket_connect_timeout=2.0)


def _brief() -> Retry:
    return Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.2), 2)


def _connect(url: str | None, **options: object) -> Redis:
    if url is None:
        raise ConfigError(["REDIS_URL: not set"])
    if url.startswith("redis+sentinel://"):
        return _through_sentinel(url, **options)
    return Redis.from_url(url, **options)


def _through_sentinel(url: str, **options: object) -> Redis:
    """Connect to the master that Sentinels name: `redis+sentinel://[:password@]host:port[,host:port]/service[/db]`."""
    rest = url.removeprefix("redis+sentinel://")
    credentials, _, address = rest.rpartition("@")
    hosts, _, path = address.partition("/")
    service, _, db = path.partition("/")
    if not hosts or not service:
        raise ConfigError(["REDIS_URL: a Sentinel URL names the service: redis+sentinel://host:26379/mymaster/0"])
    password = credentials.partition(":")[2] or credentials or None
    nodes = [(host.partition(":")[0], int(host.partition(":")[2] or 26379)) for host in hosts.split(",")]
    sentinel = Sentinel(nodes, password=password, db=int(db or 0), **options)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(service)  # type: ignore[no-untyped-call]
    return master
