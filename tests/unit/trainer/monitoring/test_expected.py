"""Estimates from probabilities alone, against every possible outcome and against tossed ones."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.trainer.evaluate import Economics, auc, brier, log_losses, profit_bp, weighted_mean
from services.trainer.monitoring.expected import (
    Expected,
    expected_auc,
    expected_brier,
    expected_default_rate,
    expected_log_loss,
    expected_profit_bp,
)

few = st.lists(
    st.tuples(st.sampled_from([0.05, 0.2, 0.2, 0.5, 0.9]), st.sampled_from([1.0, 4.0])), min_size=2, max_size=7
)

likely = st.sampled_from([0.05, 0.2, 0.5, 0.9])
believed_otherwise = st.lists(st.tuples(likely, likely, st.sampled_from([1.0, 4.0])), min_size=2, max_size=7)


def outcomes(probability: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Each possible outcome of the purchases, with its chance."""
    found = []
    for tossed in product([0, 1], repeat=len(probability)):
        label = np.array(tossed)
        found.append((label, float(np.where(label == 1, probability, 1 - probability).prod())))
    return found


@given(few)
def test_the_expected_auc_is_that_of_all_pairs_over_all_outcomes(rows: list[tuple[float, float]]) -> None:
    said, weight = (np.array(column) for column in zip(*rows, strict=True))
    ordered = pairs = 0.0
    for label, chance in outcomes(said):
        for i in np.flatnonzero(label == 1):
            for j in np.flatnonzero(label == 0):
                both = chance * weight[i] * weight[j]
                pairs += both
                ordered += both * (1.0 if said[i] > said[j] else 0.5 if said[i] == said[j] else 0.0)
    assert expected_auc(said, weight).value == pytest.approx(ordered / pairs)


@given(believed_otherwise)
def test_the_other_figures_are_means_over_all_outcomes_and_their_errors_the_deviations(
    rows: list[tuple[float, float, float]],
) -> None:
    """Of what is said, where something else is believed and comes true."""
    said, believed, weight = (np.array(column) for column in zip(*rows, strict=True))
    amount, economics = np.linspace(20, 300, len(said)), Economics(0.03, 0.6)
    lent = said < economics.break_even
    figures: dict[str, tuple[Expected, Callable[[NDArray[np.int64]], float]]] = {
        "log_loss": (expected_log_loss(said, believed, weight), lambda y: weighted_mean(log_losses(y, said), weight)),
        "brier": (expected_brier(said, believed, weight), lambda y: brier(y, said, weight)),
        "default_rate": (expected_default_rate(believed, weight), lambda y: weighted_mean(y, weight)),
        "profit": (
            expected_profit_bp(said, believed, amount, weight, economics),
            lambda y: profit_bp(y, amount * weight, lent, economics),
        ),
    }
    tossed = outcomes(believed)
    chances = np.array([chance for _, chance in tossed])
    for name, (expected, realized) in figures.items():
        values = np.array([realized(label) for label, _ in tossed])
        mean = float(values @ chances)
        assert expected.value == pytest.approx(mean, abs=1e-9), name
        assert expected.error == pytest.approx(float(((values - mean) ** 2 @ chances) ** 0.5), abs=1e-9), name


def test_realized_aucs_lie_around_the_expected_one_as_far_as_its_error_says() -> None:
    draws = np.random.default_rng(3)
    said = np.round(draws.beta(2, 20, 400), 3)
    weight = np.where(draws.random(400) < 0.1, 4.0, 1.0)
    realized = [auc((draws.random(400) < said).astype(np.int8), said, weight) for _ in range(1500)]
    expected = expected_auc(said, weight)
    assert expected.value == pytest.approx(np.mean(realized), abs=4 * np.std(realized) / 1500**0.5 + 0.001)
    assert expected.error == pytest.approx(np.std(realized), rel=0.1)


def test_without_a_pair_there_is_no_auc() -> None:
    nothing = expected_auc(np.array([0.0, 0.0]), np.ones(2))
    assert np.isnan(nothing.value)
    assert isinstance(nothing, Expected)
