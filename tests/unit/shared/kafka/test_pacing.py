"""Fetches at a pace, and the place in the client where they are slowed down."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher

from shared.kafka.pacing import Fetch, paced
from shared.pace import Pace

PACE_S = 8.0


class World:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.begun: list[tuple[int, float]] = []

    async def fetch(self, assignment: Any, node: int, request: Any) -> bool:
        self.begun.append((node, self.now))
        return True

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def paced(self) -> Fetch:
        def pace() -> Pace:
            return Pace(PACE_S, 2 * PACE_S, clock=lambda: self.now, waited_s=lambda: 0.0)

        return paced(self.fetch, pace, sleep=self.sleep)


@pytest.mark.parametrize(("later", "begins"), [(20.0, 120.0), (3.0, 108.0)], ids=["after a while", "soon after"])
async def test_the_first_fetch_begins_at_once_and_one_that_follows_too_soon_waits_for_the_rest_of_the_pace(
    later: float, begins: float
) -> None:
    world = World()
    fetch = world.paced()
    assert await fetch(None, 1, None)
    world.now += later
    await fetch(None, 1, None)
    assert world.begun == [(1, 100.0), (1, begins)]


async def test_each_broker_has_a_pace_of_its_own() -> None:
    world = World()
    fetch = world.paced()
    await fetch(None, 1, None)
    await fetch(None, 2, None)
    assert world.begun == [(1, 100.0), (2, 100.0)]


async def test_given_up_while_it_waits_it_has_brought_nothing() -> None:
    world = World()
    fetch = paced(world.fetch, lambda: Pace(3600.0, 3600.0))
    await fetch(None, 1, None)
    waiting = asyncio.create_task(fetch(None, 1, None))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await waiting is False
    assert len(world.begun) == 1


def test_the_client_still_fetches_by_the_method_that_is_slowed_down() -> None:
    assert list(inspect.signature(Fetcher._proc_fetch_request).parameters) == [
        "self",
        "assignment",
        "node_id",
        "request",
    ]
    assert "self._proc_fetch_request(assignment, node_id, request)" in inspect.getsource(
        Fetcher._fetch_requests_routine
    )
