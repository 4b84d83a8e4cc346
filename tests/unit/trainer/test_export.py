"""Exported graphs and explanation tables against the libraries that trained the models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.examples import Examples
from services.trainer.export import (
    MAX_DIFFERENCE,
    ExportRefused,
    check_parity,
    golden_vectors,
    graph_of,
    run_onnx,
    with_missing_values,
)
from services.trainer.families import ModelFamily
from services.trainer.families.linear import Logistic
from services.trainer.families.xgboost_trees import XGBoostTrees
from shared.deciding.onnx_model import OnnxModel
from shared.feature_definitions import FEATURE_NAMES, FEATURE_SET_VERSION
from shared.model_artifact.explanation import Explanation, contributions
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.manifest import Calibration, DataWindow, Manifest, logit
from tests.unit.trainer.synthetic import ALL, CONDITIONS, NAMES, sample, synthetic_examples


def boosted(depth: int, seed: int = 1) -> XGBoostTrees:
    return XGBoostTrees(ALL, replace(CONDITIONS, seed=seed), depth=depth)


def fit(candidate: ModelFamily, seed: int = 1) -> Examples:
    """Fits it, and returns the validation part."""
    examples = synthetic_examples(6000, seed)
    train, validate = examples.take(slice(0, 4000)), examples.take(slice(4000, 6000))
    candidate.fit(NAMES, sample(train), sample(validate))
    return validate


def explained(candidate: ModelFamily) -> Explanation:
    found = candidate.explanation()
    assert found is not None
    return found


BUILD: dict[str, Callable[[], ModelFamily]] = {
    "logistic": lambda: Logistic(ALL, CONDITIONS),
    "depth 1": lambda: boosted(1),
    "depth 2": lambda: boosted(2),
    "depth 3": lambda: boosted(3),
}
Fitted = tuple[ModelFamily, NDArray[np.float32]]


@pytest.fixture(scope="module", params=list(BUILD))
def fitted(request: pytest.FixtureRequest) -> Fitted:
    candidate = BUILD[request.param]()
    return candidate, fit(candidate).features


class Speechless(Logistic):
    """Has an answer for no row that lacks something."""

    def raw_probability(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.where(np.isnan(matrix).any(axis=1), np.nan, super().raw_probability(matrix))

    def export_onnx(self) -> bytes:
        raise RuntimeError("no converter")


def test_a_library_without_an_answer_is_not_answered_alike() -> None:
    candidate = Speechless(ALL, CONDITIONS)
    holdout = fit(candidate).features
    with pytest.raises(ExportRefused, match="off by up to nan"):
        check_parity(candidate, Logistic.export_onnx(candidate), holdout)


def test_a_candidate_whose_converter_fails_is_refused() -> None:
    with pytest.raises(ExportRefused, match="can't be exported: RuntimeError"):
        graph_of(Speechless(ALL, CONDITIONS))


def test_the_exported_graph_answers_as_the_library_does_missing_values_included(fitted: Fitted) -> None:
    candidate, holdout = fitted
    assert np.isnan(holdout).any()
    assert check_parity(candidate, candidate.export_onnx(), holdout) < MAX_DIFFERENCE / 10


def test_the_same_fit_exports_the_same_bytes(fitted: Fitted) -> None:
    candidate, _ = fitted
    assert candidate.export_onnx() == candidate.export_onnx()


def test_contributions_and_base_sum_to_the_log_odds_of_the_raw_probability(fitted: Fitted) -> None:
    candidate, holdout = fitted
    matrix = with_missing_values(holdout)
    base, parts = contributions(explained(candidate), matrix)
    assert np.abs(base + parts.sum(axis=1) - logit(candidate.raw_probability(matrix))).max() < 1e-5


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_tree_tables_are_xgboosts_own_contributions(depth: int) -> None:
    import xgboost

    examples = synthetic_examples(6000)
    candidate = boosted(depth)
    fit(candidate)
    matrix = with_missing_values(examples.features)
    model = candidate._model
    theirs = model.get_booster().predict(
        xgboost.DMatrix(matrix), pred_contribs=True, iteration_range=(0, model.best_iteration + 1)
    )
    base, ours = contributions(explained(candidate), matrix)
    assert np.abs(ours - theirs[:, :-1]).max() < 1e-6
    assert np.abs(base - theirs[:, -1].astype(np.float64)).max() < 1e-6


def test_a_row_gets_the_same_bits_alone_and_among_any_others(fitted: Fitted) -> None:
    candidate, holdout = fitted
    onnx, rows = candidate.export_onnx(), holdout[:601]
    manifest = Manifest(
        version="0" * 16,
        family=candidate.family,
        feature_set_version=FEATURE_SET_VERSION,
        feature_names=list(FEATURE_NAMES[: len(NAMES)]),
        files={},
        calibration=Calibration(0.8, -0.2),
        metrics={},
        data_window=DataWindow("", "", "", "", "", 1, 1, 1, ""),
        golden=golden_vectors(onnx, Calibration(0.8, -0.2), holdout),
        trained_at="",
    )
    model = OnnxModel(ModelFiles(manifest, onnx, candidate.explanation(), b""))
    alone = [model.score(rows[i : i + 1]) for i in range(len(rows))]
    for size in (2, 3, 16, 20, 100, 500, 601):
        together = [model.score(rows[i : i + size]) for i in range(0, len(rows), size)]
        for told in ("probabilities", "contributions"):
            one, many = (np.concatenate([getattr(each, told) for each in scores]) for scores in (alone, together))
            assert np.array_equal(one, many), (size, told)


def test_a_tree_too_deep_to_tabulate_is_refused() -> None:
    candidate = boosted(4)
    fit(candidate)
    with pytest.raises(ValueError, match="can't be tabulated"):
        candidate.explanation()


def test_a_graph_of_another_fit_does_not_pass_as_this_one(fitted: Fitted) -> None:
    candidate, holdout = fitted
    other = boosted(2, seed=9)
    fit(other, seed=9)
    with pytest.raises(ExportRefused):
        check_parity(candidate, other.export_onnx(), holdout)


def test_golden_vectors_are_what_the_graph_answers_and_hold_a_row_of_nothing_known(fitted: Fitted) -> None:
    candidate, holdout = fitted
    model, calibration = candidate.export_onnx(), Calibration(0.8, -0.2)
    golden = golden_vectors(model, calibration, holdout)
    matrix = np.array([[np.nan if v is None else v for v in row] for row in golden.inputs], dtype=np.float32)
    assert np.isnan(matrix[-1]).all()
    assert np.array_equal(run_onnx(model, matrix), golden.raw)
    assert golden.probabilities == calibration.apply(np.array(golden.raw)).tolist()
    spread = run_onnx(model, holdout)
    assert (min(golden.raw[:-1]), max(golden.raw[:-1])) == (spread.min(), spread.max())
