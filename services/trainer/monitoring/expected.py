"""What a model's figures will be on purchases whose outcome nobody knows yet, from its calibrated probabilities alone.

Confidence-based performance estimation: if of the purchases with probability p a share p defaults, then each purchase
counts as p of a default and 1 - p of a good loan (Białek, Kuberski, Perrakis and Bifet, "Estimating model performance
under covariate shift without labels", 2024). It follows any change of what comes in, and sees none of the law itself:
so it is shown beside what was realized, and where both part, the model is what's wrong.

Each figure comes with the standard deviation, over the toss of the outcomes, of what will be realized on the very same
purchases: how far the two may lie apart though the model is right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import BASIS_POINTS, Economics, weighted_mean
from shared.model_artifact.manifest import logit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Expected:
    value: float
    error: float
    """Standard deviation of what is realized around it."""


def expected_log_loss(probability: Floats, weight: Floats) -> Expected:
    """In nats: the entropy of each outcome."""
    surprise = -_entropy_part(probability) - _entropy_part(1 - probability)
    slope = np.abs(logit(probability))
    return Expected(weighted_mean(surprise, weight), _spread(probability, slope, weight))


def expected_brier(probability: Floats, weight: Floats) -> Expected:
    return Expected(
        weighted_mean(probability * (1 - probability), weight), _spread(probability, 1 - 2 * probability, weight)
    )


def expected_default_rate(probability: Floats, weight: Floats) -> Expected:
    return Expected(weighted_mean(probability, weight), _spread(probability, np.ones_like(probability), weight))


def expected_profit_bp(probability: Floats, amount: Floats, weight: Floats, economics: Economics) -> Expected:
    """Of approving below break-even, in basis points of the volume asked for."""
    volume = amount * weight
    lent = np.where(probability < economics.break_even, volume, 0.0)
    earned = lent * (economics.margin_on_good * (1 - probability) - economics.loss_on_default * probability)
    swing = lent * (economics.margin_on_good + economics.loss_on_default)
    total = max(float(volume.sum()), 1e-9)
    variance = float((probability * (1 - probability) * swing**2).sum())
    return Expected(BASIS_POINTS * float(earned.sum()) / total, BASIS_POINTS * variance**0.5 / total)


def expected_auc(probability: Floats, weight: Floats) -> Expected:
    """Expected weight of the pairs that are in order, by the expected weight of all pairs of a default and a good loan;
    NaN where there is no pair. The error is that of the ratio, to first order in the outcomes."""
    order = np.argsort(probability, kind="stable")
    p, w = probability[order], weight[order]
    starts = np.flatnonzero(np.concatenate([[True], p[1:] != p[:-1]]))
    tie = np.cumsum(np.concatenate([[True], p[1:] != p[:-1]])) - 1
    bad, good = np.add.reduceat(w * p, starts), np.add.reduceat(w * (1 - p), starts)
    # Good loans ranked below, and defaults ranked above; at the same place, half of them.
    better = np.cumsum(good) - good / 2
    worse = bad.sum() - np.cumsum(bad) + bad / 2
    itself = float((w**2 * p * (1 - p)).sum())
    ordered = float((bad * better).sum()) - itself / 2  # no purchase makes a pair with itself
    pairs = float(bad.sum() * good.sum()) - itself
    if pairs <= 0:
        return Expected(float("nan"), float("nan"))
    value = ordered / pairs
    change = w * (better[tie] - worse[tie]) - value * w * (good.sum() - bad.sum())
    variance = float((p * (1 - p) * change**2).sum())
    return Expected(value, variance**0.5 / pairs)


def _entropy_part(probability: Floats) -> Floats:
    clipped = np.clip(probability, 1e-300, 1.0)
    return np.asarray(probability * np.log(clipped), np.float64)


def _spread(probability: Floats, slope: Floats, weight: Floats) -> float:
    """Of a weighted mean in which each outcome moves its row by `slope`."""
    return float(np.sqrt((probability * (1 - probability) * (weight * slope) ** 2).sum()) / weight.sum())
