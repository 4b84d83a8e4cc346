from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.trainer.calibration import MIN_SLOPE, fit_platt, fit_platt_near_one, slope_and_intercept
from services.trainer.evaluate import ece
from shared.model_artifact.manifest import logit, sigmoid
from tests.unit.trainer.synthetic import said_and_outcomes


@given(st.floats(0.3, 3.0), st.floats(-3.0, 1.0), st.integers(0, 1000))
@example(0.375, 1.0, 0)  # whole Newton steps swing here and never arrive
@settings(max_examples=25, deadline=None)
def test_a_known_distortion_is_found_and_undone(slope: float, intercept: float, seed: int) -> None:
    draws = np.random.default_rng(seed)
    scores = draws.normal(-1.0, 1.5, 20_000)
    truth = sigmoid(slope * scores + intercept)
    label = (draws.random(20_000) < truth).astype(np.int8)
    found = fit_platt(sigmoid(scores), label, np.ones(20_000))
    assert found.slope == pytest.approx(slope, rel=0.25)
    assert np.abs(found.apply(sigmoid(scores)) - truth).mean() < 0.02


def test_the_calibrated_mean_is_the_default_rate() -> None:
    draws = np.random.default_rng(1)
    raw = draws.uniform(0.1, 0.6, 50_000)
    label = (draws.random(50_000) < raw / 6).astype(np.int8)
    calibrated = fit_platt(raw, label, np.ones(50_000)).apply(raw)
    assert calibrated.mean() == pytest.approx(label.mean(), abs=1e-4)
    assert ece(label, calibrated) < 0.01 < ece(label, raw)


def test_scores_worth_nothing_are_flattened_but_never_reversed() -> None:
    draws = np.random.default_rng(2)
    raw = draws.uniform(0.02, 0.3, 5000)
    label = (draws.random(5000) < 0.3 - raw).astype(np.int8)
    found = fit_platt(raw, label, np.ones(5000))
    assert found.slope == MIN_SLOPE
    assert found.apply(raw).mean() == pytest.approx(label.mean(), abs=1e-3)


@pytest.mark.parametrize("raw", [np.full(100, 0.05), np.linspace(0.0, 1.0, 100)])
def test_hopeless_scores_still_give_finite_numbers(raw: np.typing.NDArray[np.float64]) -> None:
    label = (np.arange(100) >= 95).astype(np.int8)
    found = fit_platt(raw, label, np.ones(100))
    assert np.isfinite([found.slope, found.intercept]).all()
    assert np.isfinite(found.apply(raw)).all()


def test_a_row_of_weight_three_is_three_rows() -> None:
    draws = np.random.default_rng(3)
    raw, times = draws.uniform(0.01, 0.4, 2000), draws.integers(1, 4, 2000)
    label = (draws.random(2000) < sigmoid(2 * logit(raw) + 1)).astype(np.int8)  # clearly not of slope 1
    one = fit_platt(raw, label, times.astype(np.float64))
    other = fit_platt(raw.repeat(times), label.repeat(times), np.ones(times.sum()))
    # The smoothing of the labels counts rows, not weights.
    assert (one.slope, one.intercept) == pytest.approx((other.slope, other.intercept), abs=0.02)


def test_a_slope_is_believed_where_it_is_clear() -> None:
    draws = np.random.default_rng(7)

    def slope(rows: int, spread: float) -> float:
        scores = draws.normal(-3.0, spread, rows)
        label = (draws.random(rows) < sigmoid(-3.0 + 1.5 * (scores + 3.0))).astype(np.int8)
        return fit_platt(sigmoid(scores), label, np.ones(rows)).slope

    assert sum(slope(2_000, spread=0.3) == 1.0 for _ in range(20)) >= 8  # a weak signal, a hundred defaults
    assert 1.3 < slope(20_000, spread=1.0) < 1.7


def test_a_few_rows_that_stand_for_many_do_not_pass_for_many() -> None:
    """As of what was approved by chance: what is calibrated is hardly ever found to be otherwise."""
    weight = np.where(np.arange(8000) % 33 == 0, 20.0, 1.0)
    slopes = [fit_platt(*said_and_outcomes(8000, seed), weight).slope for seed in range(40)]
    assert sum(slope != 1.0 for slope in slopes) <= 6


def test_nor_do_they_pull_a_slope_that_is_drawn_towards_one() -> None:
    weight = np.where(np.arange(8000) % 33 == 0, 20.0, 1.0)
    drawn = [said_and_outcomes(8000, seed) for seed in range(40)]
    far = [abs(fit_platt_near_one(*each, weight, 0.08).slope - 1.0) for each in drawn]
    as_many = [abs(fit_platt_near_one(*each, weight * 4, 0.08).slope - 1.0) for each in drawn]
    assert np.mean(far) < 0.05
    assert far == pytest.approx(as_many, abs=1e-6), "their scale says nothing"


def test_a_slope_to_measure_by_is_what_it_is() -> None:
    """Not 1 for want of proof."""
    said, label = said_and_outcomes(6000, 3, slope=0.9)
    assert fit_platt(said, label, np.ones(6000)).slope == 1.0
    slope, intercept = slope_and_intercept(said, label, np.ones(6000))
    assert slope != 1.0
    assert sigmoid(slope * logit(said) + intercept).mean() == pytest.approx(label.mean(), abs=1e-3)
