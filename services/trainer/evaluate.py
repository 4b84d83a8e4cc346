"""What a model is worth on examples it has not seen. Numpy only, no pandas and no scikit-learn.

Accuracy is not among them: to say of everyone that they repay is right nineteen times in twenty and worth nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]

ECE_BINS = 10
"""Of equal counts: with a default rate of 5% bins of equal width would nearly all be empty."""

BOOTSTRAP_ROUNDS = 200
"""Enough for a 95% interval to two digits, well under a second on a demo's hold-out."""

BASIS_POINTS = 10_000.0


@dataclass(frozen=True)
class Economics:
    """What a decision earns, as shares of the amount. Break-even: margin / (margin + loss)."""

    margin_on_good: float = 0.03
    loss_on_default: float = 0.60

    @property
    def break_even(self) -> float:
        return self.margin_on_good / (self.margin_on_good + self.loss_on_default)


def auc(label: Labels, score: Floats, weight: Floats | None = None) -> float:
    """P(score of a default > score of a good loan), ties half; NaN where one kind is absent. `weight`: of each row."""
    return _RankedScores(label, score).auc(np.ones(len(label)) if weight is None else np.asarray(weight, np.float64))


class _RankedScores:
    """Rows sorted by score once, so that the AUC of each resample is one pass."""

    def __init__(self, label: Labels, score: Floats) -> None:
        self._order = np.argsort(score, kind="stable")
        ranked = np.asarray(score)[self._order]
        self._bad = np.asarray(label, dtype=bool)[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))

    def auc(self, weight: Floats) -> float:
        ranked = weight[self._order]
        bad = np.add.reduceat(np.where(self._bad, ranked, 0.0), self._starts)
        good = np.add.reduceat(np.where(self._bad, 0.0, ranked), self._starts)
        pairs = bad.sum() * good.sum()
        if pairs == 0:
            return float("nan")
        below = np.cumsum(good) - good
        return float((bad * (below + good / 2)).sum() / pairs)


def ks(label: Labels, score: Floats) -> float:
    """Kolmogorov-Smirnov: the largest gap between the score distributions of defaults and good loans."""
    bad, good = (np.sort(np.asarray(score)[np.asarray(label) == kind]) for kind in (1, 0))
    at = np.unique(score)
    below = [np.searchsorted(part, at, side="right") / max(len(part), 1) for part in (bad, good)]
    return float(np.abs(below[0] - below[1]).max())


def brier(label: Labels, probability: Floats) -> float:
    """Mean squared error of the probability."""
    return float(np.mean((np.asarray(probability, np.float64) - label) ** 2))


def log_losses(label: Labels, probability: Floats) -> NDArray[np.float64]:
    """Of each row, in nats."""
    clipped = np.clip(np.asarray(probability, np.float64), 1e-9, 1 - 1e-9)
    return np.where(np.asarray(label, dtype=bool), -np.log(clipped), -np.log1p(-clipped))


def ece(label: Labels, probability: Floats) -> float:
    """Expected calibration error over `ECE_BINS` groups of equal count."""
    order = np.argsort(probability, kind="stable")
    groups = zip(
        np.array_split(np.asarray(label)[order], ECE_BINS),
        np.array_split(np.asarray(probability)[order], ECE_BINS),
        strict=True,
    )
    gaps = [len(seen) * abs(float(np.mean(seen)) - float(np.mean(said))) for seen, said in groups if len(seen)]
    return float(sum(gaps) / len(label))


def profit_bp(label: Labels, amount: Floats, approve: NDArray[np.bool_], economics: Economics) -> float:
    """Profit in basis points of the requested volume, approved or not."""
    earned = np.where(np.asarray(label, dtype=bool), -economics.loss_on_default, economics.margin_on_good) * amount
    return float(BASIS_POINTS * earned[approve].sum() / max(float(np.sum(amount)), 1e-9))


def evaluate(
    label: Labels,
    probability: Floats,
    amount: Floats,
    rule_approves: NDArray[np.integer],
    economics: Economics,
    seed: int,
) -> dict[str, float]:
    """All figures of one hold-out. `*_low` and `*_high` bound the middle 95% of a bootstrap over its rows.

    `profit_bp_rule` is there only where the rule has an answer for every row.
    """
    everyone = np.ones(len(label), dtype=bool)
    approve = np.asarray(probability) < economics.break_even
    ranked = _RankedScores(label, probability)
    draws = np.random.default_rng(seed)
    resampled = [
        ranked.auc(draws.multinomial(len(label), everyone / len(label)).astype(np.float64))
        for _ in range(BOOTSTRAP_ROUNDS)
    ]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    figures = {
        "auc": ranked.auc(everyone.astype(np.float64)),
        "auc_low": float(low),
        "auc_high": float(high),
        "ks": ks(label, probability),
        "brier": brier(label, probability),
        "log_loss": float(log_losses(label, probability).mean()),
        "ece": ece(label, probability),
        "default_rate": float(np.mean(label)),
        "mean_probability": float(np.mean(probability)),
        "rows": float(len(label)),
        "defaults": float(np.sum(label)),
        "approval_rate": float(np.mean(approve)),
        "profit_bp": profit_bp(label, amount, approve, economics),
        "profit_bp_approve_all": profit_bp(label, amount, everyone, economics),
    }
    if (np.asarray(rule_approves) >= 0).all():
        figures["profit_bp_rule"] = profit_bp(label, amount, np.asarray(rule_approves) == 1, economics)
    return figures
