"""Another model's probabilities on logged purchases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.trainer.export import run_onnx
from shared.deciding import Degraded, matrix_of
from shared.model_artifact.files import ModelFiles
from shared.policy.backtest import LoggedCase

FOR_WANT_OF_A_MODEL = (Degraded.NO_MODEL, Degraded.MODEL_FAILED, Degraded.FEATURE_SET)
"""Why a fallback decided of whom another model could have been asked."""


def rescored(logged: Sequence[tuple[LoggedCase, bool]], files: ModelFiles) -> list[LoggedCase]:
    """The cases with the model's probabilities. Left out are those without features of the model's set, and those that
    were decided without a model for a reason of their own (a state being rebuilt): no model would have been asked.
    """
    cases = [case for case, in_set in logged if in_set and case.degraded in (None, *FOR_WANT_OF_A_MODEL)]
    if not cases:
        return []
    return [
        replace(case, probability=probability, degraded=None)
        for case, probability in zip(cases, probabilities([case.features for case in cases], files), strict=True)
    ]


def probabilities(features: Sequence[Mapping[str, float | None]], files: ModelFiles) -> list[float]:
    """Of default, calibrated, of each purchase by its features; those that it hasn't are missing ones. Of one at
    least."""
    names = files.manifest.feature_names
    matrix = matrix_of([{name: known.get(name) for name in names} for known in features], names)
    return [float(each) for each in files.manifest.calibration.apply(run_onnx(files.onnx, matrix))]
