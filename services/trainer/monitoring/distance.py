"""How far two histograms with the same bins are apart, and how likely chance alone is to part them so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.trainer.monitoring.bins import Counts

HALF = 0.5
"""Added to each bin that either has something in, so that one empty bin makes no distance infinite (Jeffreys)."""


def _shares(counts: Counts, other: Counts) -> NDArray[np.float64]:
    used = (counts + other) > 0
    filled = counts[used] + HALF
    return np.asarray(filled / filled.sum(), np.float64)


def population_stability(reference: Counts, current: Counts) -> float:
    """Population stability index, the sum of (q - p) ln(q / p): below 0.1 the field sees no change, above 0.25 a major
    one (Siddiqi, "Credit Risk Scorecards", 2006)."""
    before, after = _shares(reference, current), _shares(current, reference)
    return float(((after - before) * np.log(after / before)).sum())


def jensen_shannon(reference: Counts, current: Counts) -> float:
    """Jensen-Shannon divergence in bits: 0 for equal shares, 1 for histograms with no bin in common."""
    before, after = reference / max(reference.sum(), 1), current / max(current.sum(), 1)
    middle = (before + after) / 2
    return float((_relative_bits(before, middle) + _relative_bits(after, middle)) / 2)


def _relative_bits(shares: NDArray[np.float64], middle: NDArray[np.float64]) -> float:
    some = shares > 0
    return float((shares[some] * np.log2(shares[some] / middle[some])).sum())


def chance(reference: Counts, current: Counts, variance_factor: float) -> float:
    """P-value of the G-test that both are draws of one law (Sokal and Rohlf, "Biometry", 1995), its statistic divided
    by how much larger `variance_factor` (repeats.py) is than that of independent rows (the first-order correction of
    Rao and Scott, 1984, "On chi-squared tests for multiway contingency tables"). 1 where there is nothing to compare.
    """
    from scipy.special import chdtrc  # a second of imports

    rows, later = int(reference.sum()), int(current.sum())
    used = (reference + current) > 0
    freedom = int(used.sum()) - 1
    if rows == 0 or later == 0 or freedom < 1:
        return 1.0
    pooled = (reference + current) / (rows + later)
    statistic = 2 * (_likelihood_gain(reference, pooled * rows) + _likelihood_gain(current, pooled * later))
    return float(chdtrc(freedom, statistic * (1 / rows + 1 / later) / variance_factor))


def _likelihood_gain(counts: Counts, expected: NDArray[np.float64]) -> float:
    some = counts > 0
    return float((counts[some] * np.log(counts[some] / expected[some])).sum())
