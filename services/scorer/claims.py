"""Claims: which decision an event has, before and after the topic knows of it.

    d:<event_id>    1 byte state, 16 bytes fingerprint of the purchase, then the Decision, byte for byte as on the topic

A decision is claimed whole (`c`), produced, and marked as published (`p`). Who finds a claim that isn't his answers
with its bytes; if it isn't marked, he first produces it again, unchanged. A crash at any point leaves either nothing,
and the event is decided again, or the full record, and it is produced again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.kafka.errors import TransientError

CLAIMED, PUBLISHED = b"c", b"p"
FINGERPRINT_BYTES = 16
_HEAD = 1 + FINGERPRINT_BYTES


@dataclass(frozen=True, slots=True)
class Claim:
    """The one decision of an event."""

    event_id: str
    fingerprint: bytes
    """Of the purchase that was decided on: another body under the same id is a conflict."""
    decision: bytes
    """Exactly as on the topic."""
    published: bool = False

    def encode(self, *, published: bool) -> bytes:
        return (PUBLISHED if published else CLAIMED) + self.fingerprint + self.decision

    @staticmethod
    def decode(event_id: str, value: bytes) -> Claim:
        return Claim(event_id, value[1:_HEAD], value[_HEAD:], value[:1] == PUBLISHED)


class ClaimStore:
    """Every call raises TransientError where Redis is away or slow; whether a write happened is then not known."""

    def __init__(self, client: Redis, *, ttl_s: int) -> None:
        """`client`: without `decode_responses`."""
        self._redis = client
        self._ttl_ms = ttl_s * 1000

    async def lookup(self, event_id: str) -> Claim | None:
        async with transient():
            value = await self._redis.get(_key(event_id))
        return None if value is None else Claim.decode(event_id, cast(bytes, value))

    async def claim(self, wanted: Sequence[Claim]) -> list[Claim]:
        """Claim each decision; give the one that the event has: the wanted one, or the one that was there before.

        Atomic for each event. One round trip.
        """
        async with transient():
            if len(wanted) == 1:  # spares a checkout the making of a pipeline
                held = [await self._claim(self._redis, wanted[0])]
            else:
                pipe = self._redis.pipeline(transaction=False)
                for claim in wanted:
                    self._claim(pipe, claim)
                held = await pipe.execute()
        return [
            claim if value is None else Claim.decode(claim.event_id, cast(bytes, value))
            for claim, value in zip(wanted, held, strict=True)
        ]

    async def mark_published(self, claims: Sequence[Claim]) -> None:
        """Note that the topic acknowledged them. A claim that is gone meanwhile stays gone."""
        async with transient():
            if len(claims) == 1:
                await _mark(self._redis, claims[0])
            else:
                pipe = self._redis.pipeline(transaction=False)
                for claim in claims:
                    _mark(pipe, claim)
                await pipe.execute()

    def _claim(self, client: Redis, claim: Claim) -> Any:
        return client.set(_key(claim.event_id), claim.encode(published=False), nx=True, get=True, px=self._ttl_ms)


def _mark(client: Redis, claim: Claim) -> Any:
    return client.set(_key(claim.event_id), claim.encode(published=True), xx=True, keepttl=True)


def _key(event_id: str) -> str:
    return f"d:{event_id}"


@asynccontextmanager
async def transient() -> AsyncIterator[None]:
    """Whatever the client raises where Redis is away, as the one error that callers know."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise TransientError(f"redis: {error!r}") from error
