"""A registered model made ready to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from shared.deciding.pipeline import ModelFailed, Scores
from shared.feature_definitions import FEATURE_NAMES
from shared.model_artifact.explanation import Explainer
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.manifest import ArtifactFault, ArtifactRefused, check_golden, golden_matrix

INPUT, PROBABILITIES = "features", "probabilities"

_RUNTIME_FAULTS: tuple[type[Exception], ...] = (
    *(
        kind
        for kind in vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
    ValueError,
)
"""The runtime has one exception class for each of its status codes, and none that they have in common."""


@dataclass(frozen=True, slots=True)
class Explained:
    """Raw answers to n inputs, and what made them: raw = sigmoid(base + sum of contributions)."""

    base: float
    """In log-odds."""
    contributions: NDArray[np.float64]
    """[n, F], in log-odds."""
    raw: NDArray[np.float64]
    """[n], before calibration."""


class OnnxModel:
    """A model whose bytes were verified and whose golden vectors were answered as they should be."""

    def __init__(self, files: ModelFiles) -> None:
        """Raises `ArtifactRefused` where the graph isn't one, isn't ours to feed, or doesn't answer as registered."""
        manifest = files.manifest
        unknown = sorted(set(manifest.feature_names) - set(FEATURE_NAMES))
        if unknown:
            raise ArtifactRefused(ArtifactFault.INCOMPATIBLE, f"unknown features {', '.join(unknown)}")
        self.version = manifest.version
        self.trained_at = manifest.trained_at
        self.feature_set_version = manifest.feature_set_version
        self.feature_names: Sequence[str] = tuple(manifest.feature_names)
        self.calibration = manifest.calibration
        explanation = files.explanation
        self._explainer = None if explanation is None else Explainer(explanation, len(self.feature_names))
        try:
            self._session = _session(files.onnx)
            raw = self._raw(golden_matrix(manifest))
        except _RUNTIME_FAULTS as error:
            raise ArtifactRefused(ArtifactFault.SHAPE, f"the graph can't be run: {error}") from None
        check_golden(manifest, raw)

    def raw(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """[n] probabilities before calibration, without what made them: for many rows that nobody asks why. From any
        thread. Raises ModelFailed."""
        try:
            return self._raw(matrix)
        except _RUNTIME_FAULTS as error:
            raise ModelFailed(str(error)) from error

    def score(self, matrix: NDArray[np.float32]) -> Scores:
        """Answers to float32 [n, F] inputs, NaN for null. Raises ModelFailed."""
        raw = self.raw(matrix)
        why = None if self._explainer is None else self._explainer.contributions(matrix)
        return Scores(self.calibration.apply(raw), why)

    def explain(self, matrix: NDArray[np.float32]) -> Explained:
        """The same answers, taken apart. Raises ModelFailed, also for a model that gives no contributions."""
        if self._explainer is None:
            raise ModelFailed(f"{self.version} gives no contributions")
        raw = self.raw(matrix)
        return Explained(self._explainer.base, self._explainer.contributions(matrix), raw)

    def _raw(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """[n] raw probabilities; a row's are the same bits alone and among any others.

        The runtime multiplies a single row by another routine than several, which differs in the last bit of a float32:
        so it is never given a single one. Else a decision could be made again only by who knows its batch.
        """
        if len(matrix) == 1:
            return self._raw(np.repeat(matrix, 2, axis=0))[:1]
        answer = np.asarray(self._session.run([PROBABILITIES], {INPUT: matrix})[0])
        if answer.shape != (len(matrix), 2):
            raise ValueError(f"probabilities of shape {answer.shape} for {len(matrix)} rows")
        return answer[:, 1].astype(np.float64)


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # The models are small: one thread answers in microseconds, and a pool that spins would take the core from the
    # event loop that waits for the answer.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
