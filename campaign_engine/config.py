"""The configuration: one frozen value, read once at the edge of each process.

Precedence: the environment, then a `.env` file in the working directory, then what `campaign-engine up` wrote to
`VAR_DIR/local.json` for the embedded servers (addresses and generated secrets). `.env.example` documents every
variable; a test compares the two.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cryptography.fernet import Fernet
from dotenv import dotenv_values

from campaign_engine.rules.pacing import ACCEPTED
from ratelimit import InvalidLimit, Rate

LOCAL_STATE_FILE = "local.json"
"""What `campaign-engine up` writes under VAR_DIR; keys are the names of fields below."""

DOTENV = Path(".env")

LOCAL_KEYS = ("database_url", "redis_url", "secret_key", "encryption_key")


class ConfigError(Exception):
    """One or more variables hold values that cannot be used; each line names one of them."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def _between(minimum: float, maximum: float, *, read: Callable[[str], float], what: str) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            number = read(value)
        except ValueError:
            number = minimum - 1
        if not minimum <= number <= maximum:
            raise ValueError(f"{what} from {minimum} to {maximum}")
        return number

    return parse


_whole = partial(_between, read=int, what="a whole number")
_seconds = partial(_between, read=float, what="seconds")


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return value

    return parse


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if urlsplit(value).scheme not in schemes:
            raise ValueError("a URL that starts with " + " or ".join(f"{scheme}://" for scheme in schemes))
        return value.rstrip("/") if schemes[0].startswith("http") else value

    return parse


def _rate(value: str) -> Rate:
    try:
        return Rate.parse(value)
    except InvalidLimit as error:
        raise ValueError("COUNT/PERIOD, for example 20/minute or 10/5 minutes") from error


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: "America" is a folder of the database
        raise ValueError("a time zone of the IANA database, for example America/Sao_Paulo") from error
    return value


def _fernet_keys(value: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in value.split(",") if key.strip())
    try:
        for key in keys:
            Fernet(key.encode())
    except ValueError as error:
        raise ValueError("Fernet keys (32 bytes, url-safe base64), newest first, comma-separated") from error
    if not keys:
        raise ValueError("at least one Fernet key")
    return keys


def _secret(value: str) -> str:
    if len(value) < 16:
        raise ValueError("at least 16 characters, from a random source")
    return value


START_LATE_S = (0, 30 * 86_400)
"""How late a start may be made up for, at the least and the most: here, of a company and of a campaign."""

STRATEGIES = ("token-bucket", "window", "fixed-window", "moving-window", "sliding-window-counter")
"""What RATE_LIMIT_STRATEGY accepts: kinds of `ratelimit` for the limits of accounts and owners."""


def setting(env: str, parse: Callable[[str], Any], default: Any) -> Any:
    """Declare a field that is read from the variable `env`; `default` is already parsed."""
    return field(default=default, metadata={"env": env, "parse": parse})


