from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.trainer.families import Sample, signed
from services.trainer.families.linear import Logistic, Ridge
from shared.model_artifact.manifest import sigmoid
from tests.unit.trainer.families.fitted import fitted, parts

FREE = (0, 0, 0)


def rows(count: int = 4000) -> Sample:
    """Standardised inputs, of which the last tells nothing."""
    draws = np.random.default_rng(1)
    inputs = draws.normal(size=(count, 3))
    label = draws.random(count) < sigmoid(0.8 * inputs[:, 0] - 0.4 * inputs[:, 1] - 2)
    return Sample(inputs, label.astype(np.int8), np.ones(count))


def test_without_penalty_or_signs_they_are_scikit_learns_own() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.linear_model import Ridge as LeastSquares

    sample = rows()
    inputs, label = sample.matrix, sample.label
    found, intercept = signed.logistic(sample, FREE, 1e-9)
    plain = LogisticRegression(C=1e9, tol=1e-10).fit(inputs, label)
    np.testing.assert_allclose([*found, intercept], [*plain.coef_[0], *plain.intercept_], atol=1e-3)
    found, intercept = signed.least_squares(sample, FREE, 5.0)
    squares = LeastSquares(alpha=5.0).fit(inputs, label)
    np.testing.assert_allclose([*found, intercept], [*squares.coef_, squares.intercept_], atol=1e-4)


def test_the_elastic_net_is_scikit_learns_own_too() -> None:
    from sklearn.linear_model import LogisticRegression

    sample = rows()
    found, intercept = signed.elastic_net(sample, FREE, 20.0, 20.0)
    theirs = LogisticRegression(C=1 / 40, l1_ratio=0.5, solver="saga", tol=1e-8, max_iter=10_000)
    theirs.fit(sample.matrix, sample.label)
    # saga does not penalise the intercept either.
    np.testing.assert_allclose([*found, intercept], [*theirs.coef_[0], *theirs.intercept_], atol=5e-3)


def test_a_strong_penalty_leaves_what_tells_nothing_at_exactly_zero() -> None:
    (first, second, third), _ = signed.elastic_net(rows(), FREE, 60.0, 1.0)
    assert (first > 0, second < 0, third) == (True, True, 0.0)


@pytest.mark.parametrize("solve", ["logistic", "least_squares", "elastic_net"])
def test_a_row_of_weight_three_is_three_rows(solve: str) -> None:
    sample = rows(1000)
    times = np.random.default_rng(2).integers(1, 4, len(sample.label))
    repeated = Sample(
        sample.matrix.repeat(times, axis=0), sample.label.repeat(times), np.ones(times.sum(), dtype=np.float64)
    )
    penalties = (10.0, 10.0) if solve == "elastic_net" else (10.0,)
    (one, level), (other, other_level) = (
        getattr(signed, solve)(each, FREE, *penalties)
        for each in (replace(sample, weight=times.astype(np.float64)), repeated)
    )
    np.testing.assert_allclose([*one, level], [*other, other_level], atol=1e-4)


@pytest.mark.parametrize("solve", ["logistic", "least_squares", "elastic_net"])
def test_no_coefficient_goes_against_its_sign(solve: str) -> None:
    penalties = (1.0, 1.0) if solve == "elastic_net" else (1.0,)
    (first, second, _), _ = getattr(signed, solve)(rows(), (-1, 1, 0), *penalties)
    assert (first, second) == (0.0, 0.0)


def test_ridge_read_as_log_odds_ranks_as_the_logistic_regression_and_keeps_the_base_rate() -> None:
    train, held = parts()
    ridge, logistic = (fitted(name).raw_probability(held.features) for name in ("ridge", "logistic"))
    assert np.corrcoef(np.argsort(np.argsort(ridge)), np.argsort(np.argsort(logistic)))[0, 1] > 0.995
    middle = fitted("ridge").raw_probability(train.features)
    assert np.median(middle) == pytest.approx(float(train.label.mean()), abs=0.05)
    assert Ridge.family != Logistic.family
