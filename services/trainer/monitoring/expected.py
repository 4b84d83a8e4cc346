"""What a model's figures will be on purchases whose outcome nobody knows yet, from its calibrated probabilities alone.

Confidence-based performance estimation: if of the purchases with probability p a share p defaults, then each purchase
counts as p of a default and 1 - p of a good loan (Białek, Kuberski, Perrakis and Bifet, "Estimating model performance
under covariate shift without labels", 2024). It follows any change of what comes in, and sees none of the law itself:
so it is shown beside what was realized, and where both part, the model is what's wrong.

What is said and what is believed of a purchase need not be the same (recalibration.py): losses and profits are those of
what was said, and each purchase turns out by what is believed. Both are [n] probabilities of default.

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


def expected_log_loss(said: Floats, believed: Floats, weight: Floats) -> Expected:
    """In nats: the cross-entropy of each outcome."""
    surprise = -believed * _log(said) - (1 - believed) * _log(1 - said)
    return Expected(weighted_mean(surprise, weight), _spread(believed, np.abs(logit(said)), weight))


def expected_brier(said: Floats, believed: Floats, weight: Floats) -> Expected:
    missed = believed * (1 - said) ** 2 + (1 - believed) * said**2
    return Expected(weighted_mean(missed, weight), _spread(believed, 1 - 2 * said, weight))


def expected_default_rate(believed: Floats, weight: Floats) -> Expected:
    return Expected(weighted_mean(believed, weight), _spread(believed, np.ones_like(believed), weight))


def expected_profit_bp(
    said: Floats, believed: Floats, amount: Floats, weight: Floats, economics: Economics
) -> Expected:
    """Of approving what is said to lie below break-even, in basis points of the volume asked for."""
    volume = amount * weight
    lent = np.where(said < economics.break_even, volume, 0.0)
    earned = lent * (economics.margin_on_good * (1 - believed) - economics.loss_on_default * believed)
    swing = lent * (economics.margin_on_good + economics.loss_on_default)
    total = max(float(volume.sum()), 1e-9)
    variance = float((believed * (1 - believed) * swing**2).sum())
    return Expected(BASIS_POINTS * float(earned.sum()) / total, BASIS_POINTS * variance**0.5 / total)


def expected_auc(believed: Floats, weight: Floats) -> Expected:
    """Of any scores in this order: expected weight of the pairs that are in order, by the expected weight of all pairs
    of a default and a good loan; NaN where there is no pair. The error is that of the ratio, to first order in the
    outcomes."""
    order = np.argsort(believed, kind="stable")
    p, w = believed[order], weight[order]
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


def _log(probability: Floats) -> Floats:
    """Finite, so that what is impossible and said to be counts nothing."""
    return np.asarray(np.log(np.clip(probability, 1e-300, 1.0)), np.float64)


def _spread(believed: Floats, swing: Floats, weight: Floats) -> float:
    """Of a weighted mean in which each outcome moves its row by `swing`."""
    return float(np.sqrt((believed * (1 - believed) * (weight * swing) ** 2).sum()) / weight.sum())
