"""A small valid model to damage: the registry doesn't look inside the graph, so any bytes stand for it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from shared.model_artifact.explanation import LinearExplanation, encode_explanation
from shared.model_artifact.manifest import Calibration, DataWindow, Golden, Manifest
from shared.model_artifact.registry import ModelRegistry

RAW = [0.05, 0.2]
CALIBRATION = Calibration(slope=0.9, intercept=-0.1)
WINDOW = DataWindow(
    as_of="2026-06-01T00:00:00.000000Z",
    train_from="2026-01-01T00:00:00.000000Z",
    validate_from="2026-02-01T00:00:00.000000Z",
    test_from="2026-02-15T00:00:00.000000Z",
    test_to="2026-03-01T00:00:00.000000Z",
    train_rows=100,
    validate_rows=20,
    test_rows=20,
    data_sha256="0" * 64,
)


def a_manifest(**changes: Any) -> Manifest:
    manifest = Manifest(
        version="",
        family="logistic",
        feature_set_version="1",
        feature_names=["amount", "tenure"],
        files={},
        calibration=CALIBRATION,
        metrics={"auc": 0.6},
        data_window=WINDOW,
        golden=Golden(
            inputs=[[1.0, None], [2.0, 3.0]], raw=RAW, probabilities=CALIBRATION.apply(np.asarray(RAW)).tolist()
        ),
        trained_at="2026-06-01T00:00:00.000000Z",
    )
    return msgspec.structs.replace(manifest, **changes)


def some_files(model: bytes = b"graph") -> dict[str, bytes]:
    explanation = LinearExplanation(
        impute=[0.0, 0.0], mean=[1.0, 2.0], scale=[1.0, 2.0], coefficients=[0.5, -0.25], intercept=-3.0
    )
    return {"model.onnx": model, "explanation.json": encode_explanation(explanation), "card.json": b"{}"}


def two_models(registry: ModelRegistry) -> tuple[str, str]:
    return registry.register(a_manifest(), some_files()), registry.register(a_manifest(), some_files(b"second"))
