"""How full Redis is. Full, it refuses writes: no claim is made, and the stream stands still."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.scorer.metrics import REDIS_MEMORY
from shared.telemetry.process import sleep_unless

LOOK_S = 5.0


async def watch_memory(redis: Redis, stop: asyncio.Event) -> None:
    """Until `stop` is set. While Redis is away, the metric says what it was."""
    while not stop.is_set():
        with suppress(RedisError, OSError):
            memory = await redis.info("memory")
            limit = int(memory["maxmemory"])
            REDIS_MEMORY.set(memory["used_memory"] / limit if limit else 0.0)
        await sleep_unless(stop, LOOK_S)
