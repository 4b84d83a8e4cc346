"""When what happens during the run. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

QUIET = 0.05
"""Of the run, at each end: nothing is done to the system then, so that it is seen to work before and after."""
LATEST = 0.5
"""Of its own slot, when something happens: the rest is for recovering before the next slot begins."""

ROLLING_RESTART = "rolling restart"


@dataclass(frozen=True, slots=True)
class Event:
    at_s: float
    """Since the start; later where what was before it isn't over."""
    kind: Literal["rolling restart", "crash"]
    process: str
    """Which is killed; empty for the rolling restart, which is of all."""


def draw(processes: Sequence[str], seconds: float, seed: int) -> list[Event]:
    """One crash of each and one rolling restart of all, in an order and at moments drawn by the seed."""
    dice = random.Random(seed)
    happenings = [("crash", name) for name in processes] + [(ROLLING_RESTART, "")]
    dice.shuffle(happenings)
    slot = seconds * (1 - 2 * QUIET) / len(happenings)
    return [
        Event(seconds * QUIET + slot * (number + dice.uniform(0.0, LATEST)), kind, process)  # type: ignore[arg-type]
        for number, (kind, process) in enumerate(happenings)
    ]
