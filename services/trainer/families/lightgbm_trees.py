"""LightGBM in the small form, as trees that the common tables and graph can hold.

Its own splits are value <= limit in double precision; ours are value < threshold in float32. Inputs are float32, so
each of its limits has one threshold that parts them alike (`below`). Where no value was missing in training, LightGBM
takes a missing one for zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.families.base import FamilyRefused, Matrix, Sample
from services.trainer.families.graph import trees
from services.trainer.families.small_trees import SmallTrees
from services.trainer.families.tree_tables import LEAF, Tree, below, tree_tables
from shared.model_artifact.explanation import Explanation


class LightGBMTrees(SmallTrees):
    """Gradient-boosted trees, grown leaf by leaf: shallow, few, stopped by the validation part."""

    family = "lightgbm"

    MAX_ROUNDS = 130
    """As XGBoost's, so that the two compete on equal terms."""

    def _rounds(self) -> int:
        return int(self._model.num_trees())

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        lightgbm = _library()
        parameters = {
            "objective": "binary",
            "max_depth": self._depth,
            "num_leaves": 2**self._depth,
            "learning_rate": self.settings["learning_rate"],
            "min_sum_hessian_in_leaf": 5.0,
            "lambda_l2": self.settings["l2"],
            "feature_fraction": self.settings["features"],
            "monotone_constraints": [self.conditions.direction(name) for name in names],
            "seed": self.conditions.seed,
            "num_threads": self.conditions.threads,
            # The same bytes from the same data: no timing of row-wise against column-wise histograms.
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }
        learn, held = (
            lightgbm.Dataset(each.matrix, each.label.astype(np.float32), weight=each.weight, free_raw_data=False)
            for each in (train, validate)
        )
        held.set_reference(learn)
        found = lightgbm.train(
            parameters,
            learn,
            num_boost_round=self.MAX_ROUNDS,
            valid_sets=[held],
            callbacks=[lightgbm.early_stopping(self.PATIENCE, verbose=False)],
        )
        # Without the rounds after the best one, which every later call would have to leave out.
        self._model = lightgbm.Booster(model_str=found.model_to_string(num_iteration=found.best_iteration))

    def raw_probability(self, matrix: Matrix) -> NDArray[np.float64]:
        return np.asarray(self._model.predict(matrix), dtype=np.float64)

    def export_onnx(self) -> bytes:
        return trees(self._trees(), 0.0, self._model.num_feature())

    def explanation(self) -> Explanation:
        return tree_tables(self._trees(), 0.0)

    def _trees(self) -> list[Tree]:
        """The base rate is in the first tree's leaves."""
        return [_tree_of(each["tree_structure"]) for each in self._model.dump_model()["tree_info"]]


def _library() -> Any:
    """Raises FamilyRefused where it can't be loaded: alone of all, its wheel brings no OpenMP of its own."""
    try:
        import lightgbm
    except OSError as error:
        raise FamilyRefused(f"LightGBM needs the system's OpenMP (Debian: libgomp1): {error}") from error
    return lightgbm


def _tree_of(root: dict[str, Any]) -> Tree:
    tree = Tree([], [], [], [], [], [])

    def place(node: dict[str, Any]) -> int:
        number = len(tree.left)
        leaf = "leaf_value" in node
        if not leaf and (node["decision_type"] != "<=" or node["missing_type"] == "Zero"):
            raise ValueError(
                f"a split {node['decision_type']}, missing {node['missing_type']}, has no place in a table"
            )
        tree.left.append(LEAF)
        tree.right.append(LEAF)
        tree.feature.append(0 if leaf else node["split_feature"])
        tree.threshold.append(node["leaf_value"] if leaf else below(node["threshold"]))
        tree.default_left.append(not leaf and _missing_goes_left(node))
        # A tree of one leaf says no count.
        tree.weight.append(float(node.get("leaf_count" if leaf else "internal_count", 1)))
        if not leaf:
            tree.left[number] = place(node["left_child"])
            tree.right[number] = place(node["right_child"])
        return number

    place(root)
    return tree


def _missing_goes_left(node: dict[str, Any]) -> bool:
    return bool(node["default_left"]) if node["missing_type"] == "NaN" else bool(node["threshold"] >= 0.0)
