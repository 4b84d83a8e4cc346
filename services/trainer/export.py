"""From a fitted candidate to bytes that the scorer runs, and the proof that they answer the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from services.trainer.families import INPUT, PROBABILITY_OUTPUT, ModelFamily
from shared.model_artifact.explanation import Explainer, Explanation
from shared.model_artifact.manifest import Calibration, Golden, sigmoid

if TYPE_CHECKING:
    import onnxruntime

MAX_DIFFERENCE = 1e-5
"""Between the library's probability and the exported graph's, on any row. Sound conversions stay below 1e-6; the known
bad ones are off by 3e-3 and more."""

MAX_UNEXPLAINED = 1e-5
"""Between the graph's probability and the sigmoid of base value plus contributions, on any row: what a reason adds up
to is the score that was decided on. Graphs count in float32: a sound linear one was seen off by 1.6e-6 on a row whose
every value is extreme; contributions of another model are off by far more."""

GOLDEN_ROWS = 16
"""Spread over the range of scores; small enough to check at every load."""


class ExportRefused(Exception):
    """There is no exported graph, or it doesn't answer as the model does: it must not be registered."""


def graph_of(candidate: ModelFamily) -> bytes:
    """The graph of a fitted candidate. Raises ExportRefused where it can't be made."""
    try:
        return candidate.export_onnx()
    except Exception as error:  # of a converter, or of whoever wrote the plug-in
        raise ExportRefused(f"{candidate.name}: can't be exported: {error!r}") from error


def session_of(model: bytes) -> onnxruntime.InferenceSession:
    """As the scorer runs it: one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_onnx(model: bytes, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """[n] raw probabilities of default from an exported graph, for float32 [n, F] with NaN for null.

    Raises ExportRefused for a graph with another interface than the one that the scorer feeds.
    """
    session = session_of(model)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if [i.name for i in inputs] != [INPUT] or len(outputs) != 2 or outputs[1].name != PROBABILITY_OUTPUT:
        raise ExportRefused(f"the graph has inputs {[i.name for i in inputs]}, outputs {[o.name for o in outputs]}")
    answer = session.run([PROBABILITY_OUTPUT], {INPUT: np.ascontiguousarray(matrix, dtype=np.float32)})[0]
    if answer.shape != (len(matrix), 2):
        raise ExportRefused(f"the graph's probabilities have the shape {answer.shape}")
    return np.asarray(answer[:, 1], dtype=np.float64)


def with_missing_values(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same rows, and rows that they may lack: each feature missing once, all missing, all zero, all at an end."""
    width = matrix.shape[1]
    repeated = matrix[np.arange(width) % len(matrix)].copy()
    repeated[np.arange(width), np.arange(width)] = np.nan
    nothing = np.full((1, width), np.nan, dtype=np.float32)
    known = np.nan_to_num(matrix)
    ends = np.stack([np.zeros(width, dtype=np.float32), known.min(axis=0), known.max(axis=0)])
    return np.concatenate([matrix, repeated, nothing, ends])


def check_parity(candidate: ModelFamily, model: bytes, holdout: NDArray[np.float32]) -> float:
    """The largest difference over the whole hold-out and its rows with missing values. Raises ExportRefused above
    `MAX_DIFFERENCE`, or where a row gets no finite probability."""
    matrix = with_missing_values(holdout)
    exported = run_onnx(model, matrix)
    if not np.isfinite(exported).all():
        raise ExportRefused("the exported graph gives some row no finite probability")
    difference = float(np.abs(exported - candidate.raw_probability(matrix)).max())
    if not difference <= MAX_DIFFERENCE:  # the family's own answer may be none
        raise ExportRefused(f"{candidate.name}: exported answers are off by up to {difference:.2e}")
    return difference


def check_explanation(
    candidate: ModelFamily, model: bytes, holdout: NDArray[np.float32]
) -> tuple[Explanation | None, float | None]:
    """The model's explanation, and the largest difference between what it adds up to and the graph's probability over
    the whole hold-out and its rows with missing values; None and None of a model that gives none.

    Raises ExportRefused above `MAX_UNEXPLAINED`, or where a model that says that it explains itself doesn't.
    """
    if not candidate.explains:
        return None, None
    explanation = candidate.explanation()
    if explanation is None:
        raise ExportRefused(f"{candidate.name}: says that it explains itself, and gives no explanation")
    difference = unexplained(explanation, model, holdout)
    if not difference <= MAX_UNEXPLAINED:
        raise ExportRefused(f"{candidate.name}: contributions add up to another score, off by up to {difference:.2e}")
    return explanation, difference


def unexplained(explanation: Explanation, model: bytes, holdout: NDArray[np.float32]) -> float:
    """The largest difference between what an explanation adds up to and the graph's probability, over the rows and
    these with missing values."""
    matrix = with_missing_values(holdout)
    explainer = Explainer(explanation, matrix.shape[1])
    added = sigmoid(explainer.base + explainer.contributions(matrix).sum(axis=1))
    return float(np.abs(added - run_onnx(model, matrix)).max())


def golden_vectors(model: bytes, calibration: Calibration, holdout: NDArray[np.float32]) -> Golden:
    """Rows from the lowest score to the highest, and one where everything is missing, with their answers."""
    ranked = np.argsort(run_onnx(model, holdout), kind="stable")
    chosen = holdout[ranked[np.linspace(0, len(ranked) - 1, GOLDEN_ROWS - 1).astype(int)]]
    matrix = np.concatenate([chosen, np.full((1, holdout.shape[1]), np.nan, dtype=np.float32)])
    raw = run_onnx(model, matrix)
    return Golden(
        inputs=[[None if np.isnan(value) else float(value) for value in row] for row in matrix],
        raw=raw.tolist(),
        probabilities=calibration.apply(raw).tolist(),
    )
