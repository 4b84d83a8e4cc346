"""Whatever the Redis client raises where Redis is away, as the one error that callers know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from shared.kafka.errors import TransientError


@asynccontextmanager
async def transient() -> AsyncIterator[None]:
    """Around calls of a client. Raises TransientError in place of what it raises."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise TransientError(f"redis: {error!r}") from error
