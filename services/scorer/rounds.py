"""The steps of a checkout that ask Redis, each taken for all requests that have come to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.scorer.claims import Claim, greatest_offsets
from services.scorer.idempotency import Bound
from services.scorer.ports import Ports
from services.scorer.reserving import Reserving
from services.scorer.together import Together
from shared.contracts.events import Decision, FeatureVector
from shared.deciding import Degraded
from shared.exposure.store import Placed
from shared.feature_state import Position


@dataclass(frozen=True, slots=True)
class Found:
    """What Redis knows when a purchase comes."""

    claim: Claim | None
    state: bytes | None
    position: Position | None
    """None: the customer's states are lost or being rebuilt."""


class Rounds:
    """One process has one Python: at 2,000 checkouts a second there is half a millisecond for each, and a command to
    Redis by itself costs a tenth of that. So the requests of a moment share them. Each has its own answer; where Redis
    is away, all of a round are told.

    Records go to Kafka one by one: Redis is there or it isn't, but of Kafka a single partition may be without a leader,
    and the customers of the others must not wait for it."""

    def __init__(self, ports: Ports, reserving: Reserving) -> None:
        self._ports = ports
        self._reserving = reserving
        self.bind = Together(ports.keys.bind_all)
        self.release: Together[Bound, None] = Together(ports.keys.release_all)
        self.note: Together[tuple[str, str], None] = Together(ports.askers.note_all)
        self.look_up = Together(self._look_up)
        self.decide = Together(self._decide)
        self.fall_back = Together(self._fall_back)
        self.claim = Together(ports.claims.claim)
        self.settle: Together[tuple[Placed, Claim], None] = Together(reserving.settle)
        self.mark: Together[tuple[Claim, Any], None] = Together(self._mark)

    async def _look_up(self, asked: Sequence[tuple[str, int, str]]) -> list[Found]:
        """Of (event, the customer's partition, customer)."""
        claims, states = await asyncio.gather(
            self._ports.claims.lookup_all([event_id for event_id, _, _ in asked]),
            self._ports.states.read_for_requests([(partition, customer) for _, partition, customer in asked]),
        )
        return [Found(claim, *state) for claim, state in zip(claims, states, strict=True)]

    async def _decide(self, asked: Sequence[tuple[Placed, FeatureVector]]) -> list[Decision]:
        return await self._reserving.decide(asked, "rest")

    async def _fall_back(self, asked: Sequence[tuple[Placed, FeatureVector]]) -> list[Decision]:
        """On states that aren't those of now."""
        return await self._reserving.decide(asked, "rest", degraded=Degraded.STATE_UNAVAILABLE)

    async def _mark(self, asked: Sequence[tuple[Claim, Any]]) -> None:
        """Of claims and their records' places."""
        places = greatest_offsets([place for _, place in asked])
        await self._ports.claims.mark_published([claim for claim, _ in asked], places)
