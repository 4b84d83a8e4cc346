"""Penalised regressions whose coefficients keep their signs.

scikit-learn has no signs for coefficients. All three minimise a convex loss under bounds, by L-BFGS-B. Penalties stand
on standardised inputs, beside the weighted sum of the rows' losses; the intercept is free of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from services.trainer.families.base import Sample
from shared.model_artifact.manifest import sigmoid

Floats = NDArray[np.float64]
Coefficients = tuple[Floats, float]
"""[F] and the intercept."""

MAX_ITERATIONS = 2000
"""Of the elastic net, whose many coefficients at zero make the search long; it ends by itself well before."""


def logistic(sample: Sample, signs: Sequence[int], penalty: float) -> Coefficients:
    """The logistic regression with the highest likelihood, less `penalty` times half the sum of squared
    coefficients."""
    inputs, label, weight = _doubles(sample)
    width = inputs.shape[1]

    def loss(weights: Floats) -> tuple[float, Floats]:
        coefficients = weights[:width]
        score = inputs @ coefficients + weights[width]
        wrong = weight * (sigmoid(score) - label)
        value = weight @ (np.logaddexp(0.0, score) - label * score) + penalty / 2 * (coefficients @ coefficients)
        return float(value), np.append(wrong @ inputs + penalty * coefficients, wrong.sum())

    start = np.append(np.zeros(width), _log_odds(base_rate(sample)))
    found = minimum(loss, start, [*sign_bounds(signs), (None, None)])
    return found[:width], float(found[width])


def least_squares(sample: Sample, signs: Sequence[int], penalty: float) -> Coefficients:
    """Ridge regression of the label itself: the sum of squared errors, plus `penalty` times the squares, both
    halved."""
    inputs, label, weight = _doubles(sample)
    width = inputs.shape[1]

    def loss(weights: Floats) -> tuple[float, Floats]:
        coefficients = weights[:width]
        missed = inputs @ coefficients + weights[width] - label
        wrong = weight * missed
        value = wrong @ missed / 2 + penalty / 2 * (coefficients @ coefficients)
        return float(value), np.append(wrong @ inputs + penalty * coefficients, wrong.sum())

    found = minimum(loss, np.append(np.zeros(width), base_rate(sample)), [*sign_bounds(signs), (None, None)])
    return found[:width], float(found[width])


def elastic_net(sample: Sample, signs: Sequence[int], l1: float, l2: float) -> Coefficients:
    """Logistic regression less `l1` times the absolute coefficients and `l2` times half their squares.

    Each coefficient is the difference of two that are not negative, of which a sign rules one out: the absolute value
    becomes their sum, which is smooth, so that coefficients end at exactly zero without a solver of its own.
    """
    inputs, label, weight = _doubles(sample)
    width = inputs.shape[1]

    def loss(weights: Floats) -> tuple[float, Floats]:
        up, down = weights[:width], weights[width : 2 * width]
        coefficients = up - down
        score = inputs @ coefficients + weights[-1]
        wrong = weight * (sigmoid(score) - label)
        value = weight @ (np.logaddexp(0.0, score) - label * score) + l1 * (up + down).sum()
        slope = wrong @ inputs + l2 * coefficients
        return float(value + l2 / 2 * (coefficients @ coefficients)), np.concatenate(
            [slope + l1, l1 - slope, [wrong.sum()]]
        )

    up = [(0.0, 0.0 if sign < 0 else None) for sign in signs]
    down = [(0.0, 0.0 if sign > 0 else None) for sign in signs]
    start = np.append(np.zeros(2 * width), _log_odds(base_rate(sample)))
    found = minimum(loss, start, [*up, *down, (None, None)], {"maxiter": MAX_ITERATIONS})
    return found[:width] - found[width : 2 * width], float(found[-1])


def base_rate(sample: Sample) -> float:
    """The share of defaults, kept off 0 and 1 so that its log-odds are finite."""
    return float(np.clip(np.average(sample.label, weights=sample.weight), 1e-6, 1 - 1e-6))


def _doubles(sample: Sample) -> tuple[Floats, Floats, Floats]:
    """Inputs, labels, weights."""
    return sample.matrix.astype(np.float64), sample.label.astype(np.float64), sample.weight


def _log_odds(rate: float) -> float:
    return float(np.log(rate / (1 - rate)))


Bounds = list[tuple[float | None, float | None]]


def sign_bounds(signs: Sequence[int]) -> Bounds:
    """Of coefficients that may be positive (1), negative (-1) or either (0)."""
    return [(0.0 if sign > 0 else None, 0.0 if sign < 0 else None) for sign in signs]


def minimum(
    loss: Callable[[Floats], tuple[float, Floats]],
    start: Floats,
    bounds: Sequence[tuple[float | None, float | None]],
    options: dict[str, int] | None = None,
) -> Floats:
    """Where `loss`, which also gives its gradient, is least under the bounds."""
    from scipy.optimize import minimize

    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=list(bounds), options=options or {}).x)
