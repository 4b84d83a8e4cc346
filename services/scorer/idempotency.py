"""`Idempotency-Key`: which body a caller first sent under a key, kept for a day.

    i:<hash of caller and key>    1 byte state (`i` in flight | `d` done), 16 bytes fingerprint of the body; where the
                                  answer isn't kept elsewhere, the answer

An event's decision doesn't depend on it (the claim sees to that); a key protects a caller from using one key twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog
from redis.asyncio import Redis

from shared.contracts.rejections import Rejection, RejectionReason
from shared.kafka.errors import TransientError
from shared.redis_errors import transient
from shared.redis_scripts import run_script, set_all

log = structlog.get_logger()

_IN_FLIGHT, _DONE = b"i", b"d"
_FINGERPRINT = slice(1, 17)
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


_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
"""
"""KEYS: a key. ARGV: the value that it has to hold, and how long it is kept from now on (milliseconds)."""


class InFlight(Exception):
    """The first request with this key isn't answered yet."""


class IdempotencyKeys:
    """Calls raise TransientError where Redis is away."""

    def __init__(self, client: Redis, *, ttl_s: int, in_flight_s: float) -> None:
        """`in_flight_s`: longer than a request can take that isn't renewed; frees the key of a process that died with
        it."""
        self.in_flight_s = in_flight_s
        self._redis = client
        self._ttl_ms = ttl_s * 1000
        self._in_flight_ms = int(in_flight_s * 1000)

    async def bind_all(self, wanted: Sequence[Bound]) -> list[bool | bytes | Exception]:
        """Bind each key to a body. True: release it when the request is answered. Otherwise it was bound before, to the
        same body: the answer that was kept with it, or False.

        `Rejection` (conflict): bound to another body. InFlight: to the same one, that isn't answered yet.
        """
        values = [_IN_FLIGHT + fingerprint for _, _, fingerprint in wanted]
        async with transient():
            names = [_name(caller, key) for caller, key, _ in wanted]
            held = await run_script(self._redis, _BIND, names, [self._in_flight_ms, *values])
        return [_bound(before, fingerprint) for before, (_, _, fingerprint) in zip(held, wanted, strict=True)]

    async def release_all(self, bound: Sequence[Bound], answer: bytes = b"") -> None:
        """The requests are answered: keep what the keys are bound to. `answer`: kept with them, for who asks again."""
        values = {_name(caller, key): _DONE + fingerprint + answer for caller, key, fingerprint in bound}
        async with transient():
            await set_all(self._redis, values, self._ttl_ms)

    async def renew(self, bound: Bound) -> None:
        """Its request takes longer: the key is in flight for a while more."""
        caller, key, fingerprint = bound
        async with transient():
            arguments = [_IN_FLIGHT + fingerprint, self._in_flight_ms]
            await run_script(self._redis, _RENEW, [_name(caller, key)], arguments)


def _bound(held: bytes | None, fingerprint: bytes) -> bool | bytes | Exception:
    if held is None:
        return True
    if held[_FINGERPRINT] != fingerprint:
        return Rejection(RejectionReason.CONFLICT, HEADER, "the body that this key was first used with")
    return InFlight() if held[:1] == _IN_FLIGHT else held[_FINGERPRINT.stop :] or False


class Keys(Protocol):
    in_flight_s: float
    """How long a key is held that isn't renewed."""

    async def bind_all(self, wanted: Sequence[Bound]) -> list[bool | bytes | Exception]: ...
    async def release_all(self, bound: Sequence[Bound], answer: bytes = b"") -> None: ...
    async def renew(self, bound: Bound) -> None: ...


@dataclass(slots=True)
class Held:
    """A key while its request is in hand."""

    answer: bytes = b""
    """What was kept of an earlier request under it; or, once it is set here, what is kept of this one."""


class KeyGuard:
    """A key held while its request is answered, however long that takes. Where Redis is away requests are answered
    without: what they do is idempotent by itself, a key only keeps a caller from using one twice."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    @asynccontextmanager
    async def held(
        self, caller: str, key: str | None, fingerprint: bytes, *, required: bool = False
    ) -> AsyncIterator[Held]:
        """`fingerprint`: 16 bytes of the request. `required`: not without the key. Raises `Rejection` (conflict),
        InFlight, and TransientError for a required key that can't be bound.

        A request that fails leaves the key in flight, until what it began is over one way or the other, and free
        afterwards: nobody is bound to what may never have happened. One that has set an answer before it failed has
        made something happen, which the key is bound to.
        """
        bound: bool | bytes | Exception = False
        if key is not None:
            try:
                (bound,) = await self._keys.bind_all([(caller, key, fingerprint)])
            except TransientError as error:
                if required:
                    raise
                log.warning("idempotency_key_not_bound", error=str(error)[:200])
        if isinstance(bound, Exception):
            raise bound
        if key is None or not bound:
            yield Held()
            return
        held, mine = Held(bound if isinstance(bound, bytes) else b""), (caller, key, fingerprint)
        renewing = asyncio.create_task(self._renewing(mine)) if bound is True else None
        before, done = held.answer, False
        try:
            yield held
            done = bound is True
        finally:
            if renewing is not None:
                renewing.cancel()
            if done or held.answer != before:
                await quietly(self._keys.release_all([mine], held.answer))

    async def _renewing(self, bound: Bound) -> None:
        while True:
            await asyncio.sleep(self._keys.in_flight_s / 2)
            with contextlib.suppress(TransientError):
                await self._keys.renew(bound)


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
