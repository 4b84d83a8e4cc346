"""Whether this process may decide, and whether it should be asked."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Partitions(Protocol):
    async def check_partitions(self, count: int) -> None: ...


class Assigned(Protocol):
    assigned: bool


class PartitionGuard:
    """Confirms once, before the first state is used, that the states were made with our partition count."""

    def __init__(self, store: Partitions, count: int) -> None:
        self._store = store
        self._count = count
        self._confirmed = False

    async def confirm(self) -> None:
        """Raises PartitionCountMismatch, or TransientError while Redis doesn't answer."""
        if not self._confirmed:
            await self._store.check_partitions(self._count)
            self._confirmed = True


class Readiness:
    """Ready from the first assignment of partitions until the process is told to stop.

    A later rebalance doesn't count: it would take all scorers out of the checkout's way at once, for no reason.
    """

    def __init__(self, consumer: Assigned, stop: asyncio.Event) -> None:
        self._consumer = consumer
        self._stop = stop
        self._joined = False

    def reason(self) -> str | None:
        if self._stop.is_set():
            return "stopping"
        self._joined = self._joined or self._consumer.assigned
        return None if self._joined else "waiting for the share of the stream"
