"""Waiting that ends when the process is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The process was told to stop while it waited: leave, with the cursor where it stands."""


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T], *, grace_s: float = 0.0) -> T:
    """The result of `work`; once `stop` is set it gets `grace_s` more seconds, then it is cancelled. Raises Stopped."""
    if stop.is_set() and not grace_s:
        work.close()  # what could give a result at once, each time, would never let the process stop
        raise Stopped
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and grace_s:
            await asyncio.wait((working,), timeout=grace_s)
        if working.done():
            return working.result()
        raise Stopped
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long. Raises Stopped as soon as `stop` is set."""
    await unless_stopped(stop, asyncio.sleep(seconds))
