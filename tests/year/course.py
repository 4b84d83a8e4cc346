"""How well the models of a year did against what anybody could have known: windows of days, paired with the ceiling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import RankedScores, auc
from shared.feature_definitions.windows import MICROS_PER_DAY

ROUNDS = 200
"""Of the bootstrap: its standard error is then good to a twentieth."""
LEAST_DEFAULTS = 50
"""In a window: with fewer its AUC is anybody's guess."""


@dataclass(frozen=True)
class Decided:
    """Parallel columns of the purchases that a model decided, in the order of their time."""

    occurred_us: NDArray[np.int64]
    probability: NDArray[np.float64]
    """[n] as served, calibrated."""
    expected_rate: NDArray[np.float64]
    """[n] what the simulator tossed around: the best that anybody could know of the event."""
    label: NDArray[np.int8]
    """[n] of all purchases, declined ones too: only a simulator knows these, and only an evaluation may look."""
    version: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Decided:
        return Decided(
            self.occurred_us[which], self.probability[which], self.expected_rate[which], self.label[which],
            self.version[which],
        )  # fmt: skip


@dataclass(frozen=True)
class Window:
    from_day: int
    """Days since the first day of the year."""
    to_day: int
    """The day after its last."""
    purchases: int
    defaults: int
    auc: float
    ceiling: float
    gap: float
    """The ceiling less the model's AUC, on the same purchases."""
    gap_error: float
    """Its standard error, by a paired bootstrap: the luck of these purchases falls out of the difference."""
    said: float
    """Mean probability."""
    came: float
    """Share of defaults."""


def windows(decided: Decided, first_day_us: int, days: int, length: int, seed: int = 1) -> Iterator[Window]:
    """Windows of `length` days, one after the other; those with too few defaults are left out."""
    for start in range(0, days, length):
        end = min(start + length, days)
        since, until = (first_day_us + day * MICROS_PER_DAY for day in (start, end))
        some = decided.take((decided.occurred_us >= since) & (decided.occurred_us < until))
        if some.label.sum() >= LEAST_DEFAULTS:
            yield measured(some, start, end, seed)


def measured(some: Decided, from_day: int, to_day: int, seed: int) -> Window:
    """The figures of these purchases."""
    model, best = (auc(some.label, score) for score in (some.probability, some.expected_rate))
    ranked = [RankedScores(some.label, score) for score in (some.expected_rate, some.probability)]
    dice, even = np.random.default_rng(seed), np.full(len(some), 1 / len(some))
    gaps = []
    for _ in range(ROUNDS):
        weight = dice.multinomial(len(some), even).astype(np.float64)
        gaps.append(ranked[0].auc(weight) - ranked[1].auc(weight))
    return Window(
        from_day=from_day,
        to_day=to_day,
        purchases=len(some),
        defaults=int(some.label.sum()),
        auc=model,
        ceiling=best,
        gap=best - model,
        gap_error=float(np.std(gaps, ddof=1)),
        said=float(some.probability.mean()),
        came=float(some.label.mean()),
    )
