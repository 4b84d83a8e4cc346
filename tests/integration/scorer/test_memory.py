from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from services.scorer.memory import watch_memory
from services.scorer.metrics import REDIS_MEMORY

pytestmark = pytest.mark.integration


async def looked_at(redis: Redis) -> float:
    stop = asyncio.Event()
    REDIS_MEMORY.set(-1)
    watching = asyncio.create_task(watch_memory(redis, stop))
    async with asyncio.timeout(10):
        while (share := float(REDIS_MEMORY._value.get())) < 0:  # noqa: ASYNC110 (a metric tells nobody)
            await asyncio.sleep(0.01)
    stop.set()
    await watching
    return share


async def test_a_share_of_what_redis_may_hold(redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    before = (await redis.config_get("maxmemory"))["maxmemory"] or 0
    try:
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", 4 * used)
        assert 0.2 < await looked_at(redis) < 0.35
        await redis.config_set("maxmemory", 0)
        assert await looked_at(redis) == 0
    finally:
        await redis.config_set("maxmemory", before)
        await redis.aclose()


async def test_while_redis_is_away_the_metric_stays_what_it_was() -> None:
    REDIS_MEMORY.set(0.5)
    stop = asyncio.Event()
    away = Redis.from_url("redis://127.0.0.1:9", socket_connect_timeout=1)
    watching = asyncio.create_task(watch_memory(away, stop))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(10):
        await watching
    assert REDIS_MEMORY._value.get() == 0.5
    await away.aclose()
