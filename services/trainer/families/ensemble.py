"""An ensemble: the mean of its members' log-odds, merged into one graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.families.base import (
    OPSET,
    PROBABILITY_OUTPUT,
    Conditions,
    Inputs,
    Matrix,
    ModelFamily,
    Sample,
)
from services.trainer.families.graph import LOG_ODDS, ML_DOMAIN, classifier
from services.trainer.families.linear import ElasticNet, Logistic, Ridge
from services.trainer.families.xgboost_trees import XGBoostTrees
from shared.model_artifact.explanation import Explanation, LinearExplanation, MeanExplanation, TreeTablesExplanation
from shared.model_artifact.manifest import sigmoid

LEAST = 1e-6
"""A member's probabilities are kept this far from 0 and 1: in float32 their log-odds would be infinite at 1."""

BLOCK = 16
"""The runtime takes logarithms of whole blocks by another routine than of what is left over, which differs in the last
bit: each value is repeated to a whole block (of 512 bits, the longest there are), so that a row gets the same bits
alone and among any others."""


class Ensemble(ModelFamily):
    """Contributions in log-odds add up, so their mean over the members is exact wherever each member's are."""

    family = "ensemble"

    def __init__(self, inputs: Inputs, conditions: Conditions, members: Sequence[ModelFamily] | None = None) -> None:
        """`members`: not yet fitted; by default three linear models and one of trees."""
        super().__init__(inputs, conditions)
        self._members = list(members or (kind(inputs, conditions) for kind in _DEFAULT))

    @classmethod
    def candidates(cls, inputs: Sequence[Inputs], conditions: Conditions) -> list[Ensemble]:
        return [cls(inputs[-1], conditions)]

    @property
    def name(self) -> str:
        return f"ensemble of {', '.join(member.family for member in self._members)}, {self.inputs.name}"

    @property
    def explains(self) -> bool:
        return all(member.explains and not isinstance(member, Ensemble) for member in self._members)

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        for member in self._members:
            member.fit(names, train, validate)

    def raw_probability(self, matrix: Matrix) -> NDArray[np.float64]:
        kept = np.clip([member.raw_probability(matrix) for member in self._members], LEAST, 1 - LEAST)
        return sigmoid((np.log(kept) - np.log1p(-kept)).mean(axis=0))

    def export_onnx(self) -> bytes:
        from onnx import compose, helper, load_from_string, numpy_helper

        nodes: list[Any] = []
        constants: dict[str, NDArray[Any]] = {
            "least": np.asarray(LEAST, np.float32),
            "most": np.asarray(1 - LEAST, np.float32),
            "default_column": np.array([1]),
            "first_column": np.array([0]),
            "block": np.array([1, BLOCK]),
        }
        width = 0
        for number, member in enumerate(self._members):
            model = load_from_string(member.export_onnx())
            versions = {each.domain or "ai.onnx": each.version for each in model.opset_import}
            if versions.get("ai.onnx", OPSET) != OPSET or versions.keys() - {"ai.onnx", ML_DOMAIN}:
                raise ValueError(f"{member.name}: a graph of the operator sets {versions} can't be merged")
            width = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
            own, ours = f"member_{number}_", f"mean_{number}_"
            # Every name of the member gets the prefix but the one input that all share.
            part = compose.add_prefix(model, own, rename_inputs=False).graph
            constants |= {each.name: numpy_helper.to_array(each) for each in part.initializer}
            nodes += [
                *part.node,
                helper.make_node("Gather", [own + PROBABILITY_OUTPUT, "default_column"], [f"{ours}raw"], axis=1),
                helper.make_node("Clip", [f"{ours}raw", "least", "most"], [f"{ours}kept"]),
                helper.make_node("Sub", ["one", f"{ours}kept"], [f"{ours}other"]),
                helper.make_node("Div", [f"{ours}kept", f"{ours}other"], [f"{ours}odds"]),
                helper.make_node("Tile", [f"{ours}odds", "block"], [f"{ours}blocks"]),
                helper.make_node("Log", [f"{ours}blocks"], [f"{ours}logarithms"]),
                helper.make_node("Gather", [f"{ours}logarithms", "first_column"], [f"{ours}log_odds"], axis=1),
            ]
        members = [f"mean_{number}_log_odds" for number in range(len(self._members))]
        nodes.append(helper.make_node("Mean", members, [LOG_ODDS]))
        return classifier(nodes, constants, width)

    def explanation(self) -> Explanation | None:
        explanations = [member.explanation() for member in self._members]
        known = [each for each in explanations if isinstance(each, LinearExplanation | TreeTablesExplanation)]
        return MeanExplanation(known) if len(known) == len(explanations) else None


_DEFAULT: tuple[type[ModelFamily], ...] = (Ridge, Logistic, ElasticNet, XGBoostTrees)
