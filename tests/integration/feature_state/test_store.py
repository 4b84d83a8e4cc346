"""State and position against a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from shared.feature_state import FeatureStateStore, FencedOff, PartitionCountMismatch, Position
from shared.kafka.errors import TransientError

PARTITION = 3


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[FeatureStateStore]:
    client = redis.asyncio.Redis.from_url(redis_url.rsplit("/", 1)[0] + "/7")
    await client.flushdb()
    store = FeatureStateStore(client)
    yield store
    await store.close()


async def test_states_and_position_are_written_together(store: FeatureStateStore) -> None:
    await store.commit(PARTITION, Position(), Position(10, -1), {"a": b"A", "b": b"B"}, [])
    assert await store.read_states(PARTITION, ["a", "b", "c"]) == {"a": b"A", "b": b"B", "c": None}
    assert await store.position(PARTITION) == Position(10, -1)


async def test_a_writer_that_was_overtaken_changes_nothing(store: FeatureStateStore) -> None:
    await store.commit(PARTITION, Position(), Position(10, -1), {"a": b"new"}, [])
    with pytest.raises(FencedOff):
        await store.commit(PARTITION, Position(), Position(5, -1), {"a": b"stale", "z": b"stale"}, [4])
    assert await store.read_states(PARTITION, ["a", "z"]) == {"a": b"new", "z": None}
    assert await store.refused_between(PARTITION, 0, 100) == set()


async def test_refused_offsets_are_found_by_range(store: FeatureStateStore) -> None:
    await store.commit(PARTITION, Position(), Position(10, -1), {}, [3, 7])
    await store.commit(PARTITION, Position(10, -1), Position(20, -1), {}, [12])
    assert await store.refused_between(PARTITION, 4, 12) == {7, 12}


async def test_a_request_sees_state_and_position_of_one_moment(store: FeatureStateStore) -> None:
    await store.commit(PARTITION, Position(), Position(10, 4), {"a": b"A"}, [])
    assert await store.read_for_request(PARTITION, "a") == (b"A", Position(10, 4))
    assert await store.read_for_request(PARTITION, "unknown") == (None, Position(10, 4))


async def test_partitions_do_not_share_anything(store: FeatureStateStore) -> None:
    await store.commit(PARTITION, Position(), Position(10, 4), {"a": b"A"}, [])
    assert await store.read_for_request(PARTITION + 1, "a") == (None, Position())


async def test_another_partition_count_is_refused(store: FeatureStateStore) -> None:
    await store.check_partitions(4)
    await store.check_partitions(4)
    with pytest.raises(PartitionCountMismatch):
        await store.check_partitions(8)


async def test_a_server_that_is_away_is_a_transient_error() -> None:
    store = FeatureStateStore.connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    with pytest.raises(TransientError):
        await store.position(0)
    await store.close()
