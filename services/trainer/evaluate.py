"""What a model is worth on examples it has not seen. Numpy only, no pandas and no scikit-learn.

`weight`, [n], is how many purchases each row stands for: with the reciprocal of each row's propensity of being
observed, every figure estimates what it would be over all purchases that could be (Horvitz and Thompson, 1952).

Accuracy is not among them: to say of everyone that they repay is right nineteen times in twenty and worth nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.examples import Examples
from shared.policy.economics import BASIS_POINTS as BASIS_POINTS
from shared.policy.economics import Economics as Economics

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]
Customers = NDArray[np.intp]
"""[n] the number of each row's customer, from 0 on."""

ECE_BINS = 10
"""Of equal counts: with a default rate of 5% bins of equal width would nearly all be empty."""

BOOTSTRAP_ROUNDS = 200
"""Enough for a 95% interval to two digits, well under a second on a demo's hold-out."""

_TINY = 1e-300
"""Instead of a division by nothing."""


def auc(label: Labels, score: Floats, weight: Floats | None = None) -> float:
    """P(score of a default > score of a good loan), ties half; NaN where one kind is absent."""
    return RankedScores(label, score).auc(_weights(weight, label))


class RankedScores:
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


def ks(label: Labels, score: Floats, weight: Floats | None = None) -> float:
    """Kolmogorov-Smirnov: the largest gap between the score distributions of defaults and good loans."""
    at, place = np.unique(score, return_inverse=True)
    bad, good = (
        np.cumsum(np.bincount(place, np.where(np.asarray(label) == kind, _weights(weight, label), 0.0), len(at)))
        for kind in (1, 0)
    )
    return float(np.abs(bad / max(bad[-1], _TINY) - good / max(good[-1], _TINY)).max())


def brier(label: Labels, probability: Floats, weight: Floats | None = None) -> float:
    """Mean squared error of the probability."""
    return weighted_mean((np.asarray(probability, np.float64) - label) ** 2, _weights(weight, label))


def log_losses(label: Labels, probability: Floats) -> NDArray[np.float64]:
    """Of each row, in nats."""
    clipped = np.clip(np.asarray(probability, np.float64), 1e-9, 1 - 1e-9)
    return np.where(np.asarray(label, dtype=bool), -np.log(clipped), -np.log1p(-clipped))


def ece(label: Labels, probability: Floats, weight: Floats | None = None) -> float:
    """Expected calibration error over `ECE_BINS` groups of equal weight."""
    order = np.argsort(probability, kind="stable")
    ranked = _weights(weight, label)[order]
    middle = np.cumsum(ranked) - ranked / 2
    group = np.minimum((middle / ranked.sum() * ECE_BINS).astype(int), ECE_BINS - 1)
    wrong = (np.asarray(probability, np.float64) - label)[order] * ranked
    return float(np.abs(np.bincount(group, wrong, ECE_BINS)).sum() / ranked.sum())


def weighted_mean(values: NDArray[Any], weight: Floats) -> float:
    return float(values @ weight / weight.sum())


def numbered(customer_id: NDArray[np.object_]) -> Customers:
    """The customers by number, as they first appear. Who was erased has no id: each of his rows is taken for another
    customer's."""
    numbers: dict[object, int] = {}
    found = [
        numbers.setdefault((row,) if customer is None else customer, len(numbers))
        for row, customer in enumerate(customer_id.tolist())
    ]
    return np.array(found, dtype=np.intp)


def weighted_mean_error(values: Floats, weight: Floats, customers: Customers | None = None) -> float:
    """The standard error of `weighted_mean`: customers are drawn, with all of their rows, whose weights are given.

    A customer's purchases resemble each other, so what they are off the mean by is added up before it is squared (Liang
    and Zeger, "Longitudinal data analysis using generalized linear models", Biometrika, 1986). None: each row is
    another customer's.
    """
    off = weight * (values - weighted_mean(values, weight))
    if customers is not None:
        off = np.bincount(customers, off)
    return float(np.sqrt((off**2).sum()) / weight.sum())


def effective_rows(weight: Floats) -> float:
    """How many rows of equal weight would tell as much (Kish, 1965)."""
    return float(weight.sum() ** 2 / (weight**2).sum())


def _weights(weight: Floats | None, label: Labels) -> NDArray[np.float64]:
    return np.ones(len(label)) if weight is None else np.asarray(weight, np.float64)


def earnings(label: Labels | Floats, economics: Economics) -> Floats:
    """[n] what approving each purchase earns, as a share of its amount."""
    return np.where(np.asarray(label) == 1, -economics.loss_on_default, economics.margin_on_good)


def profit_bp(label: Labels, amount: Floats, approve: NDArray[np.bool_], economics: Economics) -> float:
    """Profit in basis points of the requested volume, approved or not. `amount`: times the weight, where there is
    one."""
    earned = earnings(label, economics) * amount
    return float(BASIS_POINTS * earned[approve].sum() / max(float(np.sum(amount)), 1e-9))


def evaluate(seen: Examples, probability: Floats, economics: Economics, seed: int) -> dict[str, float]:
    """All figures of one hold-out, each row weighted. `*_low` and `*_high` bound the middle 95% of a bootstrap over its
    customers, each drawn with all of his rows: one by one, those of a regular would pass for many people's.

    `profit_bp_rule` is there only where the rule has an answer for every row.
    """
    label, weight, volume, rule_approves = seen.label, seen.weight, seen.amount * seen.weight, seen.rule_approves
    everyone = np.ones(len(label), dtype=bool)
    approve = np.asarray(probability) < economics.break_even
    ranked = RankedScores(label, probability)
    draws = np.random.default_rng(seed)
    customers = numbered(seen.customer_id)
    count = int(customers.max()) + 1
    even = np.full(count, 1 / count)
    resampled = [ranked.auc(draws.multinomial(count, even)[customers] * weight) for _ in range(BOOTSTRAP_ROUNDS)]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    figures = {
        "auc": ranked.auc(weight),
        "auc_low": float(low),
        "auc_high": float(high),
        "ks": ks(label, probability, weight),
        "brier": brier(label, probability, weight),
        "log_loss": weighted_mean(log_losses(label, probability), weight),
        "ece": ece(label, probability, weight),
        "default_rate": weighted_mean(label, weight),
        "mean_probability": weighted_mean(probability, weight),
        "rows": float(len(label)),
        "effective_rows": effective_rows(weight),
        "defaults": float(np.sum(label)),
        "approval_rate": weighted_mean(approve, weight),
        "profit_bp": profit_bp(label, volume, approve, economics),
        "profit_bp_approve_all": profit_bp(label, volume, everyone, economics),
    }
    if (rule_approves >= 0).all():
        figures["profit_bp_rule"] = profit_bp(label, volume, rule_approves == 1, economics)
    return figures
