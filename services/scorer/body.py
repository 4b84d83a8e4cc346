"""The request's body, within limits that hold before it is in memory."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request

from services.scorer.problems import Problem
from shared.contracts.rejections import MALFORMED, TOO_LARGE, RejectionReason

_GZIP = 16 + zlib.MAX_WBITS

MOST_SPILT = 1_048_576
"""Bytes of a body that is too large, read and thrown away: who still sends when he is refused and the connection closed
may find it reset before he has read why."""


STOOD_STILL_S = 1.0
"""That an alarm is late by: no load of this machine's keeps the event loop so long."""


async def read_body(request: Request, max_bytes: int, max_seconds: float) -> bytes:
    """The body, unpacked. Raises Problem: 413 beyond `max_bytes` (as sent, and unpacked), 408 beyond `max_seconds`,
    415, 400 for broken gzip.

    One that is too large is refused once it was sent, or `MOST_SPILT` of it too many, or the time is over.
    """
    _check_content_type(request.headers.get("content-type"))
    packed = _is_packed(request.headers.getlist("content-encoding"))
    too_large = (announced_bytes(request) or 0) > max_bytes
    if too_large and "expect" in request.headers:  # nothing was sent yet, nor will be
        raise _too_large(max_bytes)
    received, spilt = bytearray(), 0

    async def read() -> None:
        nonlocal too_large, spilt
        async for chunk in request.stream():
            if not too_large:
                received.extend(chunk)
                too_large = len(received) > max_bytes
            elif (spilt := spilt + len(chunk)) > MOST_SPILT:
                break

    try:
        if _is_whole(request):
            await read()
        else:
            await in_time(read, max_seconds)
    except TimeoutError:
        if not too_large:
            hang_up = {"Connection": "close"}  # as below: the rest is not read
            raise Problem(408, "slow", "the body took too long to arrive", headers=hang_up) from None
    except ClientDisconnect:
        raise Problem(MALFORMED, "disconnected", "the body ended early") from None
    if too_large:
        raise _too_large(max_bytes)
    return _unpack(bytes(received), max_bytes) if packed else bytes(received)


async def in_time(read: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Raises TimeoutError. Where the alarm itself goes off late it was this process that stood still, and what it
    waited for may have come long ago: then the time begins anew, once. `read` goes on where it was."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(seconds):
            await read()
    except TimeoutError:
        if loop.time() - began < seconds + STOOD_STILL_S:
            raise
        async with asyncio.timeout(seconds):
            await read()


def announced_bytes(request: Request) -> int | None:
    """The body's length, where its head tells it."""
    announced = request.headers.get("content-length")
    return int(announced) if announced is not None and announced.isdigit() else None


def _is_whole(request: Request) -> bool:
    """Whether nothing of it is on its way any more (see `BoundedHttp`): a timer would be for nothing."""
    return bool(request.scope.get("state", {}).get("whole", False))


def _check_content_type(value: str | None) -> None:
    kind, _, parameters = (value or "").partition(";")
    charset = parameters.strip().lower()
    if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8", 'charset="utf-8"'):
        raise Problem(
            415,
            "media-type",
            "the body's content type is not supported",
            field="Content-Type",
            expected="application/json",
        )


def _is_packed(values: list[str]) -> bool:
    encoding = ",".join(values).strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise Problem(
            415,
            "encoding",
            "the body's encoding is not supported",
            field="Content-Encoding",
            expected="gzip or none",
            headers={"Accept-Encoding": "gzip"},
        )
    return encoding == "gzip"


def _unpack(data: bytes, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(_GZIP)
    try:
        # One byte more than allowed is asked for, and never a bomb's worth.
        unpacked = inflater.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise _broken(str(error)) from None
    if len(unpacked) > max_bytes:
        raise _too_large(max_bytes)
    if not inflater.eof or inflater.unused_data:
        raise _broken("one whole gzip member is expected")
    return unpacked


def _too_large(max_bytes: int) -> Problem:
    expected = f"at most {max_bytes} bytes"
    # Of the rest of the body not all may have been read: the connection can't be used for another request.
    return Problem(
        TOO_LARGE, RejectionReason.SIZE, "the body is too large", expected=expected, headers={"Connection": "close"}
    )


def _broken(detail: str) -> Problem:
    return Problem(MALFORMED, RejectionReason.SYNTAX, f"the body is not gzip: {detail}", expected="one gzip member")
