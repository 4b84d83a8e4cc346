from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from shared.model_artifact.explanation import (
    ROWS_AT_ONCE,
    Explainer,
    LinearExplanation,
    TreeNode,
    TreeTable,
    TreeTablesExplanation,
    contributions,
    decode_explanation,
    encode_explanation,
)
from shared.model_artifact.manifest import ArtifactRefused

LINEAR = LinearExplanation(
    impute=[1.0, 5.0], mean=[2.0, 3.0], scale=[0.5, 4.0], coefficients=[0.3, -0.7], intercept=-3.0
)
# One tree: feature 1 < 10 goes left; a missing value goes right. One of a single leaf needs no table.
STUMP = TreeTablesExplanation(
    base=-3.0,
    trees=[TreeTable(nodes=[TreeNode(1, 10.0, False)], features=[1], table=[[0.4], [-0.2]])],
)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=5))
def test_linear_contributions_and_base_sum_to_the_score(rows: list[tuple[float, float]]) -> None:
    matrix = np.asarray(rows, dtype=np.float32)
    base, parts = contributions(LINEAR, matrix)
    score = -3.0 + (matrix[:, 0] - 2.0) / 0.5 * 0.3 + (matrix[:, 1] - 3.0) / 4.0 * -0.7
    assert np.allclose(base + parts.sum(axis=1), score, atol=1e-4)


def test_a_missing_value_counts_as_the_imputed_one() -> None:
    _, missing = contributions(LINEAR, np.asarray([[np.nan, np.nan]]))
    _, imputed = contributions(LINEAR, np.asarray([[1.0, 5.0]]))
    assert np.array_equal(missing, imputed)


def test_a_value_beyond_the_ends_counts_as_the_nearer_of_them() -> None:
    kept = replace(LINEAR, lowest=[0.0, 2.0], highest=[4.0, 6.0])
    beyond, within, ends = ([[-3e38, np.inf], [9.0, 1.0]], [[1.0, 5.5]], [[0.0, 6.0], [4.0, 2.0]])
    assert np.array_equal(contributions(kept, np.asarray(beyond))[1], contributions(LINEAR, np.asarray(ends))[1])
    assert np.array_equal(contributions(kept, np.asarray(within))[1], contributions(LINEAR, np.asarray(within))[1])
    assert decode_explanation(encode_explanation(kept)) == kept
    assert b"est" not in encode_explanation(LINEAR), "one without ends is read by a scorer that knows of none"


@pytest.mark.parametrize(
    ("value", "expected"), [(9.9, -0.2), (10.0, 0.4), (np.nan, 0.4), (np.inf, 0.4), (-np.inf, -0.2)]
)
def test_a_tree_is_looked_up_by_its_outcomes(value: float, expected: float) -> None:
    base, parts = contributions(STUMP, np.asarray([[0.0, value]]))
    assert base == -3.0
    assert parts.tolist() == [[0.0, expected]]


def test_an_ensemble_without_a_split_gives_nothing_to_any_feature() -> None:
    base, parts = contributions(TreeTablesExplanation(base=-2.0, trees=[]), np.zeros((2, 3)))
    assert (base, parts.tolist()) == (-2.0, [[0.0] * 3] * 2)


def test_many_rows_give_what_each_gives_alone() -> None:
    matrix: NDArray[np.float64] = np.stack([np.zeros(2 * ROWS_AT_ONCE + 3), np.arange(2 * ROWS_AT_ONCE + 3)], axis=1)
    parts = Explainer(STUMP, 2).contributions(matrix)
    assert np.array_equal(parts[:, 1], np.where(matrix[:, 1] < 10, -0.2, 0.4))


@pytest.mark.parametrize("explanation", [LINEAR, STUMP])
def test_an_explanation_survives_its_encoding(explanation: LinearExplanation | TreeTablesExplanation) -> None:
    assert decode_explanation(encode_explanation(explanation)) == explanation


@pytest.mark.parametrize("data", [b"", b"{}", b'{"kind":"pickle"}', b'{"kind":"linear"}', b"\xff"])
def test_anything_else_is_refused_as_an_explanation(data: bytes) -> None:
    with pytest.raises(ArtifactRefused):
        decode_explanation(data)


NODE = TreeNode(1, 10.0, False)


@pytest.mark.parametrize(
    "tree",
    [
        TreeTable(nodes=[NODE], features=[1], table=[[0.4]]),
        TreeTable(nodes=[NODE], features=[1], table=[[0.4], [0.1, 0.2]]),
        TreeTable(nodes=[NODE], features=[2], table=[[0.4], [0.1]]),
        TreeTable(nodes=[NODE], features=[0], table=[[0.4], [0.1]]),
        TreeTable(nodes=[NODE] * 8, features=[1], table=[[0.4]] * 256),
    ],
)
def test_a_table_that_does_not_fit_its_tree_is_refused(tree: TreeTable) -> None:
    with pytest.raises(ArtifactRefused):
        Explainer(TreeTablesExplanation(base=0.0, trees=[tree]), 2)


@pytest.mark.parametrize(
    "linear",
    [
        LinearExplanation([0.0], [0.0], [1.0], [1.0], 0.0),
        LinearExplanation([0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0], 0.0),
        LinearExplanation([0.0, 0.0], [0.0, float("inf")], [1.0, 1.0], [1.0, 1.0], 0.0),
        replace(LINEAR, lowest=[0.0]),
        replace(LINEAR, highest=[0.0, float("nan")]),
    ],
)
def test_a_linear_explanation_that_does_not_fit_is_refused(linear: LinearExplanation) -> None:
    with pytest.raises(ArtifactRefused):
        Explainer(linear, 2)


def test_a_matrix_of_other_width_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="2 columns"):
        Explainer(STUMP, 2).contributions(np.zeros((1, 3)))
