"""What a fault is. What has to hold afterwards is always the same: the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil

from tests.chaos.world import World

Inject = Callable[[World], Awaitable[None]]

RESIDENT_LIMIT_MB = 500
"""Of one service, whatever is slow or comes in at once: twice what they hold at rest, and a container's usual limit."""

SAMPLE_S = 0.5


@dataclass(frozen=True)
class Fault:
    name: str
    service: str
    """Or part that it hits."""
    inject: Inject
    """Puts it in and takes it away again. Raises AssertionError where something that it looks at doesn't hold."""
    recovered: Inject = World.works
    """Returns once the system has recovered, which is timed. Where the fault didn't stop decisions, that they go on is
    no sign of it."""
    brokers: int = 1
    """That the system has to have for it."""
    seconds: float = 25
    """About, with its audit: for the estimate of what is left."""
    heavy: bool = False
    """Leaves so much in the log that later audits would take long: it comes last on its system."""
    refusals: frozenset[str] = frozenset()
    """Reasons that a good purchase may rightly be refused for at the REST door meanwhile."""


@asynccontextmanager
async def bounded_memory(world: World, *services: str) -> AsyncIterator[None]:
    """Fail afterwards where one of the services held more than the limit meanwhile, or wasn't seen at all."""
    peaks = dict.fromkeys(services, 0)

    async def watch() -> None:
        while True:
            for service in services:
                peaks[service] = max(peaks[service], _resident(world.process(service).pid))
            await asyncio.sleep(SAMPLE_S)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
    unseen = [service for service, peak in peaks.items() if not peak]
    assert not unseen, f"the memory of {unseen} was never seen"
    over = {service: peak >> 20 for service, peak in peaks.items() if peak >> 20 > RESIDENT_LIMIT_MB}
    assert not over, f"more than {RESIDENT_LIMIT_MB} MB resident: {over}"


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
