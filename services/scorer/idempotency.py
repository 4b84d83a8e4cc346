"""`Idempotency-Key`: which body a caller first sent under a key, kept for a day.

    i:<hash of caller and key>    1 byte state (`i` in flight | `d` done), 16 bytes fingerprint of the purchase

An event's decision doesn't depend on it (the claim sees to that); a key protects a caller from using one key twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, cast

import structlog
from redis.asyncio import Redis

from shared.contracts.rejections import Rejection, RejectionReason
from shared.kafka.errors import TransientError
from shared.redis_errors import transient

log = structlog.get_logger()

_IN_FLIGHT, _DONE = b"i", b"d"
HEADER = "Idempotency-Key"
MAX_LENGTH = 128


class InFlight(Exception):
    """The first request with this key isn't answered yet."""


class IdempotencyKeys:
    """Calls raise TransientError where Redis is away."""

    def __init__(self, client: Redis, *, ttl_s: int, in_flight_s: float) -> None:
        """`in_flight_s`: longer than a request can take; frees the key of a process that died with it."""
        self._redis = client
        self._ttl_ms = ttl_s * 1000
        self._in_flight_ms = int(in_flight_s * 1000)

    async def bind(self, caller: str, key: str, fingerprint: bytes) -> bool:
        """Bind the key to a body. True: `release` it when the request is answered. False: bound before, same body.

        Raises `Rejection` (conflict) for another body, InFlight for the same one that isn't answered yet.
        """
        async with transient():
            mine = _IN_FLIGHT + fingerprint
            answer = await self._redis.set(_name(caller, key), mine, nx=True, get=True, px=self._in_flight_ms)
        held = cast(bytes | None, answer)
        if held is None:
            return True
        if held[1:] != fingerprint:
            raise Rejection(RejectionReason.CONFLICT, HEADER, "the body that this key was first used with")
        if held[:1] == _IN_FLIGHT:
            raise InFlight
        return False

    async def release(self, caller: str, key: str, fingerprint: bytes) -> None:
        """The request is answered: keep what the key is bound to."""
        async with transient():
            await self._redis.set(_name(caller, key), _DONE + fingerprint, px=self._ttl_ms)


class Keys(Protocol):
    async def bind(self, caller: str, key: str, fingerprint: bytes) -> bool: ...
    async def release(self, caller: str, key: str, fingerprint: bytes) -> None: ...


class KeyGuard:
    """A key held while its request is answered. Where Redis is away requests are answered without: what they do is
    idempotent by itself, a key only keeps a caller from using one twice."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    @asynccontextmanager
    async def held(self, caller: str, key: str | None, fingerprint: bytes) -> AsyncIterator[None]:
        """`fingerprint`: 16 bytes of the request. Raises `Rejection` (conflict) and InFlight."""
        bound = False
        if key is not None:
            try:
                bound = await self._keys.bind(caller, key, fingerprint)
            except TransientError as error:
                log.warning("idempotency_key_not_bound", error=str(error)[:200])
        try:
            yield
        finally:
            if bound and key is not None:
                await release_quietly(self._keys, caller, key, fingerprint)


async def release_quietly(keys: Keys, caller: str, key: str, fingerprint: bytes) -> None:
    """The answer is made: that its key can't be released now is no reason not to give it."""
    try:
        await keys.release(caller, key, fingerprint)
    except TransientError as error:
        log.warning("idempotency_key_not_released", error=str(error)[:200])


def check_key(key: str) -> str:
    """Raises `Rejection` for a key that isn't 1 to 128 visible ASCII characters."""
    if not 1 <= len(key) <= MAX_LENGTH:
        raise Rejection(RejectionReason.LENGTH, HEADER, f"1 to {MAX_LENGTH} characters")
    if not (key.isascii() and key.isprintable()):
        raise Rejection(RejectionReason.CONTROL, HEADER, "visible ASCII characters")
    return key


def _name(caller: str, key: str) -> str:
    return "i:" + hashlib.sha256(f"{caller}\x1f{key}".encode()).hexdigest()[:32]
