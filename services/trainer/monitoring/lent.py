"""Purchases that a model decided and that were lent, with what became of them as far as it has matured."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.feature_definitions.windows import MICROS_PER_DAY

LONGEST_PLAN_DAYS = 12 * 7
"""Of the plans that the monitor waits for: six payments by the standard terms. It reads back as far as these need
(monitor.py); while one of twelve monthly payments still runs, everything since its purchase counts as not yet matured,
and there would be nothing left to test."""


@dataclass(frozen=True)
class Lent:
    """Parallel columns of n purchases: approved, or decided after the fact. What was approved by chance stands for what
    wasn't, as everywhere in the trainer (docs/explanation/selective-labels.md)."""

    occurred_us: NDArray[np.int64]
    model_version: NDArray[np.object_]
    """That decided."""
    probability: NDArray[np.float64]
    """Calibrated, as it was decided on."""
    amount: NDArray[np.float64]
    weight: NDArray[np.float64]
    """1 / propensity."""
    defaulted: NDArray[np.float64]
    """1, 0, or NaN where nobody can know yet."""
    mature_us: NDArray[np.int64]
    """When the plan has run its course."""

    def __len__(self) -> int:
        return len(self.occurred_us)

    def take(self, which: NDArray[Any]) -> Lent:
        """The rows of an index or mask."""
        return Lent(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def of(self, version: str) -> Lent:
        return self.take(self.model_version == version)

    def between(self, first_day: int, end_day: int) -> Lent:
        """Of the days in [first, end), counted since 1970."""
        day = self.occurred_us // MICROS_PER_DAY
        return self.take((day >= first_day) & (day < end_day))

    @property
    def awaited(self) -> Lent:
        """The loans whose plan is no longer than `LONGEST_PLAN_DAYS`."""
        return self.take(self.mature_us - self.occurred_us <= LONGEST_PLAN_DAYS * MICROS_PER_DAY)

    @property
    def matured(self) -> Lent:
        return self.take(~np.isnan(self.defaulted))
