"""The ingestor as a process, and what it leaves on the topics."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from redis.asyncio import Redis

from shared.contracts.transactions import Limits
from shared.kafka.admin import ensure_topics
from shared.settings import KafkaSettings

WAIT_SECONDS = 60
ANY_TIME = Limits(max_future_seconds=1_000_000_000)
POLL_SECONDS = 0.02


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `condition` holds; TimeoutError after a minute."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await condition():  # noqa: ASYNC110 (the condition lies in another process)
            await asyncio.sleep(POLL_SECONDS)


@dataclass
class Rig:
    """The real parts, and a run's name of this test's own."""

    kafka: KafkaSettings
    redis_url: str
    redis: Redis
    seed: int

    @property
    def history_source(self) -> str:
        return f"simtom/bnpl/2026-06-01.{self.seed}"

    @contextlib.asynccontextmanager
    async def ingestor(self, url: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """The service as a process; killed at the end if it still runs."""
        environment = {
            **os.environ,
            "KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "REDIS__URL": self.redis_url,
            "SIMTOM__URL": url,
            "METRICS__PORT": "0",
            # The recorded events may be ahead of the clock of the machine that runs the tests.
            "LIMITS__MAX_FUTURE_SECONDS": str(ANY_TIME.max_future_seconds),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.ingestor", *arguments, env=environment, stdout=asyncio.subprocess.PIPE
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def run_history(self, url: str, *flags: str) -> int:
        async with self.ingestor(url, *self.history_arguments(), *flags) as process, asyncio.timeout(WAIT_SECONDS):
            return await process.wait()

    def history_arguments(self) -> list[str]:
        days = ["--start", "2026-06-01", "--end", "2026-06-04", "--daily", "1200"]
        return ["history", *days, "--seed", str(self.seed)]

    async def records(self, topic: str) -> list[ConsumerRecord]:
        """All that stands on the topic now."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, number) for number in range(self.kafka.partitions)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[ConsumerRecord] = []
            while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    found.extend(batch)
            return found
        finally:
            await consumer.stop()

    async def transactions(self, source: str) -> list[dict[str, Any]]:
        values = [orjson.loads(record.value) for record in await self.records("bnpl-transactions")]
        return [value for value in values if value.get("source", "").startswith(source)]

    async def letters(self, topic: str) -> list[dict[str, Any]]:
        values = [orjson.loads(record.value) for record in await self.records("dead-letters")]
        return [value for value in values if value["topic"].startswith(topic)]

    async def cursor(self, source: str) -> dict[str, str]:
        stored = await self.redis.hgetall(f"ingestor:{source}")
        return {str(name): str(value) for name, value in stored.items()}

    async def lose_cursor(self, source: str) -> None:
        await self.redis.delete(f"ingestor:{source}")


@pytest.fixture
async def rig(kafka_bootstrap: str, redis_url: str, unique: str) -> AsyncIterator[Rig]:
    kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap)
    await ensure_topics(kafka)
    redis = Redis.from_url(redis_url, decode_responses=True)
    yield Rig(kafka, redis_url, redis, zlib.crc32(unique.encode()) + 1)
    await redis.aclose()


async def terminate(process: asyncio.subprocess.Process) -> int:
    """SIGTERM, as a deployment sends it; the exit status."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(15):
        return await process.wait()
