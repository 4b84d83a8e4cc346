"""The families of models that compete. To add one: a class with these members, and a line in `default_candidates`.

Both are small on purpose. Where every purchase's default probability lies between a few percent and ten, the toss is
nearly all noise: a booster of hundreds of deep trees learns that noise and ranks new purchases worse than a regression.
Libraries are imported when a candidate is fitted: `promote` and `--help` must not wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.trainer.directions import direction
from services.trainer.tree_tables import tree_tables, trees_of_xgboost
from shared.feature_definitions import FEATURES, MODEL_FEATURES
from shared.model_artifact.explanation import Explanation, LinearExplanation
from shared.model_artifact.manifest import sigmoid

Matrix = NDArray[np.float32]
Labels = NDArray[np.int8]

OPSET = 15
"""Of the exported graph. Pinned, so that a newer converter doesn't change what a model is made of."""

INPUT, LABEL_OUTPUT, PROBABILITY_OUTPUT = "features", "label", "probabilities"


class Candidate(Protocol):
    """One way to learn a raw (uncalibrated) probability of default from [n, F] features with NaN for null."""

    @property
    def family(self) -> str:
        """`logistic` or `xgboost`, as the manifest says it."""
        ...

    @property
    def name(self) -> str:
        """Family, inputs and size, for logs and the model card."""
        ...

    @property
    def wanted(self) -> Sequence[str]:
        """The features that it may use; it is fitted on those of them that vary."""
        ...

    def fit(self, names: Sequence[str], train: Matrix, label: Labels, validate: Matrix, validate_label: Labels) -> None:
        """Fits on train, with columns `names`; may look at the validation part to choose its own size."""
        ...

    def raw_probability(self, matrix: Matrix) -> NDArray[np.float64]:
        """[n] raw probabilities."""
        ...

    def export_onnx(self) -> bytes:
        """A graph with input `features` float32 [n, F] and second output `probabilities` float32 [n, 2]."""
        ...

    def explanation(self) -> Explanation: ...


class Logistic:
    """Median imputation, standardisation, L2-penalised logistic regression whose coefficients keep their directions."""

    family = "logistic"

    PENALTY = 30.0
    """On half the sum of squared coefficients, of standardised inputs. Anything from 1 to 1000 ranks alike where the
    directions are given; this much settles features that tell nearly the same."""

    def __init__(self, wanted: Sequence[str], inputs: str, directions: Callable[[str], int] = direction) -> None:
        """`inputs`: what `wanted` is called in the model's name. `directions`: which sign each coefficient may have."""
        self.wanted = tuple(wanted)
        self._inputs, self._directions = inputs, directions
        self._pipeline: Any = None

    @property
    def name(self) -> str:
        return f"logistic regression, {self._inputs}"

    def fit(self, names: Sequence[str], train: Matrix, label: Labels, validate: Matrix, validate_label: Labels) -> None:
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

        imputer, scaler = SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
        scaled = scaler.fit_transform(imputer.fit_transform(train.astype(np.float64)))
        coefficients, intercept = _signed_regression(
            scaled, label.astype(np.float64), [self._directions(name) for name in names], self.PENALTY
        )
        # scikit-learn has no signs for coefficients; its class is the form that the converter to ONNX reads.
        model = LogisticRegression()
        model.classes_, model.n_features_in_ = np.array([0, 1]), len(names)
        model.coef_, model.intercept_ = coefficients[None, :], np.array([intercept])
        self._pipeline = Pipeline([("impute", imputer), ("scale", scaler), ("regress", model)])

    def raw_probability(self, matrix: Matrix) -> NDArray[np.float64]:
        return np.asarray(self._pipeline.predict_proba(matrix.astype(np.float64))[:, 1])

    def export_onnx(self) -> bytes:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        width = self._pipeline.named_steps["regress"].coef_.shape[1]
        graph = to_onnx(
            self._pipeline,
            initial_types=[(INPUT, FloatTensorType([None, width]))],
            name="flit-risk",  # else a random one, and with it another hash each time
            options={id(self._pipeline): {"zipmap": False}},
            target_opset=OPSET,
        )
        return bytes(graph.SerializeToString(deterministic=True))

    def explanation(self) -> LinearExplanation:
        imputer, scaler, model = (self._pipeline.named_steps[step] for step in ("impute", "scale", "regress"))
        return LinearExplanation(
            impute=imputer.statistics_.tolist(),
            mean=scaler.mean_.tolist(),
            scale=scaler.scale_.tolist(),
            coefficients=model.coef_[0].tolist(),
            intercept=float(model.intercept_[0]),
        )


