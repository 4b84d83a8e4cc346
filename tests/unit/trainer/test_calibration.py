from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.trainer.calibration import MIN_SLOPE, fit_platt
from services.trainer.evaluate import ece
from shared.model_artifact.manifest import sigmoid


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
    label = (draws.random(2000) < raw / 3).astype(np.int8)
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
