"""What stands on a queue: a job by its import path, with ids, and as many tries as the policy says."""

import ast
import re
from pathlib import Path

import pytest
import redis as redis_package

from jobs import queues, workers

JOBS = Path(workers.__file__).parent


def named() -> set[str]:
    """Return every import path of ours that a module of `jobs` writes as text."""
    texts = (
        node.value
        for path in JOBS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {text for text in texts if re.fullmatch(r"jobs(\.[a-z_]+){2,}", text)}


def test_every_job_that_is_put_on_a_queue_is_there_and_every_one_that_is_there_is_put_on_one() -> None:
    there = {
        f"{module.__name__}.{name}"
        for module in workers.WORK
        for name, value in vars(module).items()
        if (getattr(value, "__doc__", None) or "").startswith("RQ job")
    }
    assert len(there) > 8
    assert named() == there


def test_a_job_has_ids_and_a_description_without_them(redis_client: redis_package.Redis) -> None:
    job = queues.enqueue(
        redis_client, queues.CONTACT_SYNC, "jobs.importing.run_import", 12, description="import contacts"
    )
    assert job.description == "import contacts"
    assert job.args == (12,)


@pytest.mark.parametrize(
    ("name", "attempts"),
    [
        ("campaign-messages", 3),
        ("campaign-notifications", 2),
        ("message-retry", 5),
        ("campaign-scheduler", 3),
        ("contact-sync", 3),
    ],
)
def test_a_queue_tries_as_often_as_its_policy_says(redis_client: redis_package.Redis, name: str, attempts: int) -> None:
    job = queues.enqueue(redis_client, name, "builtins.len", (), description="test")
    assert job.retries_left == attempts - 1
    assert list(job.retry_intervals or []) == list(queues.POLICIES[name].backoff_s)
