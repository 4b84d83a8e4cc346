"""`Idempotency-Key`: which body a caller first sent under a key, kept for a day.

    i:<hash of caller and key>    1 byte state (`i` in flight | `d` done), 16 bytes fingerprint of the purchase

An event's decision doesn't depend on it (the claim sees to that); a key protects a caller from using one key twice.
"""

from __future__ import annotations

import hashlib
from typing import cast

from redis.asyncio import Redis

from services.scorer.claims import transient
from shared.contracts.rejections import Rejection, RejectionReason

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


def check_key(key: str) -> str:
    """Raises `Rejection` for a key that isn't 1 to 128 visible ASCII characters."""
    if not 1 <= len(key) <= MAX_LENGTH:
        raise Rejection(RejectionReason.LENGTH, HEADER, f"1 to {MAX_LENGTH} characters")
    if not (key.isascii() and key.isprintable()):
        raise Rejection(RejectionReason.CONTROL, HEADER, "visible ASCII characters")
    return key


def _name(caller: str, key: str) -> str:
    return "i:" + hashlib.sha256(f"{caller}\x1f{key}".encode()).hexdigest()[:32]
