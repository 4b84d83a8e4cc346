"""The loop that joins watching, promoting and training. Knows no warehouse: what it does is passed in.

Guarantee: whatever ends the loop, and wherever, the next one goes on from the state that was kept. A training that was
cut off is begun anew, but not for ever (`begun`); a look that was cut off is taken again. A candidate that decides for
customers is taken out where it is worse also while nothing is to be learnt, or nothing can be seen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from services.trainer import metrics
from services.trainer.lifecycle.triggers import (
    Came,
    Climber,
    Decision,
    Plan,
    Seen,
    State,
    Trigger,
    begun,
    decide,
    noted,
    trained,
)
from services.trainer.rounds import until_stopped
from shared.contracts.identity import from_epoch_micros

log = structlog.get_logger()


SWITCHED = "what was seen is of the model before: the next look is the first at the one in service"


class Transient(Exception):
    """What this loop needs is away. The next look tries again."""


class Memory(Protocol):
    """Where the state is kept. Both raise Transient where it is away."""

    def read(self) -> State: ...
    def write(self, state: State) -> None: ...


@dataclass(frozen=True)
class Advanced:
    """What a look at the ladder came to."""

    climber: Climber | None = None
    """Who is on the ladder after it."""
    switched: bool = False
    """It has put another model in service."""


@dataclass(frozen=True)
class Hands:
    """What the loop can do. Each may raise Transient."""

    clock: Callable[[], int | None]
    """The time of the stream's latest purchase, in microseconds; None: there is none yet."""
    look: Callable[[int], Seen]
    """Drift, performance and data quality as of that time."""
    advance: Callable[[State, bool], Advanced]
    """The candidate's next step, if it has earned one. True: any step, False: none but out."""
    train: Callable[[Trigger, State], Came]
    """Trains because of a trigger, on what came since the world changed, without what was poisoned."""


@dataclass(frozen=True)
class Tick:
    """What one round came to."""

    looked: bool = False
    trigger: Trigger | None = None
    why: str = "nothing new has come in"
    candidate: bool = False


class Watch:
    def __init__(self, hands: Hands, memory: Memory, plan: Plan, look_every_us: int, guard_every_us: int) -> None:
        """Of the stream's time: between two looks, and between two at the candidate alone."""
        self._hands, self._memory, self._plan = hands, memory, plan
        self._look_every_us, self._guard_every_us = look_every_us, guard_every_us
        self._looked_at_us: int | None = None
        self._guarded_at_us: int | None = None

    def tick(self) -> Tick:
        """One round. Raises Transient; what it has done until then stays done."""
        clock_us = self._hands.clock()
        if clock_us is None:
            return Tick()
        if not is_time(clock_us, self._looked_at_us, self._look_every_us):
            self._guard(clock_us)
            return Tick()
        try:
            seen = self._hands.look(clock_us)
        except Transient:
            self._guard(clock_us)
            raise
        before = self._memory.read()
        state = noted(before, seen)
        if state != before:
            self._memory.write(state)
        # What came in lately is evidence for or against the candidate too: bad input must not promote one.
        advanced = self._hands.advance(state, seen.sound and seen.blind is None)
        self._guarded_at_us = clock_us
        decision = Decision(None, SWITCHED) if advanced.switched else decide(state, seen, self._plan, advanced.climber)
        log.info(
            "looked", as_of=from_epoch_micros(seen.clock_us), drift=seen.drifted_from_us is not None,
            performance=seen.lost_from_us is not None, poisoned=list(seen.poisoned),
            blind=seen.blind, trigger=decision.trigger, why=decision.why,
        )  # fmt: skip
        came = None
        if decision.trigger is not None:
            self._memory.write(begun(state, seen.clock_us))
            came = self._hands.train(decision.trigger, state)
            self._memory.write(trained(state, seen.clock_us, came))
            metrics.TRIGGERED.labels(decision.trigger, came).inc()
        self._looked_at_us = seen.clock_us
        return Tick(True, decision.trigger, decision.why, came is Came.CANDIDATE)

    def run(self, every_s: float, stop: threading.Event) -> Tick:
        """Rounds until told to stop, and the last one's result. What is away is tried again in the next round."""
        return until_stopped(
            self._counted, Tick(), every_s, stop, away=(Transient,), failures=metrics.ROUNDS, event="round_failed"
        )

    def _counted(self) -> Tick:
        done = self.tick()
        metrics.ROUNDS.labels("looked" if done.looked else "idle").inc()
        return done

    def _guard(self, clock_us: int) -> None:
        """Between two looks, and where none can be taken: whoever is worse goes out."""
        if is_time(clock_us, self._guarded_at_us, self._guard_every_us):
            self._hands.advance(self._memory.read(), False)
            self._guarded_at_us = clock_us


def is_time(clock_us: int, last_us: int | None, every_us: int) -> bool:
    """Whether so much of the stream's time has passed since then; None: it was never."""
    return last_us is None or clock_us - last_us >= every_us
