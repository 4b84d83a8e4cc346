"""No part of the stack is needed here, but evidently takes as long to import as all unit tests together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.drift import MIN_ROWS, DriftReport, drift_report
from services.trainer.examples import TrainingRefused

pytestmark = pytest.mark.integration

NAMES = ("amount", "rank", "utilization", "constant", "unknown")


def window(seed: int, *, shift: float = 0.0, known: float = 0.5) -> NDArray[np.float32]:
    draws = np.random.default_rng(seed)
    rows = 2000
    columns = [
        draws.normal(shift, 1, rows),
        draws.integers(0, 3, rows),
        np.where(draws.random(rows) < known, 0.5, np.nan),
        np.ones(rows),
        np.full(rows, np.nan),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def moved() -> DriftReport:
    return drift_report(window(1), window(2, shift=0.5, known=0.9), NAMES, seed=1)


def test_a_moved_mean_and_a_value_known_more_often_are_both_seen(moved: DriftReport) -> None:
    assert set(moved.drifted) == {"amount", "utilization:known"}
    scores = {item.feature: item.score for item in moved.features}
    assert scores["amount"] == pytest.approx(0.5, abs=0.1)


def test_a_report_is_a_page_and_data(moved: DriftReport) -> None:
    assert "<html" in moved.html
    assert json.loads(moved.json)["metrics"]


def test_two_draws_of_one_law_are_no_drift() -> None:
    assert drift_report(window(1), window(2), NAMES, seed=1).drifted == ()


def test_in_small_windows_chance_is_no_drift_nor_is_one_value_that_is_missing() -> None:
    rare = window(1)
    rare[0, 0] = np.nan
    assert drift_report(rare, window(2), NAMES, seed=1).drifted == ()
    found = [drift_report(window(10 + seed)[:150], window(20 + seed)[:150], NAMES, seed=1) for seed in range(5)]
    assert [each.drifted for each in found] == [()] * 5


def test_a_window_too_small_to_say_anything_is_refused() -> None:
    with pytest.raises(TrainingRefused, match="later window"):
        drift_report(window(1), window(2)[: MIN_ROWS - 1], NAMES, seed=1)
