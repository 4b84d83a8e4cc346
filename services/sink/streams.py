"""Which write stream belongs to which table and partition: one field of a Redis hash each.

The name is what lets a successor seal its predecessor's stream, so it is stored before the first append to the stream,
and looked at again before later ones. Losing it (Redis emptied) costs nothing by itself: what is in the warehouse is
read from the warehouse, and the owner puts it there again before it appends anything more. Only an owner that lost its
partition without knowing, in that very second, could then still append.
"""

from __future__ import annotations

from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.kafka.errors import TransientError

KEY = "flit:sink:streams"

_REPLACE = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if (held or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""


class StreamNames(Protocol):
    """Where the current stream of each table and partition is kept."""

    async def current(self, place: str) -> str | None:
        """The stream's name, or None. Raises TransientError."""

    async def replace(self, place: str, expected: str | None, name: str) -> bool:
        """Compare and set; False: another process has put its own there. Raises TransientError."""


class RedisStreamNames:
    """`StreamNames` in Redis."""

    def __init__(self, client: Redis) -> None:
        self._redis = client
        self._replace = client.register_script(_REPLACE)

    async def current(self, place: str) -> str | None:
        try:
            name = await self._redis.hget(KEY, place)
        except (RedisError, OSError) as error:
            raise TransientError(f"redis: {error!r}") from error
        return name.decode() if isinstance(name, bytes) else name

    async def replace(self, place: str, expected: str | None, name: str) -> bool:
        try:
            return bool(await self._replace(keys=[KEY], args=[place, expected or "", name]))
        except (RedisError, OSError) as error:
            raise TransientError(f"redis: {error!r}") from error
