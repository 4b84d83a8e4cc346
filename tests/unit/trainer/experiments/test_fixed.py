from __future__ import annotations

import numpy as np
import pytest

from services.trainer.experiments import fixed
from services.trainer.experiments.evidence import Count


def test_newcombes_interval_is_that_of_his_paper() -> None:
    """Newcombe (1998), table II, (a) and (h), method 10."""
    assert fixed.difference(Count(56, 70), Count(48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert fixed.difference(Count(10, 10), Count(0, 10)) == pytest.approx((0.6075, 1.0), abs=5e-5)


def test_chi_square_is_scipys() -> None:
    from scipy.stats import chisquare

    counts, shares = [870, 130], [0.9, 0.1]
    assert fixed.ratio_p(counts, shares) == pytest.approx(chisquare(counts, [900, 100]).pvalue)
    assert fixed.ratio_p([0, 0], shares) is None


def test_where_nothing_differs_p_values_are_small_as_often_as_they_say() -> None:
    draws = np.random.default_rng(1)
    pairs = draws.binomial([[400, 4000]] * 2000, 0.2)
    found = [fixed.difference_p(Count(int(one), 400), Count(int(other), 4000)) for one, other in pairs]
    assert np.mean([p is not None and p < 0.05 for p in found]) == pytest.approx(0.05, abs=0.015)


def test_the_difference_of_means_lies_in_its_interval_about_as_often_as_it_says() -> None:
    draws, held = np.random.default_rng(1), 0
    for _ in range(1000):
        found = fixed.mean_difference(draws.exponential(2.0, 300), draws.exponential(1.0, 900))
        assert found is not None
        held += found[1][0] <= 1.0 <= found[1][1]
    assert held / 1000 == pytest.approx(0.95, abs=0.02)


def test_of_nobody_nothing_is_said() -> None:
    assert fixed.difference(Count(0, 0), Count(1, 2)) is None
    assert fixed.difference_p(Count(0, 0), Count(1, 2)) is None
    assert fixed.mean_difference(np.array([1.0]), np.array([1.0, 2.0])) is None
    assert fixed.difference_p(Count(0, 5), Count(0, 5)) == 1.0
