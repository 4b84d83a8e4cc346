"""Tables of contributions against each library's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.families import ModelFamily
from services.trainer.families.graph import trees
from services.trainer.families.tree_tables import LEAF, Tree, below, tree_tables
from shared.model_artifact.explanation import Explainer, Explanation
from shared.model_artifact.manifest import sigmoid
from tests.unit.trainer.families.fitted import fitted, parts


def explained(candidate: ModelFamily) -> Explanation:
    found = candidate.explanation()
    assert found is not None
    return found


def theirs(candidate: Any, matrix: Any) -> Any:
    """[n, F + 1] contributions and base value, as the library itself gives them."""
    if candidate.family == "lightgbm":
        return candidate._model.predict(matrix, pred_contrib=True)
    from catboost import Pool

    return candidate._model.get_feature_importance(Pool(matrix), type="ShapValues")


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("family", ["lightgbm", "catboost"])
def test_tables_are_the_librarys_own_contributions(family: str, depth: int) -> None:
    candidate = fitted(f"{family} {depth}")
    # What it was trained on: CatBoost weighs its leaves anew by the rows that it is asked about.
    matrix = parts()[0].features
    explainer = Explainer(explained(candidate), matrix.shape[1])
    expected = theirs(candidate, matrix)
    assert np.abs(explainer.contributions(matrix) - expected[:, :-1]).max() < 1e-6
    assert np.abs(explainer.base - expected[:, -1]).max() < 1e-6


@given(st.floats(-1e30, 1e30), st.integers(-3, 3))
def test_less_than_the_threshold_is_at_most_the_limit_for_every_float(limit: float, steps: int) -> None:
    value = np.float32(limit)
    for _ in range(abs(steps)):
        value = np.nextafter(value, np.float32(np.sign(steps) * np.inf))
    assert (value < np.float32(below(limit))) == (float(value) <= limit)


def test_a_node_that_no_training_weight_reached_still_adds_up() -> None:
    tree = Tree(
        left=[1, 3, 5, LEAF, LEAF, LEAF, LEAF],
        right=[2, 4, 6, LEAF, LEAF, LEAF, LEAF],
        feature=[0, 1, 1, 0, 0, 0, 0],
        threshold=[0.5, 0.5, 0.5, -1.0, 0.25, 0.5, 2.0],
        default_left=[True, False, True, False, False, False, False],
        weight=[10.0, 10.0, 0.0, 4.0, 6.0, 0.0, 0.0],
    )
    matrix = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [np.nan, 1], [1, np.nan]], dtype=np.float32)
    explainer = Explainer(tree_tables([tree], -2.0), 2)
    import onnxruntime

    session = onnxruntime.InferenceSession(trees([tree], -2.0, 2), providers=["CPUExecutionProvider"])
    served = session.run(["probabilities"], {"features": matrix})[0][:, 1]
    np.testing.assert_allclose(sigmoid(explainer.base + explainer.contributions(matrix).sum(axis=1)), served, atol=1e-6)
    np.testing.assert_allclose(served, sigmoid(np.array([-3.0, -1.75, -1.5, 0.0, -1.75, -1.5])), atol=1e-6)
