"""Requests that set out together, so that each of their steps is one round trip for all of them (`together`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

AT_ONCE = 2
"""Under way: while one waits for Redis or Kafka, the other has the processor."""

GATHER_S = 0.001
"""How long a cohort gathers while another is under way: as long as clients take to come back with their next
requests."""

LONGEST_WAIT_S = 0.02
"""For one of those under way to arrive: where Kafka or Redis is slow, waiting for them would only add to it."""


class Cohorts:
    """While others are under way, who comes waits a moment, and sets out with all who came meanwhile.

    Without this, requests spread evenly over their steps: of 16 that are at it, each round trip would carry one or two,
    and cost as much as for all of them. Nobody waits where there is nobody to wait for.
    """

    def __init__(
        self, at_once: int = AT_ONCE, gather_s: float = GATHER_S, longest_wait_s: float = LONGEST_WAIT_S
    ) -> None:
        self._at_once = at_once
        self._gather_s = gather_s
        self._longest_wait_s = longest_wait_s
        self._under_way: dict[int, int] = {}
        """Cohort to how many of it have not arrived."""
        self._number = 0
        self._gathering: list[asyncio.Future[int]] = []
        self._leaves: asyncio.Handle | None = None
        self._leaves_at = 0.0
        """By the loop's clock. Of our own: what uvloop gives for a call within less than a millisecond doesn't tell."""

    @asynccontextmanager
    async def member(self) -> AsyncIterator[None]:
        """Of the next cohort, from when it sets out."""
        place = self._join()
        try:
            await place
            yield
        finally:
            # Also where it was cancelled between the cohort's setting out and its own next turn.
            if place.done() and not place.cancelled():
                self._arrived(place.result())

    def _arrived(self, number: int) -> None:
        self._under_way[number] -= 1
        if not self._under_way[number]:
            del self._under_way[number]
            if self._gathering:
                self._make_way()

    def _join(self) -> asyncio.Future[int]:
        """Gives the number of the cohort, once it sets out."""
        loop = asyncio.get_running_loop()
        place: asyncio.Future[int] = loop.create_future()
        self._gathering.append(place)
        if self._leaves is None:
            # With the loop's next turn at the earliest: who comes in this one belongs together.
            self._leave_at(loop.time() + self._patience_s())
        return place

    def _make_way(self) -> None:
        if not self._under_way:
            self._set_out()
        elif self._leaves is not None:
            sooner = asyncio.get_running_loop().time() + self._gather_s
            if sooner < self._leaves_at:
                self._leaves.cancel()
                self._leave_at(sooner)

    def _leave_at(self, moment: float) -> None:
        self._leaves_at = moment
        self._leaves = asyncio.get_running_loop().call_at(moment, self._set_out)

    def _patience_s(self) -> float:
        if not self._under_way:
            return 0.0
        return self._gather_s if len(self._under_way) < self._at_once else self._longest_wait_s

    def _set_out(self) -> None:
        if self._leaves is not None:
            self._leaves.cancel()
            self._leaves = None
        going = [place for place in self._gathering if not place.done()]
        self._gathering = []
        if not going:
            return
        self._number += 1
        self._under_way[self._number] = len(going)
        for place in going:
            place.set_result(self._number)
