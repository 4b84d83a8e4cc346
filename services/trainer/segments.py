"""How a model does in parts of its hold-out: by what is bought and by whom, each figure with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import Economics, Floats, RankedScores, numbered, weighted_mean
from services.trainer.examples import Examples

SEGMENTS = {
    "product_category": "product_category",
    "credit_score_range": "customer_credit_score_range",
    "instalments": "installments_count",
}
"""Of what is bought and by whom: name to column of the transactions."""
GROUPS = {"age_bracket": "customer_age_bracket", "state": "customer_state"}
"""Of people, for fairness alone: never a model's input."""
UNKNOWN = "unknown"
"""Of a purchase whose source doesn't say."""

LEAST_ROWS = 100
"""Of a segment or group of its own. Smaller ones are taken together: their intervals would say nothing."""

OTHERS = "others"
ROUNDS = 100
"""Of the bootstrap: enough for an interval to be read by a person."""

Columns = Mapping[str, NDArray[np.object_]]
"""Parallel to some examples: for each of `SEGMENTS` and `GROUPS` the value of each row."""


def by_segment(
    seen: Examples, probability: Floats, columns: Columns, economics: Economics, seed: int
) -> dict[str, dict[str, dict[str, object]]]:
    """Figures by column and value. Each is a list of three: itself, and the bounds of the middle 95% of a bootstrap
    over the customers, each with all of his rows; of a segment where nobody or everybody has defaulted, `auc` is
    null."""
    return {
        name: {value: _figures(seen.take(rows), probability[rows], economics, seed) for value, rows in _parts(column)}
        for name, column in columns.items()
    }


def _parts(column: NDArray[np.object_]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    values, of, times = np.unique(column.astype(str), return_inverse=True, return_counts=True)
    few = times < LEAST_ROWS
    for number, value in enumerate(values):
        if not few[number]:
            yield str(value), np.flatnonzero(of == number)
    if few.any():
        yield OTHERS, np.flatnonzero(few[of])


def _figures(seen: Examples, probability: Floats, economics: Economics, seed: int) -> dict[str, object]:
    label, weight = seen.label, seen.weight
    approved = probability < economics.break_even
    ranked = RankedScores(label, probability)
    draws = np.random.default_rng(seed)

    def measured(of: NDArray[np.float64]) -> list[float]:
        good = of * (label == 0)
        return [
            ranked.auc(of),
            weighted_mean(label, of),
            weighted_mean(probability, of),
            weighted_mean(probability - label, of),
            weighted_mean(approved, of),
            float(good @ ~approved / max(good.sum(), 1e-9)),
        ]

    names = ("auc", "default_rate", "mean_probability", "said_too_much", "approval_rate", "good_turned_away")
    customers = numbered(seen.customer_id)
    count = int(customers.max()) + 1
    even = np.full(count, 1 / count)
    resampled = [measured(draws.multinomial(count, even)[customers] * weight) for _ in range(ROUNDS)]
    both = 0 < label.sum() < len(label)
    # A resample may hold no default: it has no AUC, and the interval is over the others.
    bounds = np.nanpercentile(resampled, [2.5, 97.5], axis=0) if both else np.zeros((2, len(names)))
    if not both:
        bounds[:, 1:] = np.percentile(np.array(resampled)[:, 1:], [2.5, 97.5], axis=0)
    figures: dict[str, object] = {
        name: None if name == "auc" and not both else [round(value, 6), round(low, 6), round(high, 6)]
        for name, value, low, high in zip(names, measured(weight), *bounds.tolist(), strict=True)
    }
    return {"rows": len(label), "defaults": int(label.sum()), **figures}
