"""Bins of one number: fixed once, by the reference, so that histograms of any days can be added and compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

MAX_DISTINCT = 16
"""Up to so many values are each a bin of their own: flags, ranks, instalments, small counts."""

QUANTILES = 10
"""Deciles, as the field takes them for the population stability index: more bins see finer changes and need more
purchases for each."""


def edges_of(values: NDArray[np.floating]) -> list[float]:
    """Increasing upper edges for bins of known values, NaN left out.

    A value equal to an edge belongs below it. Of few distinct values each has its bin, with one more at either end for
    what the reference has never seen; of many, each bin holds about a tenth of them.
    """
    known = np.asarray(values, np.float64)
    distinct = np.unique(known[~np.isnan(known)])
    if len(distinct) == 0:
        return []
    if len(distinct) <= MAX_DISTINCT:
        gap = float(np.diff(distinct).min()) / 2 if len(distinct) > 1 else 0.5
        between = (distinct[1:] + distinct[:-1]) / 2
        return [float(distinct[0] - gap), *between.tolist(), float(distinct[-1] + gap)]
    shares = np.arange(1, QUANTILES) / QUANTILES
    # A value that was there, not one between two: the same on every machine.
    cuts = np.quantile(known[~np.isnan(known)], shares, method="inverted_cdf")
    return [float(cut) for cut in np.unique(cuts)]


def size(edges: Sequence[float]) -> int:
    """How many bins there are: one more than edges, and the last for missing."""
    return len(edges) + 2


def placed(values: NDArray[np.floating], edges: Sequence[float]) -> NDArray[np.intp]:
    """[n] bin of each value."""
    known = np.asarray(values, np.float64)
    return np.where(np.isnan(known), len(edges) + 1, np.searchsorted(np.asarray(edges), known, side="left"))


def histogram(values: NDArray[np.floating], edges: Sequence[float]) -> Counts:
    """[size(edges)] how many values fall into each bin."""
    return np.bincount(placed(values, edges), minlength=size(edges)).astype(np.int64)
