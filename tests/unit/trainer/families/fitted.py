"""Families, fitted on the synthetic purchases."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from services.trainer.examples import Examples
from services.trainer.export import golden_vectors
from services.trainer.families import FamilyRefused, ModelFamily
from services.trainer.families.catboost_trees import CatBoostTrees
from services.trainer.families.ensemble import Ensemble
from services.trainer.families.lightgbm_trees import LightGBMTrees
from services.trainer.families.linear import ElasticNet, Logistic, Ridge
from services.trainer.families.neural_network import NeuralNetwork
from services.trainer.families.xgboost_trees import XGBoostTrees
from shared.deciding.onnx_model import OnnxModel
from shared.feature_definitions import FEATURE_NAMES, FEATURE_SET_VERSION
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.manifest import Calibration, DataWindow, Manifest
from tests.unit.trainer.synthetic import ALL, CONDITIONS, NAMES, sample, synthetic_examples

BUILD: dict[str, Callable[[], ModelFamily]] = {
    "logistic": lambda: Logistic(ALL, CONDITIONS),
    "ridge": lambda: Ridge(ALL, CONDITIONS),
    "elastic-net": lambda: ElasticNet(ALL, CONDITIONS),
    "xgboost": lambda: XGBoostTrees(ALL, CONDITIONS, depth=3),
    **{f"lightgbm {depth}": lambda depth=depth: LightGBMTrees(ALL, CONDITIONS, depth) for depth in (1, 2, 3)},  # type: ignore[misc]
    **{f"catboost {depth}": lambda depth=depth: CatBoostTrees(ALL, CONDITIONS, depth) for depth in (1, 2, 3)},  # type: ignore[misc]
    "neural-network": lambda: NeuralNetwork(ALL, CONDITIONS),
    "ensemble": lambda: Ensemble(ALL, CONDITIONS),
}


def parts() -> tuple[Examples, Examples]:
    """What is learnt from, and what is held out."""
    examples = synthetic_examples(6000)
    return examples.take(slice(0, 4000)), examples.take(slice(4000, 6000))


def fit(candidate: ModelFamily) -> ModelFamily:
    """Skips where LightGBM finds no OpenMP: it is the one family that needs something of the system."""
    train, validate = parts()
    try:
        candidate.fit(NAMES, sample(train), sample(validate))
    except FamilyRefused as refused:
        pytest.skip(str(refused))
    return candidate


def served(candidate: ModelFamily) -> OnnxModel:
    """As the scorer runs it."""
    rows, onnx = parts()[1].features[:301], candidate.export_onnx()
    manifest = Manifest(
        version="0" * 16,
        family=candidate.family,
        feature_set_version=FEATURE_SET_VERSION,
        feature_names=list(FEATURE_NAMES[: rows.shape[1]]),
        files={},
        calibration=Calibration(),
        metrics={},
        data_window=DataWindow("", "", "", "", "", 1, 1, 1, ""),
        golden=golden_vectors(onnx, Calibration(), rows),
        trained_at="",
    )
    return OnnxModel(ModelFiles(manifest, onnx, candidate.explanation(), b""))


@functools.cache
def fitted(name: str) -> ModelFamily:
    return fit(BUILD[name]())
