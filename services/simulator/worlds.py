"""Which people a stream meets: its own, or those that the last history left behind."""

from __future__ import annotations

import numpy as np

from services.simulator.bnpl import Bnpl, Continuity, World
from services.simulator.bnpl_history import BnplHistory
from services.simulator.request import StreamRequest

GENERATORS: dict[str, type[Bnpl]] = {kind.name: kind for kind in (Bnpl, BnplHistory)}


class Worlds:
    """Builds generators, and keeps the world of the last history of each.

    A history always begins with people of its own, so that the same request gives the same bytes. Its world is kept
    once it has come to its end. A live stream without a seed then goes on with it, and so does the next one.
    """

    def __init__(self, continuity: Continuity) -> None:
        self._continuity = continuity
        self._left: dict[str, World] = {}

    def generator(self, kind: type[Bnpl], request: StreamRequest, seeds: list[np.random.SeedSequence]) -> Bnpl:
        """`seeds`: two, for the world and for the purchases."""
        for_world, for_purchases = (np.random.default_rng(seed) for seed in seeds)
        world = None if request.days or request.effective_seed is not None else self._left.get(kind.name)
        if world is None:
            world = kind.new_world(for_world, request.base_daily_volume, self._continuity)
        frozen = request.days is None and request.effective_seed is not None
        return kind(world, for_purchases, request.regime, frozen=frozen)

    def leave(self, generator: Bnpl) -> None:
        """The history of this generator has come to its end."""
        if self._continuity == "continued":
            self._left[generator.name] = generator.world
