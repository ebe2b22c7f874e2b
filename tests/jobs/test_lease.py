"""Who holds a lane: one turn at a time, and nobody once it is given up or its worker is dead."""

import time
import uuid

import pytest
import redis as redis_package

from jobs import lease, waking


def test_one_turn_holds_a_lane_at_a_time(redis_client: redis_package.Redis) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    held = lease.Lease.take(redis_client, 7, first)
    assert held is not None
    assert lease.Lease.take(redis_client, 7, second) is None
    assert lease.holders(redis_client, [7, 8]) == {7: str(first)}
    assert waking.lanes_with_a_turn(redis_client, [7]) == {7}
    with held:
        assert lease.Lease.take(redis_client, 7, second) is None
    assert lease.holders(redis_client, [7]) == {}
    assert lease.Lease.take(redis_client, 7, second) is not None


def test_a_lease_of_another_turn_is_not_released(redis_client: redis_package.Redis) -> None:
    holder = uuid.uuid4()
    lease.Lease.take(redis_client, 7, holder)
    lease.release(redis_client, 7, uuid.uuid4())
    assert lease.holders(redis_client, [7]) == {7: str(holder)}


def test_a_lease_ends_by_itself_with_a_dead_worker(redis_client: redis_package.Redis) -> None:
    lease.Lease.take(redis_client, 7, uuid.uuid4())
    assert 0 < redis_client.pttl("lane:7:lease") <= lease.LEASE_TTL_S * 1000


def test_a_lane_whose_worker_died_is_found_once_when_its_lease_has_run_out(redis_client: redis_package.Redis) -> None:
    for account in (7, 8):
        lease.Lease.take(redis_client, account, uuid.uuid4())
    with lease.Lease.take(redis_client, 9, uuid.uuid4()) or pytest.fail("the lane is free"):
        pass
    ends_at_ms = time.time() * 1000 + lease.LEASE_TTL_S * 1000
    assert lease.take_abandoned(redis_client) == []
    assert lease.take_abandoned(redis_client, now_ms=int(ends_at_ms - 1000)) == []
    assert sorted(lease.take_abandoned(redis_client, now_ms=int(ends_at_ms + 1000))) == [7, 8]
    assert lease.take_abandoned(redis_client, now_ms=int(ends_at_ms + 1000)) == []


def test_a_turn_whose_answer_was_lost_takes_its_lane_again(redis_client: redis_package.Redis) -> None:
    token = uuid.uuid4()
    assert lease.Lease.take(redis_client, 7, token) is not None
    assert lease.Lease.take(redis_client, 7, token) is not None
