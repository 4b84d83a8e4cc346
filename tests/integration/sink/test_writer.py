"""The writer on the real parts: what a zombie, a lost name and a command line get."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.asyncio import Redis

from services.sink.bigquery import FencedOff, PartitionWriter, StreamLost, Warehouse
from services.sink.streams import KEY, RedisStreamNames
from shared.kafka.errors import TransientError
from shared.settings import BigQuerySettings
from shared.warehouse.clients import bigquery_client
from shared.warehouse.schema import ensure_warehouse
from shared.warehouse.tables import DECISION_UPDATES
from shared.warehouse.writing import WriteClients
from tests.integration.sink.world import World
from tests.unit.sink.fakes import PARTITION, TOPIC, rows

PROJECT = "flit-sink-writer"


@pytest.fixture(scope="module")
def apart(world: World) -> BigQuerySettings:
    """A warehouse that the log of the other tests isn't written to."""
    settings = world.bigquery.model_copy(update={"project": PROJECT})
    ensure_warehouse(settings)
    return settings


@pytest.fixture
async def warehouse(world: World, apart: BigQuerySettings) -> AsyncIterator[Warehouse]:
    redis = Redis.from_url(world.stack.valkey.url)
    with ThreadPoolExecutor(4) as threads:
        yield Warehouse(bigquery_client(apart), WriteClients(apart), RedisStreamNames(redis), threads)
    await redis.aclose()


def writer(warehouse: Warehouse, partition: int) -> PartitionWriter:
    return PartitionWriter(warehouse, DECISION_UPDATES, TOPIC, partition)


def held(warehouse: Warehouse, partition: int) -> list[int]:
    found = warehouse.client.query(
        f"SELECT kafka_offset FROM `{PROJECT}.{DECISION_UPDATES.id}` WHERE kafka_partition = {partition} ORDER BY 1"
    )
    return [row.kafka_offset for row in found.result()]


async def test_a_late_append_of_a_zombie_is_refused(warehouse: Warehouse) -> None:
    zombie, successor = writer(warehouse, PARTITION), writer(warehouse, PARTITION)
    assert await zombie.open() == -1
    await zombie.append(rows([0, 1]))
    assert await successor.open() == 1
    with pytest.raises(FencedOff):
        await zombie.append(rows([2, 3]))
    await successor.append(rows([1, 2]))
    with pytest.raises(FencedOff):
        await zombie.append(rows([2, 3]))
    zombie.close()
    successor.close()
    assert held(warehouse, PARTITION) == [0, 1, 2]


async def test_a_stream_that_was_sealed_without_a_successor_is_only_lost(warehouse: Warehouse) -> None:
    mine = writer(warehouse, 3)
    await mine.open()
    await mine.append(rows([0], kafka_partition=3))
    name = await warehouse.names.current(mine.place)
    assert name is not None
    warehouse.writes.take().finalize_write_stream(name=name)
    with pytest.raises(StreamLost):
        await mine.append(rows([1], kafka_partition=3))
    assert await mine.open() == 0
    await mine.append(rows([0, 1], kafka_partition=3))
    mine.close()
    assert held(warehouse, 3) == [0, 1]


async def test_without_redis_nothing_is_taken_over(world: World, warehouse: Warehouse) -> None:
    nowhere = Redis.from_url("redis://127.0.0.1:9/0")
    away = Warehouse(warehouse.client, warehouse.writes, RedisStreamNames(nowhere), warehouse.threads)
    with pytest.raises(TransientError, match="redis"):
        await writer(away, 0).open()
    await nowhere.aclose()


async def test_a_warehouse_is_asked_how_far_it_is_even_where_redis_has_forgotten_the_stream(
    world: World, warehouse: Warehouse
) -> None:
    first = writer(warehouse, 1)
    await first.open()
    await first.append(rows([7], kafka_partition=1))
    redis = Redis.from_url(world.stack.valkey.url)
    await redis.hdel(KEY, first.place)
    await redis.aclose()
    second = writer(warehouse, 1)
    assert await second.open() == 7
    second.close()
    first.close()


def command(world: World, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.sink", *arguments],
        env={**os.environ, **world.environment(), **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_check_passes_where_everything_is_there_and_names_what_is_not(world: World) -> None:
    passed = command(world, "--check")
    assert passed.returncode == 0, passed.stderr
    failed = command(world, "--check", BIGQUERY__PROJECT="flit-not-made")
    assert failed.returncode == 1
    assert "python -m shared.warehouse create" in failed.stderr


def test_a_bad_setting_is_named_in_one_line(world: World) -> None:
    failed = command(world, SINK__MAX_ROWS="0")
    assert failed.returncode == 2
    assert failed.stderr.startswith("bad setting SINK__MAX_ROWS")
    assert len(failed.stderr.splitlines()) == 1
