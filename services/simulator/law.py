"""Who defaults, and when: the probability laws of both generators, as pure functions.

They are public on purpose. From the fields of an event anyone can compute its expected rate, and the AUC of that rate
is the ceiling of what a model can learn: the rest is the toss of a coin. The functions of one argument kind take
floats or arrays of floats alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Number = TypeVar("Number", float, Floats)

CREDIT = {"excellent": 0.1, "good": 0.3, "fair": 0.6, "poor": 0.9}
VERIFICATION = {"verified": 0.1, "partial": 0.4, "unverified": 0.8}
INCOME = {"100k+": 0.1, "75k-100k": 0.2, "50k-75k": 0.3, "25k-50k": 0.6, "<25k": 0.8}
DEVICE_TRUSTED = {True: 0.2, False: 0.7}
PRODUCT_RISK = {"low": 0.1, "medium": 0.3, "high": 0.6}
SCENARIO = {"low_risk_purchase": 0.1, "impulse_purchase": 0.4, "credit_stretched": 0.7, "high_risk_behavior": 0.9}
"""The six visible factors of the score, 0 (safe) to 1. Solved from the recorded events, whose score they give to the
last bit."""

WEIGHTS = (0.3, 0.2, 0.2, 0.1, 0.1, 0.1)
"""Of credit, verification, income, device, product and scenario, in this order: the recorded scores carry the rounding
of just this order of summation."""

ALTERED_WEIGHTS = (0.05, 0.1, 0.05, 0.2, 0.3, 0.3)
"""Where a change of the law leads: away from who the customer is, towards what is bought and how."""

RISK_LEVELS = ((0.3, "low"), (0.6, "medium"), (0.8, "high"), (math.inf, "very_high"))
"""Upper bounds, exclusive."""

PROBABILITY_NOISE = 0.01
"""Standard deviation of the hidden probability around the expected rate."""
LEAST_PROBABILITY, GREATEST_PROBABILITY = 0.001, 0.25
GREATEST_HISTORY_PROBABILITY = 0.75
"""A customer with defaults and a spree is far beyond simtom's cap, which would hide just the effect to be learnt."""

PERIOD_DAYS = 14

FIRST_MISSED_DAYS = {
    4: ((14, 28, 42, 56), (0.20, 0.40, 0.30, 0.10)),
    6: ((14, 28, 42, 56, 70, 84), (0.04, 0.18, 0.29, 0.28, 0.17, 0.04)),
}
"""Days from the purchase to the first missed payment of a loan that defaults, by number of instalments. Together
15 / 49 / 79 / 94 / 99 / 100% of the defaults are known after 14 / 28 / 42 / 56 / 70 / 84 days."""

HISTORY_OFFSET = -1.55
"""Calibrated by trial: 60 days of 1,000 purchases and 150 days of 300 both come to a default rate of 4.5 to 5.5%. It
begins near 3.5%, when nobody has a past, and is level from the second week on."""
HISTORY_LAST_DAY, HISTORY_LAST_WEEK, HISTORY_EXPOSURE, HISTORY_DEFAULTS = 0.9, 0.55, 0.30, 0.45
EXPOSURE_UNIT = 500.0
MOST_DEFAULTS = 3
"""Beyond it further defaults change nothing, so that one bad customer can't spiral away."""


def risk_score(
    credit: Number,
    verification: Number,
    income: Number,
    device: Number,
    product: Number,
    scenario: Number,
    *,
    weights: Sequence[float] = WEIGHTS,
) -> Number:
    """score = 0.3 credit + 0.2 verification + 0.2 income + 0.1 device + 0.1 product + 0.1 scenario."""
    w = weights
    # Written out, for the order of summation decides the last bit.
    return w[0] * credit + w[1] * verification + w[2] * income + w[3] * device + w[4] * product + w[5] * scenario


def risk_level(score: float) -> str:
    """The name of the score's band."""
    return next(name for bound, name in RISK_LEVELS if score < bound)


def expected_rate(score: Number) -> Number:
    """e = 0.005 + 0.195 · (0.05 + 0.9 · score)^1.5: the chance of default given all that an event of `bnpl` shows."""
    inner = 0.05 + 0.9 * score
    result: Number = 0.005 + 0.195 * inner**1.5
    return result


def expected_rate_with_history(
    static_rate: float, purchases_24h: int, purchases_7d: int, open_exposure: float, defaults: int
) -> float:
    """The law of `bnpl_history`, in log-odds:

    logit(e) = logit(static_rate) − 1.55 + 0.9 ln(1 + n24h) + 0.55 ln(1 + n7d) + 0.3 ln(1 + exposure / 500 USD)
               + 0.45 min(defaults, 3)

    `static_rate`: `expected_rate` of the score. `purchases_24h`, `purchases_7d`: the customer's earlier purchases in
    (t − 24 h, t] and (t − 7 d, t]. `open_exposure`: USD of the earlier purchases' instalments that fall due on a later
    UTC day than t's; instalment k of n, an equal share, is due 14 k days after the purchase. `defaults`: earlier loans
    whose first missed payment lies on a UTC day before t's.
    """
    log_odds = (
        math.log(static_rate / (1.0 - static_rate))
        + HISTORY_OFFSET
        + HISTORY_LAST_DAY * math.log1p(purchases_24h)
        + HISTORY_LAST_WEEK * math.log1p(purchases_7d)
        + HISTORY_EXPOSURE * math.log1p(open_exposure / EXPOSURE_UNIT)
        + HISTORY_DEFAULTS * min(defaults, MOST_DEFAULTS)
    )
    return 1.0 / (1.0 + math.exp(-log_odds))


def hidden_probability(expected: Floats, standard_normal: Floats, greatest: float = GREATEST_PROBABILITY) -> Floats:
    """p = clip(e + 0.01 · z, 0.001, greatest): what the label is tossed with, and nobody can see."""
    return np.clip(expected + PROBABILITY_NOISE * standard_normal, LEAST_PROBABILITY, greatest)


def first_missed_day(installments: int, uniform: float) -> int:
    """Days to the first missed payment of a defaulting loan, by inverting the distribution at `uniform` in [0, 1)."""
    days, shares = FIRST_MISSED_DAYS[installments]
    reached = 0.0
    for day, share in zip(days, shares, strict=True):
        reached += share
        if uniform < reached:
            return day
    return days[-1]


def blended_weights(strength: float) -> tuple[float, ...]:
    """Weights moved by `strength` (0 to 1) from the usual ones to ALTERED_WEIGHTS."""
    return tuple((1.0 - strength) * old + strength * new for old, new in zip(WEIGHTS, ALTERED_WEIGHTS, strict=True))


def altered_rate(rate: Number, strength: float) -> Number:
    """`rate` with its odds multiplied by 1 + strength: the level that a change of the law brings."""
    odds = (1.0 + strength) * rate / (1.0 - rate)
    result: Number = odds / (1.0 + odds)
    return result
