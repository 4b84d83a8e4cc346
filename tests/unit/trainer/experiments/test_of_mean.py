from __future__ import annotations

from math import log

import numpy as np
import pytest

from services.trainer.experiments.evidence import of_mean

ALPHA = 0.05
RUNS, ROWS, LOOKS = 200, 1500, 20


def ever_enough(draws: np.ndarray, margin: float) -> bool:
    """At any of the looks."""
    return any(of_mean(draws[: int(end)], margin) >= -log(ALPHA) for end in np.linspace(50, len(draws), LOOKS))


@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_looked_at_again_and_again_it_accuses_a_mean_within_its_margin_no_more_often_than_stated(
    margin: float,
) -> None:
    """Differences of two models: mostly none, sometimes one way or the other, at the very margin."""
    random = np.random.default_rng(7)
    chances = [0.05, 0.9 - margin, 0.05 + margin]
    alarms = sum(ever_enough(random.choice([-1.0, 0.0, 1.0], ROWS, p=chances), margin) for _ in range(RUNS))
    assert alarms / RUNS <= ALPHA + 0.03  # two standard errors of 200 runs


def test_a_mean_beyond_its_margin_is_found_soon_and_a_small_one_in_time() -> None:
    random = np.random.default_rng(8)
    gross = random.choice([-1.0, 0.0, 1.0], 300, p=[0.02, 0.28, 0.7])
    assert of_mean(gross[:60], 0.05) > -log(ALPHA)
    subtle = random.normal(0.02, 0.1, 3000).clip(-1, 1)
    assert of_mean(subtle) > -log(ALPHA)
    assert of_mean(-subtle) < 0


def test_nothing_seen_is_no_evidence() -> None:
    assert of_mean(np.empty(0)) == pytest.approx(0.0)