class Boosted:
    """Gradient-boosted trees in the small form: shallow, few, stopped by the validation part."""

    family = "xgboost"

    MAX_ROUNDS = 130
    """Beyond it validation loss only rose on every set that was tried."""
    PATIENCE = 15
    LEARNING_RATE = 0.08

    def __init__(
        self,
        wanted: Sequence[str],
        inputs: str,
        *,
        seed: int,
        depth: int,
        threads: int,
        directions: Callable[[str], int] = direction,
    ) -> None:
        """`depth`: at most 3, or its contributions can't be tabulated."""
        self.wanted = tuple(wanted)
        self._inputs, self._directions = inputs, directions
        self._seed, self._depth, self._threads = seed, depth, threads
        self._model: Any = None

    @property
    def name(self) -> str:
        rounds = self._model.best_iteration + 1 if self._model is not None else 0
        return f"xgboost, depth {self._depth}, {rounds} rounds, {self._inputs}"

    def fit(self, names: Sequence[str], train: Matrix, label: Labels, validate: Matrix, validate_label: Labels) -> None:
        from xgboost import XGBClassifier

        self._model = XGBClassifier(
            n_estimators=self.MAX_ROUNDS,
            max_depth=self._depth,
            learning_rate=self.LEARNING_RATE,
            min_child_weight=5.0,
            reg_lambda=5.0,
            colsample_bytree=0.8,
            tree_method="hist",
            early_stopping_rounds=self.PATIENCE,
            eval_metric="logloss",
            random_state=self._seed,
            n_jobs=self._threads,
            monotone_constraints=tuple(self._directions(name) for name in names),
        )
        self._model.fit(train, label, eval_set=[(validate, validate_label)], verbose=False)

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
        return bytes(graph.SerializeToString(deterministic=True))

    def explanation(self) -> Explanation:
        booster = self._model.get_booster()[: self._model.best_iteration + 1]
        return tree_tables(*trees_of_xgboost(bytes(booster.save_raw("json"))))


def _signed_regression(
    inputs: NDArray[np.float64], label: NDArray[np.float64], signs: Sequence[int], penalty: float
) -> tuple[NDArray[np.float64], float]:
    """Coefficients [F] and intercept of the logistic regression with the highest penalised likelihood among those where
    no coefficient goes against its sign (0: free)."""
    from scipy.optimize import minimize

    width = inputs.shape[1]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        coefficients = weights[:width]
        score = inputs @ coefficients + weights[width]
        wrong = sigmoid(score) - label
        value = np.logaddexp(0.0, score).sum() - label @ score + penalty / 2 * (coefficients @ coefficients)
        return float(value), np.append(wrong @ inputs + penalty * coefficients, wrong.sum())

    base_rate = np.clip(label.mean(), 1e-6, 1 - 1e-6)
    start = np.append(np.zeros(width), np.log(base_rate / (1 - base_rate)))
    bounds = [(0.0 if sign > 0 else None, 0.0 if sign < 0 else None) for sign in signs]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)])
    return found.x[:width], float(found.x[width])


def default_candidates(seed: int, threads: int) -> list[Candidate]:
    """Simplest first: a later one has to be clearly better (`train.choose`). The purchase alone comes before the
    customer's past, which is most of the features and on little data mostly noise."""
    purchase = [feature.name for feature in FEATURES if feature.name in MODEL_FEATURES and not feature.rolling]
    alone, everything = "the purchase alone", "with the customer's past"
    return [
        Logistic(purchase, alone),
        Logistic(MODEL_FEATURES, everything),
        Boosted(purchase, alone, seed=seed, depth=2, threads=threads),
        Boosted(MODEL_FEATURES, everything, seed=seed, depth=2, threads=threads),
        Boosted(MODEL_FEATURES, everything, seed=seed, depth=3, threads=threads),
    ]
