"""XGBoost in the small form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.families.base import INPUT, OPSET, Matrix, Sample
from services.trainer.families.graph import file_of
from services.trainer.families.small_trees import SmallTrees
from services.trainer.families.tree_tables import tree_tables, trees_of_xgboost
from services.trainer.families.xgboost_cluster import fit_on_cluster
from shared.model_artifact.explanation import Explanation


class XGBoostTrees(SmallTrees):
    """Gradient-boosted trees: shallow, few, stopped by the validation part."""

    family = "xgboost"

    MAX_ROUNDS = 130
    """Beyond it validation loss only rose on every set that was tried."""

    def _rounds(self) -> int:
        return int(self._model.best_iteration + 1)

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        if self.conditions.cluster is not None:
            self._model = fit_on_cluster(self.conditions.cluster, self._parameters(names), train, validate)
            return
        from xgboost import XGBClassifier

        self._model = XGBClassifier(**self._parameters(names))
        self._model.fit(
            train.matrix,
            train.label,
            sample_weight=train.weight,
            eval_set=[(validate.matrix, validate.label)],
            sample_weight_eval_set=[validate.weight],
            verbose=False,
        )

    @property
    def on_cluster(self) -> bool:
        return self.conditions.cluster is not None

    def _parameters(self, names: Sequence[str]) -> dict[str, Any]:
        return {
            "n_estimators": self.MAX_ROUNDS,
            "max_depth": self._depth,
            "learning_rate": self.settings["learning_rate"],
            "min_child_weight": 5.0,
            "reg_lambda": self.settings["l2"],
            "colsample_bytree": self.settings["features"],
            "tree_method": "hist",
            "early_stopping_rounds": self.PATIENCE,
            "eval_metric": "logloss",
            "random_state": self.conditions.seed,
            "n_jobs": self.conditions.threads,
            "monotone_constraints": tuple(self.conditions.direction(name) for name in names),
        }

    def raw_probability(self, matrix: Matrix) -> NDArray[np.float64]:
        return np.asarray(self._model.predict_proba(matrix)[:, 1], dtype=np.float64)

    def export_onnx(self) -> bytes:
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        # The classifier, not its booster: only the former knows where early stopping ended.
        graph = convert_xgboost(
            self._model,
            name="flit-risk",
            initial_types=[(INPUT, FloatTensorType([None, self._model.n_features_in_]))],
            target_opset=OPSET,
        )
        return file_of(graph)

    def explanation(self) -> Explanation:
        return tree_tables(*trees_of_xgboost(self.booster()))

    def booster(self) -> bytes:
        """The fitted trees as XGBoost's own JSON, up to where early stopping ended."""
        return bytes(self._model.get_booster()[: self._model.best_iteration + 1].save_raw("json"))
