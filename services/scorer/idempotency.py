"""`Idempotency-Key`: which body a caller first sent under a key, kept for a day.

    i:<hash of caller and key>    1 byte state (`i` in flight | `d` done), 16 bytes fingerprint of the purchase

An event's decision doesn't depend on it (the claim sees to that); a key protects a caller from using one key twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import structlog
from redis.asyncio import Redis

from shared.contracts.rejections import Rejection, RejectionReason
from shared.kafka.errors import TransientError
from shared.redis_errors import transient
from shared.redis_scripts import run_script, set_all

log = structlog.get_logger()

_IN_FLIGHT, _DONE = b"i", b"d"
HEADER = "Idempotency-Key"
MAX_LENGTH = 128


Bound = tuple[str, str, bytes]
"""Caller, key, fingerprint of the body."""

_BIND = """
local held = {}
for i = 1, #KEYS do held[i] = redis.call('SET', KEYS[i], ARGV[i + 1], 'NX', 'GET', 'PX', ARGV[1]) end
return held
"""
"""KEYS: keys. ARGV: time to live in milliseconds, values. Gives for each what was there before, or nothing."""


class InFlight(Exception):
    """The first request with this key isn't answered yet."""


class IdempotencyKeys:
    """Calls raise TransientError where Redis is away."""

    def __init__(self, client: Redis, *, ttl_s: int, in_flight_s: float) -> None:
        """`in_flight_s`: longer than a request can take; frees the key of a process that died with it."""
        self._redis = client
        self._ttl_ms = ttl_s * 1000
        self._in_flight_ms = int(in_flight_s * 1000)

    async def bind_all(self, wanted: Sequence[Bound]) -> list[bool | Exception]:
        """Bind each key to a body. True: release it when the request is answered. False: bound before, same body.

        `Rejection` (conflict): bound to another body. InFlight: to the same one, that isn't answered yet.
        """
        values = [_IN_FLIGHT + fingerprint for _, _, fingerprint in wanted]
        async with transient():
            names = [_name(caller, key) for caller, key, _ in wanted]
            held = await run_script(self._redis, _BIND, names, [self._in_flight_ms, *values])
        return [_bound(before, fingerprint) for before, (_, _, fingerprint) in zip(held, wanted, strict=True)]

    async def release_all(self, bound: Sequence[Bound]) -> None:
        """The requests are answered: keep what the keys are bound to."""
        values = {_name(caller, key): _DONE + fingerprint for caller, key, fingerprint in bound}
        async with transient():
            await set_all(self._redis, values, self._ttl_ms)


def _bound(held: bytes | None, fingerprint: bytes) -> bool | Exception:
    if held is None:
        return True
    if held[1:] != fingerprint:
        return Rejection(RejectionReason.CONFLICT, HEADER, "the body that this key was first used with")
    return InFlight() if held[:1] == _IN_FLIGHT else False


class Keys(Protocol):
    async def bind_all(self, wanted: Sequence[Bound]) -> list[bool | Exception]: ...
    async def release_all(self, bound: Sequence[Bound]) -> None: ...


class KeyGuard:
    """A key held while its request is answered. Where Redis is away requests are answered without: what they do is
    idempotent by itself, a key only keeps a caller from using one twice."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    @asynccontextmanager
    async def held(
        self, caller: str, key: str | None, fingerprint: bytes, *, required: bool = False
    ) -> AsyncIterator[None]:
        """`fingerprint`: 16 bytes of the request. `required`: not without the key. Raises `Rejection` (conflict),
        InFlight, and TransientError for a required key that can't be bound."""
        bound: bool | Exception = False
        if key is not None:
            try:
                (bound,) = await self._keys.bind_all([(caller, key, fingerprint)])
            except TransientError as error:
                if required:
                    raise
                log.warning("idempotency_key_not_bound", error=str(error)[:200])
        if isinstance(bound, Exception):
            raise bound
        try:
            yield
        finally:
            if bound and key is not None:
                await quietly(self._keys.release_all([(caller, key, fingerprint)]))


async def quietly(releasing: Awaitable[None]) -> None:
    """The answer is made: that its key can't be released now is no reason not to give it."""
    try:
        await releasing
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
