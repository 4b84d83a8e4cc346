"""Evidence that may be looked at as often as one likes.

A test with a fixed horizon, looked at every minute, raises a false alarm sooner or later. These are test martingales:
their expected value stays at 1 or below as long as the null holds, so that by Ville's inequality the chance that one
ever exceeds 1 / alpha, at any look, is at most alpha. Evidence is given as its natural logarithm; it is enough for
alpha where it reaches -log(alpha).

Rates: for one rate p, the likelihood of what was seen, averaged over all rates, divided by its likelihood at p
(Robbins, "Statistical methods related to the law of the iterated logarithm", 1970; Howard, Ramdas, McAuliffe and
Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics, 2021, whose
beta-binomial mixture it is). For two rates the product of both, at that pair of rates within the null that explains
best what was seen (Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference",
Statistical Science, 2023).

What is asked of the data: one observation for each customer, since a customer's purchases resemble each other, and
rates that don't depend on what was seen before. A rate that drifts for all arms alike is no such dependence; a test
shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import lgamma, log

import numpy as np
from numpy.typing import NDArray

from shared.model_artifact.manifest import logit

PRIOR = 0.5
"""Of both counts of the mixture over rates (Jeffreys). It decides how soon, never whether, a false alarm is bounded."""

GOLDEN_SECTION = (5**0.5 - 1) / 2
STEPS = 40
"""Of each search: every one shortens what is left by a third or more, in the end to a few billionths."""

RATIO_WEIGHT = 100.0
"""Customers' worth of belief in the planned shares, in the mixture over shares: tuned to deviations of some tenths."""

SHIFTS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""By how many log-odds beyond what is tolerated a model may be wrong: the mixture covers subtle and gross errors."""

BETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.9)
"""Shares of the capital; small ones find small differences, the large ones gross ones soon. Never all of it: one value
would end the game."""


@dataclass(frozen=True)
class Count:
    """How many of so many customers."""

    hits: int
    trials: int

    @property
    def misses(self) -> int:
        return self.trials - self.hits

    @property
    def rate(self) -> float:
        """0 of nobody."""
        return self.hits / self.trials if self.trials else 0.0


def _likelihood(count: Count, rate: float) -> float:
    """Its logarithm. Rates outside of the unit interval are impossible, as is 0 where there were hits."""
    parts = ((count.hits, rate), (count.misses, 1.0 - rate))
    if any(number and share <= 0.0 for number, share in parts):
        return -np.inf
    return sum(number * log(share) for number, share in parts if number)


def _averaged(count: Count) -> float:
    """The logarithm of the likelihood averaged over all rates."""
    both = lgamma(2 * PRIOR) - lgamma(count.trials + 2 * PRIOR)
    return both + lgamma(count.hits + PRIOR) + lgamma(count.misses + PRIOR) - 2 * lgamma(PRIOR)


def of_excess(one: Count, other: Count, margin: float) -> float:
    """Evidence against: the rate of `one` is at most that of `other` plus `margin`."""
    if one.rate <= other.rate + margin:
        best = _likelihood(one, one.rate) + _likelihood(other, other.rate)
    else:
        best = _best_apart(one, other, margin)
    return _averaged(one) + _averaged(other) - best


def difference(one: Count, other: Count, alpha: float) -> tuple[float, float]:
    """Bounds of the rate of `one` less that of `other`: at all looks together, they miss it with a chance of at most
    `alpha`. Each side takes half."""
    enough = -log(alpha / 2)
    found = one.rate - other.rate
    low = _last(lambda margin: of_excess(one, other, margin) >= enough, -1.0, found)
    high = -_last(lambda margin: of_excess(other, one, margin) >= enough, -1.0, -found)
    return low, high


def _best_apart(one: Count, other: Count, margin: float) -> float:
    """The highest log-likelihood of rates that are exactly `margin` apart; it has one peak between its ends."""

    def value(rate: float) -> float:
        return _likelihood(one, rate + margin) + _likelihood(other, rate)

    low, high = max(0.0, -margin), min(1.0, 1.0 - margin)
    left, right = high - GOLDEN_SECTION * (high - low), low + GOLDEN_SECTION * (high - low)
    at_left, at_right = value(left), value(right)
    for _ in range(STEPS):
        if at_left < at_right:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN_SECTION * (high - low)
            at_right = value(right)
        else:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN_SECTION * (high - low)
            at_left = value(left)
    return max(at_left, at_right)


def _last(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where `holds`, true up to some place, stops being true; `low` where it never is."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def of_ratio(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Evidence against: customers fall into the arms with these shares.

    A Dirichlet mixture over shares, around the planned ones (Lindon and Malek, "Anytime-valid inference for multinomial
    count data", 2022).
    """
    prior = [RATIO_WEIGHT * share for share in shares]
    averaged = lgamma(sum(prior)) - lgamma(sum(prior) + sum(counts))
    for count, weight, share in zip(counts, prior, shares, strict=True):
        averaged += lgamma(count + weight) - lgamma(weight) - count * log(share)
    return averaged


def of_miscalibration(
    probability: NDArray[np.float64], defaulted: NDArray[np.bool_], tolerance: float
) -> tuple[float, float]:
    """Evidence that defaults are more, and that they are fewer, than the probabilities said: by more than `tolerance`
    in log-odds.

    Sequential probability ratio tests (Wald, 1945), averaged over `SHIFTS`: each row's outcome under the probability
    moved beyond the tolerance, against it moved by the tolerance. Rows may have any probabilities, and these may follow
    from what was seen before.
    """
    log_odds = logit(probability)
    both = []
    for sign in (1.0, -1.0):
        tolerated = _log_likelihood(log_odds + sign * tolerance, defaulted)
        moved = [_log_likelihood(log_odds + sign * (tolerance + shift), defaulted) - tolerated for shift in SHIFTS]
        both.append(float(np.logaddexp.reduce(moved) - log(len(SHIFTS))))
    return both[0], both[1]


def of_mean(values: NDArray[np.float64], margin: float = 0.0) -> float:
    """Evidence against: the mean of values within [-1, 1], whatever came before, is at most `margin`.

    The capital of one who bets a share of it on each next value, averaged over `BETS` (Waudby-Smith and Ramdas,
    "Estimating means of bounded random variables by betting", Journal of the Royal Statistical Society B, 2024). For
    paired differences: what two models say of the same purchase is no pair of independent rates.
    """
    worst = 1.0 + margin
    grown = [float(np.log1p(bet / worst * (values - margin)).sum()) for bet in BETS]
    return float(np.logaddexp.reduce(grown) - log(len(BETS)))


def _log_likelihood(log_odds: NDArray[np.float64], defaulted: NDArray[np.bool_]) -> float:
    return float(-np.logaddexp(0.0, np.where(defaulted, -log_odds, log_odds)).sum())
