"""Another model's probabilities on logged purchases."""

from __future__ import annotations

from collections.abc import Sequence
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
    names = files.manifest.feature_names
    matrix = matrix_of([{name: case.features.get(name) for name in names} for case in cases], names)
    probabilities = files.manifest.calibration.apply(run_onnx(files.onnx, matrix))
    return [
        replace(case, probability=float(probability), degraded=None)
        for case, probability in zip(cases, probabilities, strict=True)
    ]
