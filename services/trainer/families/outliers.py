"""What is no value but a fault of whoever sent it, and would decide alone how wide a feature spreads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RARE = 0.999
BEYOND = 10.0
"""Times what one row in a thousand exceeds: no distribution that people make reaches there."""

LOOKED_AT = 50_000
"""Rows, evenly spread, that tell what is rare."""

Matrix = NDArray[np.float64]


def limits_of(matrix: NDArray[np.floating]) -> Matrix:
    """[F] how large a value of each column may be, either way; infinite where a column has too little to tell."""
    seen = np.abs(matrix[:: max(1, len(matrix) // LOOKED_AT)].astype(np.float64))
    ordered = np.sort(seen, axis=0)  # NaN last
    known = (~np.isnan(seen)).sum(axis=0)
    rank = np.maximum((known * RARE).astype(int) - 1, 0)
    rare = ordered[rank, np.arange(matrix.shape[1])]
    told = (known * (1 - RARE) >= 1) & (rare > 0)
    return np.where(told, BEYOND * np.where(told, rare, 1.0), np.inf)


def cut(matrix: NDArray[np.floating], limits: Matrix) -> Matrix:
    """[n, F] with no value beyond its limit; NaN stays."""
    return np.clip(matrix.astype(np.float64), -limits, limits)
