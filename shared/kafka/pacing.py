"""A consumer that has a record as soon as it is there, and doesn't fetch them one by one when there are many.

A fetch is answered with the first record that comes. On a quiet topic nothing waits; but at hundreds of records a
second each answer would bring one or two, and cost as much as one with ten. So between the beginnings of two fetches
from one broker lies a pace at least: what comes meanwhile is in the next one. Letting the broker wait for more
(`fetch.min.bytes`) gathers as well, but makes every record wait, also one that comes alone, and those that were sent
together and could go on together.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from shared.kafka.rereading import RereadingConsumer
from shared.pace import Pace

PACE_S = 0.004
"""Half of the ingestor's (services/ingestor/live.py): each of its batches meets a fetch that waits for it."""

LONGEST_PACE_S = 0.03
"""Where the processor is what everybody waits for (shared/pace.py)."""

Fetch = Callable[[Any, int, Any], Coroutine[Any, Any, bool]]
"""(assignment, node, request) → whether records came: aiokafka's `Fetcher._proc_fetch_request`."""


class PacedConsumer(RereadingConsumer):
    """As its base, at a pace."""

    async def start(self) -> None:
        await super().start()
        # One fetch is under way for each broker, made by this method of the client's, and there is no other place to
        # slow it down: a pause before `getmany` would only leave the fetch of before it lying there.
        self._fetcher._proc_fetch_request = paced(self._fetcher._proc_fetch_request)


def paced(
    fetch: Fetch,
    new_pace: Callable[[], Pace] = lambda: Pace(PACE_S, LONGEST_PACE_S),
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Fetch:
    """`fetch`, begun for each node at a pace of its own."""
    paces: defaultdict[int, Pace] = defaultdict(new_pace)

    async def at_a_pace(assignment: Any, node: int, request: Any) -> bool:
        pace = paces[node]
        rest_s = pace.rest_s()
        if rest_s > 0:
            try:
                await sleep(rest_s)
            except asyncio.CancelledError:
                return False  # as the client's own does, which says so to nobody
        pace.begin()
        return await fetch(assignment, node, request)

    return at_a_pace
