"""`--check`: whether everything that the ingestor needs answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.ingestor.source import SimtomSource, SourceBroken, SourceRefused
from shared.contracts import topics
from shared.kafka.connection import admin_client
from shared.kafka.errors import GaveUp
from shared.settings import KafkaSettings

NEEDED_TOPICS = (topics.TRANSACTIONS.name, topics.OUTCOMES.name, topics.DEAD_LETTERS.name)


class NotThere(Exception):
    """A dependency doesn't answer, or lacks something."""


async def check(kafka: KafkaSettings, redis: Redis, source: SimtomSource) -> dict[str, str]:
    """For each dependency `ok`, or what is wrong with it."""

    async def brokers() -> None:
        async with admin_client(kafka) as admin:
            missing = set(NEEDED_TOPICS) - set(await admin.list_topics())
        if missing:
            raise NotThere("no topic " + ", ".join(sorted(missing)))

    async def cursor() -> None:
        await redis.ping()

    return {"kafka": await _try(brokers), "redis": await _try(cursor), "source": await _try(source.check)}


async def _try(probe: Callable[[], Awaitable[None]]) -> str:
    try:
        await probe()
    except (NotThere, SourceBroken, SourceRefused, GaveUp, KafkaError, RedisError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "ok"
