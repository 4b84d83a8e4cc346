"""The tests that several gates share: paired differences, weighted counts, and many tests at once.

What is drawn are customers, with all of their purchases: those of one resemble each other, and counted one by one they
would make evidence of a few regulars (ADR 0021).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import Customers, weighted_mean, weighted_mean_error

Floats = NDArray[np.float64]


def above_zero_p(difference: Floats, weight: Floats, customers: Customers | None = None) -> float:
    """One-sided p-value that the weighted mean is at most zero, by the normal approximation; 1 where all rows are the
    same: identical models are no evidence of anything. `customers`: as of `weighted_mean_error`."""
    mean, error = weighted_mean(difference, weight), weighted_mean_error(difference, weight, customers)
    return 0.5 * erfc(mean / error / sqrt(2)) if error > 0 else 1.0


def more_than_said_p(label: NDArray[np.integer], probability: Floats, weight: Floats, customers: Customers) -> float:
    """One-sided p-value that no more defaulted than was said.

    Weighted counts as a scaled Poisson count (Fay and Feuer, "Confidence intervals for directly standardized rates",
    1997): with all weights equal, and each customer there once, it is the Poisson tail, which is wider than that of
    independent defaults, so that small segments raise no more false alarms than they may.
    """
    from scipy.special import gammainc

    found, said, scale = _counts(label, probability, weight, customers)
    return float(gammainc(found / scale, said / scale)) if found > 0 else 1.0


def fewer_than_said_p(label: NDArray[np.integer], probability: Floats, weight: Floats, customers: Customers) -> float:
    """One-sided p-value that no fewer defaulted than was said."""
    from scipy.special import gammaincc

    found, said, scale = _counts(label, probability, weight, customers)
    return float(gammaincc(found / scale + 1.0, said / scale))


def _counts(
    label: NDArray[np.integer], probability: Floats, weight: Floats, customers: Customers
) -> tuple[float, float, float]:
    """Weighted defaults, weighted expectation, and how many defaults the average one stands for: more where those of a
    customer come together."""
    said = float(probability @ weight)
    scale = float(probability @ weight**2) / said * _times_spread(weight * (label - probability), customers)
    return float(np.asarray(label, dtype=np.float64) @ weight), said, scale


def _times_spread(off: Floats, customers: Customers) -> float:
    """By how much the variance of a sum of rows is larger than if they were independent (the design effect of Rao and
    Scott, "A simple method for the analysis of clustered binary data", Biometrics, 1992). Never less than 1: that
    customers make up for themselves is luck of few rows."""
    alone = float((off**2).sum())
    return max(float((np.bincount(customers, off) ** 2).sum()) / alone, 1.0) if alone > 0 else 1.0


def rejected(p_values: Sequence[float], alpha: float) -> list[int]:
    """Places of the hypotheses that are rejected with a chance of at most `alpha` that any of them holds, whatever
    depends on what (Holm, "A simple sequentially rejective multiple test procedure", 1979)."""
    out: list[int] = []
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[place] > alpha / (len(p_values) - rank):
            break
        out.append(int(place))
    return out
