"""What is watched while a fault is in the system."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from tests.chaos.faults import fault
from tests.chaos.faults.fault import bounded_memory

GONE = 2**22 + 1
"""Beyond the greatest process id that Linux gives."""


class Process:
    def __init__(self, pid: int) -> None:
        self.pid = pid


class World:
    def __init__(self, **pids: int) -> None:
        self._pids = pids

    def process(self, name: str) -> Process:
        return Process(self._pids[name])


async def test_a_service_below_the_limit_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault, "RESIDENT_LIMIT_MB", 1_000_000)  # it is the tests' own process that is looked at
    world: Any = World(sink=os.getpid())
    async with bounded_memory(world, "sink"):
        await asyncio.sleep(0)


async def test_a_service_that_was_never_seen_fails() -> None:
    world: Any = World(sink=os.getpid(), scorer=GONE)
    with pytest.raises(AssertionError, match="'scorer'"):
        async with bounded_memory(world, "sink", "scorer"):
            await asyncio.sleep(0)


async def test_a_service_above_the_limit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault, "RESIDENT_LIMIT_MB", 1)
    world: Any = World(sink=os.getpid())
    with pytest.raises(AssertionError, match="more than 1 MB"):
        async with bounded_memory(world, "sink"):
            await asyncio.sleep(0)
