"""A step of a pipeline: no value beyond the least and the greatest that was learnt from.

A straight line goes on for ever: an hour's visit, where the longest one learnt from took ten minutes, would be worth
six times as much as anything that was ever seen to matter. Trees stay at their outermost leaf; so does this.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin


class Within(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learns nothing by itself."""

    def __init__(self, lowest: NDArray[np.float64], highest: NDArray[np.float64]) -> None:
        """[F] each."""
        self.lowest = lowest
        self.highest = highest

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, _: object, __: object = None) -> Within:
        return self

    def transform(self, matrix: NDArray[np.floating]) -> NDArray[np.floating]:
        """[n, F], nothing missing."""
        return np.asarray(np.clip(matrix, self.lowest, self.highest))


@cache
def teach_the_converter() -> None:
    """skl2onnx, of this step."""
    from skl2onnx import update_registered_converter

    update_registered_converter(Within, "FlitRiskWithin", _shape, _convert)


def _shape(operator: Any) -> None:
    given = operator.inputs[0].type
    operator.outputs[0].type = type(given)([None, len(operator.raw_operator.lowest)])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """`Max` and `Min`: `Clip` takes one limit for all columns."""
    from onnx import TensorProto

    step = operator.raw_operator
    value = operator.inputs[0].full_name
    outputs = [scope.get_unique_variable_name("kept_from_below"), operator.outputs[0].full_name]
    for kind, ends, output in zip(("Max", "Min"), (step.lowest, step.highest), outputs, strict=True):
        constant = scope.get_unique_variable_name(f"{kind.lower()}_ends")
        container.add_initializer(constant, TensorProto.FLOAT, [1, len(ends)], ends.astype(np.float32).tolist())
        container.add_node(
            kind, [value, constant], output, op_version=13, name=scope.get_unique_operator_name(f"Within{kind}")
        )
        value = output
