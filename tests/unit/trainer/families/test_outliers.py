from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from services.trainer.families import ModelFamily
from services.trainer.families.linear import ElasticNet, Logistic, Ridge
from services.trainer.families.neural_network import NeuralNetwork
from services.trainer.families.outliers import cut, limits_of
from tests.unit.trainer.synthetic import ALL, CONDITIONS, NAMES, sample, synthetic_examples


def test_what_people_do_is_left_as_it_is() -> None:
    draws = np.random.default_rng(1)
    matrix = np.stack(
        [draws.lognormal(4, 1.5, 5000), draws.integers(0, 3, 5000), np.where(draws.random(5000) < 2e-4, 1.0, 0.0)],
        axis=1,
    )
    matrix[::7, 0] = np.nan
    np.testing.assert_array_equal(cut(matrix, limits_of(matrix)), matrix)


def test_a_column_without_anything_or_of_few_rows_has_no_limit() -> None:
    assert np.isinf(limits_of(np.full((5000, 1), np.nan))).all()
    assert np.isinf(limits_of(np.arange(30.0)[:, None])).all()


@pytest.mark.parametrize("family", [Logistic, Ridge, ElasticNet, NeuralNetwork])
def test_one_row_does_not_take_a_feature_from_everybody(family: type[ModelFamily]) -> None:
    """A door that bounds a number from below only lets it in."""
    examples = synthetic_examples(6000, 1)
    train, validate = examples.take(slice(0, 4000)), examples.take(slice(4000, 6000))
    figures = []
    for worst in (None, 1e30):
        learnt = sample(train)
        if worst is not None:
            learnt.matrix[7] = worst
        candidate = family(ALL, CONDITIONS)
        candidate.fit(NAMES, learnt, sample(validate))
        figures.append(roc_auc_score(validate.label, candidate.raw_probability(sample(validate).matrix)))
    assert figures[0] > 0.7
    assert figures[1] == pytest.approx(figures[0], abs=0.02)
