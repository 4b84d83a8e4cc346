"""Scores against values worked out by hand or by scipy, and the p-value against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.trainer.monitoring.distance import chance, jensen_shannon, population_stability
from services.trainer.monitoring.repeats import sketch, variance_factor

counts = arrays(np.int64, 6, elements=st.integers(0, 2000))


def test_the_stability_index_is_that_of_the_textbook() -> None:
    before, after = np.array([100_000, 300_000, 600_000]), np.array([200_000, 300_000, 500_000])
    known = (0.2 - 0.1) * np.log(0.2 / 0.1) + (0.5 - 0.6) * np.log(0.5 / 0.6)
    assert population_stability(before, after) == pytest.approx(known, abs=1e-4)


def test_the_divergence_is_the_square_of_scipys_distance() -> None:
    from scipy.spatial.distance import jensenshannon

    before, after = np.array([10, 30, 60, 0]), np.array([5, 5, 80, 10])
    assert jensen_shannon(before, after) == pytest.approx(float(jensenshannon(before, after, base=2)) ** 2)


def test_histograms_without_a_bin_in_common_are_one_bit_apart() -> None:
    assert jensen_shannon(np.array([5, 0]), np.array([0, 9])) == pytest.approx(1.0)


def test_the_p_value_of_independent_rows_is_scipys() -> None:
    from scipy.stats import chi2_contingency

    before, after = np.array([100, 300, 600]), np.array([120, 290, 500])
    known = chi2_contingency(np.stack([before, after]), lambda_="log-likelihood").pvalue
    assert chance(before, after, 1 / before.sum() + 1 / after.sum()) == pytest.approx(known)


@given(counts, counts)
def test_no_distance_is_negative_or_endless_and_equal_histograms_are_none_apart(
    one: np.ndarray, other: np.ndarray
) -> None:
    for distance in (population_stability, jensen_shannon):
        if one.sum() and other.sum():
            assert 0 <= distance(one, other) + 1e-12 < np.inf
            assert distance(one, other) == pytest.approx(distance(other, one))
            assert distance(one, one) == pytest.approx(0)


def test_repeated_customers_do_not_make_chance_look_like_change() -> None:
    """Attributes of customers who each come some ten times: of the naive p-values far too many are small, of those with
    the variance factor not more than promised."""
    draws = np.random.default_rng(20260601)
    naive, careful, runs = 0, 0, 60
    for run in range(runs):
        histograms, sketches = [], []
        for half in range(2):
            customers = draws.integers(0, 100, 1000)
            kind = draws.integers(0, 4, 100)
            histograms.append(np.bincount(kind[customers], minlength=4).astype(np.int64))
            sketches.append(sketch(np.array([f"{run}-{half}-{customer}" for customer in customers], object)))
        one, other = histograms
        naive += chance(one, other, 2 / 1000) < 0.05
        careful += chance(one, other, variance_factor(sketches[0], 1000, sketches[1], 1000)) < 0.05
    assert naive / runs > 0.5
    assert careful / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