_POSTGRES = _url("postgresql", "postgres")
_REDIS = _url("redis", "rediss", "redis+sentinel", "unix")
_HTTP = _url("http", "https")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every setting of the product. Periods in seconds carry `_s` in their name."""

    var_dir: Path = setting("VAR_DIR", Path, Path("var"))
    database_url: str | None = setting("DATABASE_URL", _POSTGRES, None)
    redis_url: str | None = setting("REDIS_URL", _REDIS, None)
    ratelimit_redis_url: str | None = setting("RATELIMIT_REDIS_URL", _REDIS, None)
    secret_key: str | None = setting("SECRET_KEY", _secret, None)
    encryption_key: tuple[str, ...] = setting("ENCRYPTION_KEY", _fernet_keys, ())

    web_host: str = setting("WEB_HOST", str, "127.0.0.1")
    web_port: int = setting("WEB_PORT", _whole(1, 65535), 8000)
    web_threads: int = setting("WEB_THREADS", _whole(1, 256), 16)
    public_url: str | None = setting("PUBLIC_URL", _HTTP, None)
    import_max_mb: int = setting("IMPORT_MAX_MB", _whole(1, 2048), 100)

    cloud_api_url: str = setting("CLOUD_API_URL", _HTTP, "https://graph.facebook.com")
    cloud_api_version: str = setting("CLOUD_API_VERSION", str, "v26.0")
    sentry_dsn: str | None = setting("SENTRY_DSN", _HTTP, None)
    log_format: str = setting("LOG_FORMAT", _one_of("json", "text"), "text")
    log_level: str = setting("LOG_LEVEL", _one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
    default_locale: str = setting("DEFAULT_LOCALE", _one_of("en", "pt_BR"), "en")
    default_timezone: str = setting("DEFAULT_TIMEZONE", _zone, "America/Sao_Paulo")
    default_region: str = setting("DEFAULT_REGION", str, "BR")

    whatsapp_rate_limit: Rate = setting("WHATSAPP_RATE_LIMIT", _rate, Rate.parse("20/minute"))
    campaign_rate_limit: Rate = setting("CAMPAIGN_RATE_LIMIT", _rate, Rate.parse("100/minute"))
    api_rate_limit: Rate = setting("API_RATE_LIMIT", _rate, Rate.parse("1000/minute"))
    retry_rate_limit: Rate = setting("RETRY_RATE_LIMIT", _rate, Rate.parse("10/5 minutes"))

    rate_limit_strategy: str = setting("RATE_LIMIT_STRATEGY", _one_of(*STRATEGIES), "token-bucket")

    campaign_messages_workers: int = setting("CAMPAIGN_MESSAGES_WORKERS", _whole(0, 256), 5)
    campaign_notifications_workers: int = setting("CAMPAIGN_NOTIFICATIONS_WORKERS", _whole(0, 256), 3)
    message_retry_workers: int = setting("MESSAGE_RETRY_WORKERS", _whole(0, 256), 3)
    campaign_scheduler_workers: int = setting("CAMPAIGN_SCHEDULER_WORKERS", _whole(0, 256), 2)
    delivery_events_workers: int = setting("DELIVERY_EVENTS_WORKERS", _whole(0, 256), 1)
    contact_sync_workers: int = setting("CONTACT_SYNC_WORKERS", _whole(0, 256), 1)

    campaign_batch: int = setting("CAMPAIGN_BATCH", _whole(1, 1000), 3)
    turn_budget_s: float = setting("TURN_BUDGET_S", _seconds(0.1, 60), 5.0)
    verify_interval_s: int = setting("VERIFY_INTERVAL_S", _whole(1, 3600), 20)
    health_check_ttl_s: int = setting("HEALTH_CHECK_TTL_S", _whole(1, 3600), 30)
    account_failure_threshold: int = setting("ACCOUNT_FAILURE_THRESHOLD", _whole(1, 1000), 5)
    message_interval_s: float = setting("MESSAGE_INTERVAL_S", _seconds(*ACCEPTED["message_interval_s"]), 20.0)
    longer_interval_after: int = setting("LONGER_INTERVAL_AFTER", _whole(*ACCEPTED["longer_interval_after"]), 20)
    greater_interval_s: float = setting("GREATER_INTERVAL_S", _seconds(*ACCEPTED["greater_interval_s"]), 60.0)
    campaign_message_delay_s: float = setting("CAMPAIGN_MESSAGE_DELAY_S", _seconds(*ACCEPTED["message_delay_s"]), 1.0)
    unknown_grace_s: int = setting("UNKNOWN_GRACE_S", _whole(1, 30 * 86400), 3600)
    acknowledgement_s: int = setting("ACKNOWLEDGEMENT_S", _whole(1, 30 * 86400), 300)
    start_late_s: int = setting("START_LATE_S", _whole(*START_LATE_S), 3600)
    provider_timeout_s: float = setting("PROVIDER_TIMEOUT_S", _seconds(1, 300), 30.0)

    @property
    def limiter_redis_url(self) -> str | None:
        """Where the limits live: their own Redis when one is named, else the queues'."""
        return self.ratelimit_redis_url or self.redis_url

    def workers_of(self, queue: str) -> int:
        """Return how many workers `queue` gets; queue names are those of `jobs.queues`."""
        count: int = getattr(self, queue.replace("-", "_") + "_workers")
        return count


def variables() -> list[str]:
    """Return the name of every variable that is read."""
    return [item.metadata["env"] for item in fields(Config)]


def load(environ: Mapping[str, str] | None = None, *, dotenv: Path | None = None) -> Config:
    """Read the configuration of this process, completed by what `campaign-engine up` runs under VAR_DIR.

    Args:
        environ: the variables; the process's own when left out.
        dotenv: a `.env` file; if both are left out, the one in the working directory.

    Raises:
        ConfigError: all faults together, a line each, with the variable and what is accepted.
    """
    given = load_given(environ, dotenv=dotenv)
    local = _local_values(given.var_dir / LOCAL_STATE_FILE)
    return replace(given, **{name: value for name, value in local.items() if not getattr(given, name)})


def load_given(environ: Mapping[str, str] | None = None, *, dotenv: Path | None = None) -> Config:
    """Read what somebody set, and nothing of what runs under VAR_DIR; otherwise like `load`."""
    if environ is None:
        environ = os.environ
        dotenv = dotenv or DOTENV
    from_file = dotenv_values(dotenv) if dotenv is not None and dotenv.is_file() else {}
    variables_given = {key: value for key, value in {**from_file, **environ}.items() if value}

    values: dict[str, Any] = {}
    faults: list[str] = []
    for item in fields(Config):
        env = item.metadata["env"]
        if env not in variables_given:
            continue
        try:
            values[item.name] = item.metadata["parse"](variables_given[env])
        except ValueError as error:
            # The value itself is left out: it may be a secret that was put into the wrong variable.
            faults.append(f"{env}: not usable; accepted is {error}.")
    if faults:
        raise ConfigError(faults)
    return Config(**values)


def _local_values(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise ConfigError([f"VAR_DIR: {path} belongs to another user; run as the one who started it."]) from error
    except NotADirectoryError as error:
        raise ConfigError([f"VAR_DIR: {path.parent} is a file; a folder is needed."]) from error
    except ValueError as error:
        raise ConfigError([f"VAR_DIR: {path} is damaged; remove it and start again."]) from error
    values = {key: stored[key] for key in LOCAL_KEYS if stored.get(key)}
    if "encryption_key" in values:
        values["encryption_key"] = _fernet_keys(values["encryption_key"])
    return values
