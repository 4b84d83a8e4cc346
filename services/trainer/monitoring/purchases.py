"""Purchases as the monitor sees them: what a model would read of each, and what of it may be shown by segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer import segments
from shared.feature_definitions.windows import MICROS_PER_DAY

SEGMENTS: dict[str, str] = {**segments.SEGMENTS, "currency": "currency"}
"""Name to column of `transactions`. Age bracket and state are for fairness alone, and read nowhere here."""


@dataclass(frozen=True)
class Purchases:
    """Parallel columns of n purchases, whatever was decided of them."""

    customer_id: NDArray[np.object_]
    occurred_us: NDArray[np.int64]
    features: NDArray[np.float32]
    """[n, F], NaN for null, in the order of whoever asked."""
    segments: dict[str, NDArray[np.object_]]
    """Of each name in `SEGMENTS`: the group of each purchase, `unknown` where the source doesn't say."""
    age_s: NDArray[np.float64]
    """From the purchase to its decision, in seconds by their own times; NaN where nothing was decided."""
    degraded: NDArray[np.object_]
    """Why a fallback decided; empty where none did."""

    def __len__(self) -> int:
        return len(self.occurred_us)

    @property
    def day(self) -> NDArray[np.int64]:
        """Days since 1970, UTC."""
        return self.occurred_us // MICROS_PER_DAY

    def take(self, which: NDArray[Any] | slice) -> Purchases:
        """The rows of an index, mask or slice."""
        return Purchases(
            self.customer_id[which],
            self.occurred_us[which],
            self.features[which],
            {name: groups[which] for name, groups in self.segments.items()},
            self.age_s[which],
            self.degraded[which],
        )
