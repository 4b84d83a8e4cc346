"""Fits Platt's two numbers on examples that the model was not fitted on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.model_artifact.manifest import Calibration, logit, sigmoid

MIN_SLOPE = 0.05
"""A model that is worth nothing on the validation part may get a slope of 0 or below, which would undo or reverse the
order of its scores. It gets this instead, all but flat, and then loses on log-loss to whatever learnt something."""

CLEARLY = 2.0
"""Standard errors by which a slope must differ from 1 to be believed. What is calibrated has minimised log-loss under a
penalty, so that 1 is the first guess; and some hundred defaults of a weak signal tell a slope to within a third. That
third would be in every probability, and in whatever is expected of a model before outcomes are known: with 1,500
defaults behind a first model of the simulator's purchases its expected AUC was off by 0.012, and is by 0.007 (root mean
square of six seeds)."""

MAX_STEPS = 50
"""Newton's method on two numbers is done in about six."""

SMALLEST_STEP = 1e-10

RIDGE = 1e-9
"""Keeps the Hessian invertible where all raw scores are the same."""


def fit_platt(raw: NDArray[np.floating], label: NDArray[np.integer], weight: NDArray[np.float64]) -> Calibration:
    """Slope and intercept in log-odds by weighted maximum likelihood, the slope 1 unless it is clearly another; labels
    are smoothed as Platt (1999) does, so that a part without overlap doesn't send the slope to infinity."""
    slope, intercept = found = _fitted(raw, label, weight)
    design = _design(raw)
    error = float(np.sqrt(np.linalg.inv(_hessian(design, sigmoid(found @ design), _told(weight)))[0, 0]))
    if slope < MIN_SLOPE:
        slope = MIN_SLOPE
    elif abs(slope - 1.0) < CLEARLY * error:
        slope = 1.0
    else:
        return Calibration(float(slope), float(intercept))
    return fit_level(float(slope), raw, label, weight)


def fit_platt_near_one(
    raw: NDArray[np.floating], label: NDArray[np.integer], weight: NDArray[np.float64], spread: float
) -> Calibration:
    """Slope and intercept of scores that are calibrated already, but for chance: the slope is normal around 1 with this
    standard deviation before anything is seen (maximum a posteriori)."""
    slope, intercept = _fitted(raw, label, _told(weight), np.array([spread**-2, 0.0]))
    return Calibration(float(max(slope, MIN_SLOPE)), float(intercept))


def slope_and_intercept(
    said: NDArray[np.floating], label: NDArray[np.integer], weight: NDArray[np.float64]
) -> tuple[float, float]:
    """Of outcomes on the log-odds that were said, whatever they come to: (1, 0) of what is calibrated. To measure by,
    not to serve."""
    slope, intercept = _fitted(said, label, weight)
    return float(slope), float(intercept)


def fit_level(
    slope: float, raw: NDArray[np.floating], label: NDArray[np.integer], weight: NDArray[np.float64]
) -> Calibration:
    """The intercept alone, of a slope that is known."""
    scores = logit(raw)
    (intercept,) = _newton(np.ones((1, len(scores))), _smoothed(label), weight, np.zeros(1), slope * scores)
    return Calibration(slope, float(intercept))


def _design(raw: NDArray[np.floating]) -> NDArray[np.float64]:
    """[2, n]: what a slope and an intercept stand before."""
    scores = logit(raw)
    return np.stack([scores, np.ones_like(scores)])


def _fitted(
    raw: NDArray[np.floating],
    label: NDArray[np.integer],
    weight: NDArray[np.float64],
    precision: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    """[slope, intercept]. `precision`: as of `_newton`, around 1 and 0."""
    return _newton(_design(raw), _smoothed(label), weight, np.array([1.0, 0.0]), precision=precision)


def _told(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that sum to what the rows tell: rows of unlike weight tell less than as many alike (Kish's effective
    size, 1965)."""
    return np.asarray(weight * (weight.sum() / (weight @ weight)))


def _smoothed(label: NDArray[np.integer]) -> NDArray[np.float64]:
    defaulted = np.asarray(label, dtype=bool)
    bad, good = int(defaulted.sum()), int((~defaulted).sum())
    return np.where(defaulted, (bad + 1) / (bad + 2), 1 / (good + 2))


def _newton(
    design: NDArray[np.float64],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    start: NDArray[np.float64],
    offset: NDArray[np.float64] | float = 0.0,
    precision: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    """Maximum-likelihood parameters of a logistic regression; `design`: [parameters, n]. `precision`: 1 / variance of
    each around where it starts, before anything is seen."""

    def lost(weights: NDArray[np.float64]) -> float:
        moved = float((precision * (weights - start) ** 2).sum())
        return _log_loss(weights @ design + offset, target, weight) + moved / 2 / float(weight.sum())

    weights, loss = start, lost(start)
    for _ in range(MAX_STEPS):
        expected = sigmoid(weights @ design + offset)
        gradient = design @ (weight * (target - expected)) - precision * (weights - start)
        curvature = _hessian(design, expected, weight) + np.diag(np.broadcast_to(precision, len(design)))
        step = np.linalg.solve(curvature, gradient)
        # A whole step may overshoot, and from there go on to swing; the loss is convex, so some part of it descends.
        while (new_loss := lost(weights + step)) > loss:
            step /= 2
            if np.abs(step).max() < SMALLEST_STEP:
                return weights
        weights, loss = weights + step, new_loss
        if np.abs(step).max() < SMALLEST_STEP:
            break
    return weights


def _hessian(
    design: NDArray[np.float64], expected: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.asarray((design * (weight * expected * (1 - expected))) @ design.T + RIDGE * np.eye(len(design)))


def _log_loss(log_odds: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Weighted mean cross-entropy, in natural units, without overflow."""
    return float((np.logaddexp(0.0, log_odds) - target * log_odds) @ weight / weight.sum())
