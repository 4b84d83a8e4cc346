"""How much is asked at which moment of a run. Pure: no client and no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

DAY_PEAK = 3.0
"""The best hour of a sale day against its quiet ones: BLACK_FRIDAY (1.8) of the simulator's calendar times its working
hours against the mean of a day (1.8)."""
QUIET_SHARE = 0.2
"""Of a day's run, at each end; the climb and the descent take as long each."""

BURST = 5.0
"""What a message to all customers brings within a second."""
BURST_EVERY_S, BURST_S = 60.0, 10.0


@dataclass(frozen=True, slots=True)
class Shape:
    """`factor(t, whole)`: of the base rate, at `t` seconds of a run of `whole`."""

    factor: Callable[[float, float], float]
    minutes: float
    """By default."""
    greatest: float
    """The largest factor there is."""
    about: str


def steady(t_s: float, whole_s: float) -> float:
    return 1.0


def peak(t_s: float, whole_s: float) -> float:
    """A day: quiet, a climb, the peak, a descent, quiet; a fifth of the run each."""
    part = t_s / whole_s / QUIET_SHARE
    from_the_nearer_end = min(part, 5.0 - part)
    return 1.0 + (DAY_PEAK - 1.0) * min(1.0, max(0.0, from_the_nearer_end - 1.0))


def burst(t_s: float, whole_s: float) -> float:
    """In the middle of each minute, for ten seconds."""
    within = t_s % BURST_EVERY_S
    begins = (BURST_EVERY_S - BURST_S) / 2
    return BURST if begins <= within < begins + BURST_S else 1.0


SHAPES = {
    "steady": Shape(steady, 5.0, 1.0, "the same all the time"),
    "peak": Shape(peak, 6.0, DAY_PEAK, "a sale day in small: three times as much in the middle"),
    "burst": Shape(burst, 3.0, BURST, "five times as much for ten seconds of each minute"),
}

CHECKOUT_SHARE = 0.2
"""Of the purchases that a shop asks about over REST; the others come over the topic."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Purchases a second over each door."""

    checkouts: int
    events: int

    @staticmethod
    def split(rate: int, *, events: bool = True) -> Rates:
        """`events`: whether the topic can be written to; else all is asked over REST."""
        checkouts = max(1, round(rate * CHECKOUT_SHARE)) if events else rate
        return Rates(checkouts, rate - checkouts)

    @property
    def together(self) -> int:
        return self.checkouts + self.events

    def times(self, factor: float) -> Rates:
        return Rates(round(self.checkouts * factor), round(self.events * factor))
