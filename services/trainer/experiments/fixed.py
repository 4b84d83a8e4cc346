"""Statistics for one look, at a time that was set beforehand: sharper than `evidence` there, and wrong anywhere
else."""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from services.trainer.experiments.evidence import Count

NORMAL_95 = 1.959963984540054
"""Standard errors to either side of a 95% interval."""


def ratio_p(counts: Sequence[int], shares: Sequence[float]) -> float | None:
    """Pearson's chi-square test that customers fall into the arms with these shares: its p-value; None of nobody."""
    from scipy.special import chdtrc

    total = sum(counts)
    if total == 0:
        return None
    expected = np.asarray(shares) * total
    statistic = float(((np.asarray(counts) - expected) ** 2 / expected).sum())
    return float(chdtrc(len(counts) - 1, statistic))


def difference(one: Count, other: Count, *, z: float = NORMAL_95, of_other: float = 1.0) -> tuple[float, float] | None:
    """The interval of the rate of `one` less that of `other`, `z` standard errors to either side (by default, of 95%):
    Newcombe's hybrid of two score intervals ("Interval estimation for the difference between independent proportions",
    1998, method 10); None where one is of nobody. `of_other`: less that share of the other's rate, in the same way."""
    if not one.trials or not other.trials:
        return None
    (low_one, high_one), (low_other, high_other) = _score_interval(one, z), _score_interval(other, z)
    found = one.rate - of_other * other.rate
    return (
        found - sqrt((one.rate - low_one) ** 2 + (of_other * (high_other - other.rate)) ** 2),
        found + sqrt((high_one - one.rate) ** 2 + (of_other * (other.rate - low_other)) ** 2),
    )


def difference_p(one: Count, other: Count) -> float | None:
    """The two-sided p-value that both rates are the same, by the pooled normal approximation."""
    if not one.trials or not other.trials:
        return None
    pooled = (one.hits + other.hits) / (one.trials + other.trials)
    error = sqrt(pooled * (1 - pooled) * (1 / one.trials + 1 / other.trials))
    return erfc(abs(one.rate - other.rate) / error / sqrt(2)) if error else 1.0


def mean_difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, tuple[float, float]] | None:
    """Of two samples' means, with its 95% interval by the normal approximation (variances may differ); None where one
    has fewer than two values."""
    if min(len(one), len(other)) < 2:
        return None
    found = float(one.mean() - other.mean())
    error = sqrt(float(one.var(ddof=1)) / len(one) + float(other.var(ddof=1)) / len(other))
    return found, (found - NORMAL_95 * error, found + NORMAL_95 * error)


def _score_interval(count: Count, z: float) -> tuple[float, float]:
    """Wilson's, of one rate."""
    n = count.trials
    middle = (count.hits + z * z / 2) / (n + z * z)
    width = z / (n + z * z) * sqrt(count.hits * count.misses / n + z * z / 4)
    return middle - width, middle + width
