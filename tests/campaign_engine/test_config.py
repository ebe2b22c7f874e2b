"""The configuration: complete, documented, and clear about what it refuses."""

import json
import re
from pathlib import Path

import pytest

from campaign_engine import config
from campaign_engine.config import ConfigError
from ratelimit import Rate

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def _documented() -> dict[str, str]:
    lines = re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    return dict(lines)


def test_the_example_documents_every_variable_and_no_other() -> None:
    assert set(_documented()) == set(config.variables())


def test_the_example_shows_the_defaults() -> None:
    shown = {
        name: value
        for name, value in _documented().items()
        if not re.search(rf"^#{name}=", EXAMPLE.read_text(), re.MULTILINE)
    }
    assert config.load_given(shown) == config.load_given({})


def test_every_fault_is_named_with_what_is_accepted() -> None:
    with pytest.raises(ConfigError) as caught:
        config.load_given(
            {
                "WEB_PORT": "eighty",
                "WHATSAPP_RATE_LIMIT": "fast",
                "REDIS_URL": "http://x",
                "DEFAULT_TIMEZONE": "Mars/Olympus",
                "ENCRYPTION_KEY": "short",
                "LOG_FORMAT": "xml",
            }
        )
    named = {fault.partition(":")[0] for fault in caught.value.faults}
    assert named == {
        "WEB_PORT",
        "WHATSAPP_RATE_LIMIT",
        "REDIS_URL",
        "DEFAULT_TIMEZONE",
        "ENCRYPTION_KEY",
        "LOG_FORMAT",
    }
    assert "a whole number from 1 to 65535" in str(caught.value)
    assert "20/minute" in str(caught.value)


def test_a_refused_secret_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        config.load_given({"SECRET_KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("WEB_PORT=9000\nCAMPAIGN_BATCH=7\nWHATSAPP_RATE_LIMIT=30/minute\n")
    loaded = config.load_given({"WEB_PORT": "9100"}, dotenv=dotenv)
    assert (loaded.web_port, loaded.campaign_batch) == (9100, 7)
    assert loaded.whatsapp_rate_limit == Rate.parse("30/minute")


def test_an_empty_variable_counts_as_not_set() -> None:
    assert config.load_given({"DATABASE_URL": "", "WEB_PORT": ""}) == config.load_given({})


def test_what_runs_under_the_var_dir_completes_what_nobody_set(tmp_path: Path) -> None:
    (tmp_path / "local.json").write_text(
        json.dumps({"database_url": "postgresql://local/x", "redis_url": "redis://local/0", "pid": 7})
    )
    loaded = config.load({"VAR_DIR": str(tmp_path), "REDIS_URL": "redis://given:6379/0"})
    assert loaded.database_url == "postgresql://local/x"
    assert loaded.redis_url == "redis://given:6379/0"


def test_damaged_local_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "local.json").write_text("{")
    with pytest.raises(ConfigError, match="VAR_DIR"):
        config.load({"VAR_DIR": str(tmp_path)})
