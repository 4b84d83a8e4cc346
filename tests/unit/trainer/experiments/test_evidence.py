"""What the statistics promise, by simulation: seeds are fixed, so a failure is one of the code."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.experiments import evidence
from services.trainer.experiments.evidence import Count

ALPHA = 0.05
ENOUGH = -log(ALPHA)
RUNS = 150
SPREAD = 3.0 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5
"""Three standard errors of a share of false alarms over so many runs: beyond it, chance is no excuse."""

counts = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: Count(pair[0], sum(pair)))


def ever_alarmed(seed: int, one: float, other: float, margin: float, share: float, length: int) -> bool:
    """Whether one experiment, looked at after each customer, ever shows an excess."""
    draws = np.random.default_rng(seed)
    arm, hit = draws.random(length) < share, draws.random(length)
    first, second = Count(0, 0), Count(0, 0)
    for mine, drawn in zip(arm, hit, strict=True):
        if mine:
            first = Count(first.hits + int(drawn < one), first.trials + 1)
        else:
            second = Count(second.hits + int(drawn < other), second.trials + 1)
        if first.rate > second.rate + margin and evidence.of_excess(first, second, margin) >= ENOUGH:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize(("one", "other", "margin"), [(0.1, 0.1, 0.0), (0.15, 0.1, 0.05), (0.5, 0.5, 0.0)])
def test_over_a_thousand_experiments_too(one: float, other: float, margin: float, share: float) -> None:
    alarms = sum(ever_alarmed(seed, one, other, margin, share, 500) for seed in range(1000, 2000))
    assert alarms / 1000 <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / 1000) ** 0.5


@pytest.mark.parametrize(("one", "other", "margin", "share"), [(0.1, 0.1, 0.0, 0.5), (0.15, 0.1, 0.05, 0.2)])
def test_looked_at_after_every_customer_a_kept_limit_is_rarely_called_broken(
    one: float, other: float, margin: float, share: float
) -> None:
    alarms = sum(ever_alarmed(seed, one, other, margin, share, 200) for seed in range(RUNS))
    assert alarms / RUNS <= ALPHA + SPREAD


def test_a_test_with_a_fixed_horizon_looked_at_as_often_calls_it_broken_far_more_often() -> None:
    """Why `evidence` is used: the usual p-value, watched, is wrong several times as often as it says."""
    from services.trainer.experiments import fixed

    alarms = 0
    for seed in range(RUNS):
        draws = np.random.default_rng(seed)
        hits = np.cumsum(draws.random((2, 300)) < 0.1, axis=1)
        ps = [
            fixed.difference_p(Count(int(hits[0, n - 1]), n), Count(int(hits[1, n - 1]), n)) for n in range(20, 301, 5)
        ]
        alarms += min(p for p in ps if p is not None) < ALPHA
    assert alarms / RUNS > 2.5 * ALPHA


def test_a_gross_excess_is_found_within_a_few_customers() -> None:
    needed = [
        next(n for n in range(1, 200) if evidence.of_excess(Count(round(0.95 * n), n), Count(20, 200), 0.05) >= level)
        for level in (ENOUGH, -log(ALPHA / 50))
    ]
    assert needed[0] <= 6
    assert needed[1] <= 9


@given(counts, counts, st.floats(-0.5, 0.5))
def test_evidence_of_an_excess_falls_as_the_margin_grows(one: Count, other: Count, margin: float) -> None:
    assert evidence.of_excess(one, other, margin) >= evidence.of_excess(one, other, margin + 0.05) - 1e-8


@given(counts, counts)
def test_without_an_excess_there_is_no_evidence_of_one(one: Count, other: Count) -> None:
    margin = max(0.0, one.rate - other.rate)
    assert evidence.of_excess(one, other, margin) <= 1e-9


@given(counts, counts)
def test_bounds_of_a_difference_hold_what_was_seen_and_lie_where_the_test_changes_its_mind(
    one: Count, other: Count
) -> None:
    low, high = evidence.difference(one, other, ALPHA)
    assert -1.0 <= low <= one.rate - other.rate + 1e-9
    assert one.rate - other.rate - 1e-9 <= high <= 1.0
    if low > -1.0 + 1e-6:
        assert evidence.of_excess(one, other, low - 1e-6) >= -log(ALPHA / 2) - 1e-6
        assert evidence.of_excess(one, other, low + 1e-4) < -log(ALPHA / 2)


def test_the_best_pair_of_rates_is_found_where_a_grid_finds_it() -> None:
    one, other, margin = Count(14, 20), Count(9, 60), 0.1
    rates = np.linspace(0.0005, 0.8995, 200_001)
    grid = (
        one.hits * np.log(rates + margin)
        + one.misses * np.log(1 - rates - margin)
        + other.hits * np.log(rates)
        + other.misses * np.log(1 - rates)
    )
    assert evidence._best_apart(one, other, margin) == pytest.approx(grid.max(), abs=1e-7)


def test_planned_shares_are_rarely_called_missed_and_a_broken_assignment_is() -> None:
    shares = (0.9, 0.1)

    def ever(seed: int, share: float, length: int) -> bool:
        canary = np.cumsum(np.random.default_rng(seed).random(length) < share)
        return any(evidence.of_ratio((n - int(c), int(c)), shares) >= ENOUGH for n, c in enumerate(canary, 1))

    assert sum(ever(seed, 0.1, 500) for seed in range(RUNS)) / RUNS <= ALPHA + SPREAD
    assert all(ever(seed, 0.2, 1000) for seed in range(50))


def test_probabilities_within_the_tolerance_are_rarely_called_wrong_and_wrong_ones_are() -> None:
    def ever(seed: int, shift: float, length: int, side: int) -> bool:
        draws = np.random.default_rng(seed)
        log_odds = draws.normal(-2.5, 0.7, length)
        defaulted = draws.random(length) < 1 / (1 + np.exp(-(log_odds + shift)))
        said = 1 / (1 + np.exp(-log_odds))
        return any(
            evidence.of_miscalibration(said[:n], defaulted[:n], 0.3)[side] >= ENOUGH for n in range(25, length + 1, 25)
        )

    # The worst case that is tolerated, on both sides; then gross errors.
    for shift, side in ((0.3, 0), (-0.3, 1)):
        assert sum(ever(seed, shift, 1000, side) for seed in range(200)) / 200 <= ALPHA + SPREAD * 2**0.5
    assert sum(ever(seed, 1.5, 600, 0) for seed in range(50)) >= 49
    assert sum(ever(seed, -2.0, 2000, 1) for seed in range(50)) >= 49
