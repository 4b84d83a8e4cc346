"""Who has asked for which event's decision: whoever may only decide may look up no others.

    i:<hash of caller and event>    1

An event's id says nothing about whose it is, and a producer may choose one that can be guessed. So a key that is for
deciding alone finds the decisions that it was answered before; one with the scope `read` finds all. Kept as long as a
claim. Where Redis lost it, the caller asks again with the same body, and gets the same decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from redis.asyncio import Redis

from shared.redis_errors import transient
from shared.redis_scripts import set_all


class Askers:
    """Calls raise TransientError where Redis is away."""

    def __init__(self, client: Redis, *, ttl_s: int) -> None:
        self._redis = client
        self._ttl_ms = ttl_s * 1000

    async def note_all(self, asked: Sequence[tuple[str, str]]) -> None:
        """Of (caller, event)."""
        async with transient():
            await set_all(self._redis, {_name(*each): b"1" for each in asked}, self._ttl_ms)

    async def has_asked(self, caller: str, event_id: str) -> bool:
        async with transient():
            return await self._redis.get(_name(caller, event_id)) is not None


def _name(caller: str, event_id: str) -> str:
    # Two separators: no idempotency key, which has the same place and holds none, gives the same text.
    return "i:" + hashlib.sha256(f"{caller}\x1f\x1f{event_id}".encode()).hexdigest()[:32]
