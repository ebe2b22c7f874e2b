"""What the pool does before the fork, and about the dead."""

import re
import uuid
from pathlib import Path

import pytest

from campaign_engine.services.messages.planning import Line
from jobs import lease, waking, workers
from jobs.runtime import Runtime


def test_whatever_a_job_is_called_by_is_imported_before_the_fork() -> None:
    sources = "".join(path.read_text() for path in Path(workers.__file__).parent.rglob("*.py"))
    called = set(re.findall(r'"(jobs\.[\w.]+)\.\w+"', sources))
    assert called == {module.__name__ for module in workers.WORK}


def test_the_lane_of_a_vanished_host_gets_a_turn_on_both_lines(
    current: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_TTL_S", 0.001)
    lease.Lease.take(current.redis, 7, uuid.uuid4())
    while current.redis.exists("lane:7:lease"):
        pass
    assert waking.lanes_with_a_turn(current.redis, [7]) == set()
    workers.wake_abandoned(current)
    for line in Line:
        assert waking.lanes_with_a_turn(current.redis, [7], line) == {7}


def test_a_lane_at_work_is_left_alone(current: Runtime) -> None:
    lease.Lease.take(current.redis, 7, uuid.uuid4())
    workers.wake_abandoned(current)
    assert current.redis.zcard("rq:scheduled:campaign-messages") == 0
