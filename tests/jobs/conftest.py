"""The pipeline's parts on a real Redis, and where needed a real database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_package

from campaign_engine.db import db
from jobs import runtime
from jobs.runtime import Runtime
from tests import factories


@pytest.fixture
def current(database_url: str, redis_url: str, redis_client: redis_package.Redis, tmp_path: Path) -> Iterator[Runtime]:
    """The runtime of a worker process, inside its application context."""
    config = factories.config(database_url=database_url, redis_url=redis_url, VAR_DIR=str(tmp_path))
    built = runtime.build(config)
    with built.app.app_context():
        yield built
        db.session.remove()
        db.engine.dispose()
