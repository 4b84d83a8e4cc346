"""CatBoost in the small form, as trees that the common tables and graph can hold.

Its trees ask the same question at every node of a level, value > border in float32, and a missing value answers as one
that is smaller than all. Its own ONNX export answers alike, but names its probabilities as a list of maps, which the
scorer doesn't read, and holds a time and a random name, so that the same fit never gives the same bytes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from services.trainer.families.base import Matrix, Sample
from services.trainer.families.graph import trees
from services.trainer.families.small_trees import SmallTrees
from services.trainer.families.tree_tables import LEAF, Tree, below, tree_tables
from shared.model_artifact.explanation import Explanation

AS_LARGEST = "AsTrue"
"""How CatBoost's model says that a missing value is larger than all; anything else: smaller."""


class CatBoostTrees(SmallTrees):
    """Gradient-boosted symmetric trees: shallow, few, stopped by the validation part."""

    family = "catboost"

    MAX_ROUNDS = 200
    """More than of the others, since a level that has to ask one question everywhere learns less."""

    SPACE: ClassVar = {name: SmallTrees.SPACE[name] for name in ("learning_rate", "l2")}
    """Each of its trees looks at every feature."""

    def _rounds(self) -> int:
        return int(self._model.tree_count_)

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        from catboost import CatBoostClassifier, Pool

        self._model = CatBoostClassifier(
            iterations=self.MAX_ROUNDS,
            depth=self._depth,
            learning_rate=self.settings["learning_rate"],
            l2_leaf_reg=self.settings["l2"],
            boosting_type="Plain",
            grow_policy="SymmetricTree",
            nan_mode="Min",
            monotone_constraints=[self.conditions.direction(name) for name in names],
            early_stopping_rounds=self.PATIENCE,
            use_best_model=True,
            random_seed=self.conditions.seed,
            thread_count=self.conditions.threads,
            allow_writing_files=False,
            verbose=False,
        )
        learn, held = (Pool(each.matrix, each.label, weight=each.weight) for each in (train, validate))
        self._model.fit(learn, eval_set=held)

    def raw_probability(self, matrix: Matrix) -> NDArray[np.float64]:
        return np.asarray(self._model.predict_proba(matrix)[:, 1], dtype=np.float64)

    def export_onnx(self) -> bytes:
        ensemble, base_margin = self._trees()
        return trees(ensemble, base_margin, self._model.n_features_in_)

    def explanation(self) -> Explanation:
        return tree_tables(*self._trees())

    def _trees(self) -> tuple[list[Tree], float]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            self._model.save_model(str(path), format="json")
            saved = json.loads(path.read_text())
        scale, (bias,) = saved["scale_and_bias"]
        as_largest = {
            each["flat_feature_index"]: each["nan_value_treatment"] == AS_LARGEST
            for each in saved["features_info"]["float_features"]
        }
        return [_tree_of(each, scale, as_largest) for each in saved["oblivious_trees"]], float(bias)


def _tree_of(saved: dict[str, Any], scale: float, as_largest: dict[int, bool]) -> Tree:
    """The k-th question is bit k of a leaf's number."""
    tree = Tree([], [], [], [], [], [])
    splits: list[dict[str, Any]] = saved["splits"] or []

    def place(level: int, leaves: NDArray[np.intp]) -> int:
        number = len(tree.left)
        leaf = level < 0
        feature = 0 if leaf else splits[level]["float_feature_index"]
        tree.left.append(LEAF)
        tree.right.append(LEAF)
        tree.feature.append(feature)
        tree.threshold.append(scale * saved["leaf_values"][leaves[0]] if leaf else below(splits[level]["border"]))
        tree.default_left.append(not leaf and not as_largest[feature])
        tree.weight.append(float(sum(saved["leaf_weights"][each] for each in leaves)))
        if not leaf:
            above = (leaves >> level) & 1 == 1
            tree.left[number] = place(level - 1, leaves[~above])
            tree.right[number] = place(level - 1, leaves[above])
        return number

    place(len(splits) - 1, np.arange(1 << len(splits)))
    return tree
