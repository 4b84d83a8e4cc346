"""A small neural network: for the shadow alone, since no exact contributions of its inputs can be given in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import log_losses, weighted_mean
from services.trainer.families.base import INPUT, Conditions, Inputs, Matrix, ModelFamily, Sample
from services.trainer.families.graph import LOG_ODDS, classifier
from services.trainer.families.outliers import cut, limits_of
from shared.model_artifact.manifest import sigmoid


class NeuralNetwork(ModelFamily):
    """One hidden layer of rectified units on standardised values and on flags of what is missing.

    It keeps no directions: a feature may move the risk either way.
    """

    family = "neural-network"

    UNITS = 16
    PENALTY = 1.0
    """On half the squared weights, beside the sum of a mini-batch's losses."""
    MAX_EPOCHS = 60
    PATIENCE = 8
    """Epochs without a lower loss on the validation part."""
    FURTHEST = 6.0
    """Standardised values are cut off there: one outlier, or an infinite ratio, must not drown everything else."""

    def __init__(self, inputs: Inputs, conditions: Conditions) -> None:
        super().__init__(inputs, conditions)
        self._middle = self._mean = self._scale = np.empty(0)
        self._layers: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    @classmethod
    def candidates(cls, inputs: Sequence[Inputs], conditions: Conditions) -> list[NeuralNetwork]:
        return [cls(inputs[-1], conditions)]

    @property
    def name(self) -> str:
        return f"neural network, {self.UNITS} units, {self.inputs.name}"

    @property
    def explains(self) -> bool:
        return False

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        from sklearn.neural_network import MLPClassifier

        values = np.where(np.isfinite(train.matrix), train.matrix, np.nan)
        values = cut(values, limits_of(values))
        known = ~np.isnan(values)
        empty = ~known.any(axis=0)
        self._middle = np.nanmedian(np.where(empty, 0.0, values), axis=0)
        filled = np.where(known, values, self._middle)
        self._mean, scale = filled.mean(axis=0), filled.std(axis=0)
        self._scale = np.where(scale > 0, scale, 1.0)
        model = MLPClassifier((self.UNITS,), alpha=self.PENALTY, random_state=self.conditions.seed)
        inputs, held, lowest, waited = self._prepared(train.matrix), self._prepared(validate.matrix), np.inf, 0
        for _ in range(self.MAX_EPOCHS):
            model.partial_fit(inputs, train.label, sample_weight=train.weight, classes=[0, 1])
            layers = [(w.copy(), b.copy()) for w, b in zip(model.coefs_, model.intercepts_, strict=True)]
            loss = weighted_mean(log_losses(validate.label, _through(layers, held)), validate.weight)
            waited += 1
            if loss < lowest:
                lowest, waited, self._layers = loss, 0, layers
            if waited == self.PATIENCE:
                break

    def raw_probability(self, matrix: Matrix) -> NDArray[np.float64]:
        return _through(self._layers, self._prepared(matrix))

    def export_onnx(self) -> bytes:
        from onnx import TensorProto, helper

        (hidden, hidden_bias), (output, output_bias) = self._layers
        constants: dict[str, NDArray[Any]] = {
            name: np.asarray(value, dtype=np.float32)
            for name, value in (
                ("middle", self._middle), ("mean", self._mean), ("scale", self._scale), ("hidden", hidden),
                ("hidden_bias", hidden_bias), ("output", output), ("output_bias", output_bias),
                ("least", -self.FURTHEST), ("most", self.FURTHEST),
            )
        }  # fmt: skip
        steps = [
            helper.make_node("IsNaN", [INPUT], ["missing"]),
            helper.make_node("Cast", ["missing"], ["flags"], to=TensorProto.FLOAT),
            helper.make_node("Where", ["missing", "middle", INPUT], ["filled"]),
            helper.make_node("Sub", ["filled", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "scale"], ["scaled"]),
            helper.make_node("Clip", ["scaled", "least", "most"], ["values"]),
            helper.make_node("Concat", ["values", "flags"], ["inputs"], axis=1),
            helper.make_node("Gemm", ["inputs", "hidden", "hidden_bias"], ["weighed"]),
            helper.make_node("Relu", ["weighed"], ["units"]),
            helper.make_node("Gemm", ["units", "output", "output_bias"], [LOG_ODDS]),
        ]
        return classifier(steps, constants, len(self._mean))

    def explanation(self) -> None:
        return None

    def _prepared(self, matrix: Matrix) -> NDArray[np.float64]:
        missing = np.isnan(matrix)
        filled = np.where(missing, self._middle, matrix.astype(np.float64))
        values = np.clip((filled - self._mean) / self._scale, -self.FURTHEST, self.FURTHEST)
        return np.concatenate([values, missing.astype(np.float64)], axis=1)


def _through(
    layers: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], inputs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[n] probabilities, as scikit-learn's own `predict_proba` gives them for these layers."""
    (hidden, hidden_bias), (output, output_bias) = layers
    return sigmoid((np.maximum(inputs @ hidden + hidden_bias, 0.0) @ output + output_bias)[:, 0])
