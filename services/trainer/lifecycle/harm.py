"""What takes a model that is worse out of service while a training holds the loop up. Knows no warehouse.

A training takes minutes, on a cluster longer, and a model on probation decides for everybody meanwhile. Between
trainings the loop looks at it itself (`watch`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from services.trainer import metrics
from services.trainer.lifecycle.triggers import State
from services.trainer.lifecycle.watch import Memory, Transient, is_time
from services.trainer.rounds import until_stopped


class Harm:
    def __init__(
        self, clock: Callable[[], int | None], out: Callable[[State], object], memory: Memory, every_us: int
    ) -> None:
        """`clock`: the stream's, in microseconds; None while nobody is on probation. `out`: takes whoever decides and
        is worse out of service. Both are called in the thread of `watch`, and may raise Transient. `every_us`: of the
        stream's time, between two looks.
        """
        self.training = threading.Event()
        """Set by the loop while it trains."""
        self._clock, self._out, self._memory, self._every_us = clock, out, memory, every_us
        self._looked_at_us: int | None = None

    def round(self) -> bool:
        """Whether it has looked."""
        if not self.training.is_set():
            return False
        clock_us = self._clock()
        if clock_us is None or not is_time(clock_us, self._looked_at_us, self._every_us):
            return False
        self._out(self._memory.read())
        self._looked_at_us = clock_us
        return True

    def watch(self, every_s: float, stop: threading.Event) -> bool:
        """Rounds until told to stop. What is away is tried again in the next one."""
        return until_stopped(
            self.round, False, every_s, stop, away=(Transient,), failures=metrics.ROUNDS, event="harm_unseen"
        )
