"""Linear models: median imputation, the range that was learnt from, standardisation, coefficients that keep their
directions. Each is served as the same graph, and explained by its own terms; they differ in what their coefficients
minimise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import log_losses, weighted_mean
from services.trainer.families import signed
from services.trainer.families.base import INPUT, OPSET, Matrix, ModelFamily, Sample
from services.trainer.families.graph import file_of
from services.trainer.families.outliers import cut, limits_of
from services.trainer.families.signed import Coefficients
from shared.model_artifact.explanation import LinearExplanation
from shared.model_artifact.manifest import sigmoid


class Linear(ModelFamily):
    """What the linear families have in common."""

    _pipeline: Any = None

    @abstractmethod
    def solve(self, train: Sample, signs: Sequence[int], held: Sample) -> Coefficients:
        """Coefficients and intercept in log-odds, of imputed and standardised inputs; `held`: the validation part's."""

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

        from services.trainer.families.within import Within

        imputer, scaler = SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
        learnt = imputer.fit_transform(cut(train.matrix, limits_of(train.matrix)))
        within = Within(learnt.min(axis=0), learnt.max(axis=0))
        scaler.fit(learnt, sample_weight=train.weight)
        scaled, held = (
            replace(each, matrix=scaler.transform(within.transform(imputer.transform(each.matrix.astype(np.float64)))))
            for each in (train, validate)
        )
        signs = [self.conditions.direction(name) for name in names]
        coefficients, intercept = self.solve(scaled, signs, held)
        # The form that the converter to ONNX reads, whatever the coefficients minimise.
        model = LogisticRegression()
        model.classes_, model.n_features_in_ = np.array([0, 1]), len(names)
        model.coef_, model.intercept_ = coefficients[None, :], np.array([intercept])
        self._pipeline = Pipeline([("impute", imputer), ("keep", within), ("scale", scaler), ("regress", model)])

    def raw_probability(self, matrix: Matrix) -> NDArray[np.float64]:
        return np.asarray(self._pipeline.predict_proba(matrix.astype(np.float64))[:, 1])

    def export_onnx(self) -> bytes:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        from services.trainer.families.within import teach_the_converter

        teach_the_converter()
        width = self._pipeline.named_steps["regress"].coef_.shape[1]
        graph = to_onnx(
            self._pipeline,
            initial_types=[(INPUT, FloatTensorType([None, width]))],
            name="flit-risk",  # else a random one, and with it another hash each time
            options={id(self._pipeline): {"zipmap": False}},
            target_opset=OPSET,
        )
        return file_of(graph)

    def explanation(self) -> LinearExplanation:
        imputer, within, scaler, model = (step for _, step in self._pipeline.steps)
        return LinearExplanation(
            impute=imputer.statistics_.tolist(),
            mean=scaler.mean_.tolist(),
            scale=scaler.scale_.tolist(),
            coefficients=model.coef_[0].tolist(),
            intercept=float(model.intercept_[0]),
            lowest=within.lowest.tolist(),
            highest=within.highest.tolist(),
        )


class Logistic(Linear):
    """L2-penalised logistic regression."""

    family = "logistic"
    learns_from_validation = True

    PENALTY = 100.0
    """On half the sum of squared coefficients. Anything from 1 to 1000 ranks alike where the directions are given; this
    much settles features that tell nearly the same, and keeps a first model, of some hundred defaults, from saying more
    than it knows."""

    SPACE: ClassVar = {"penalty": (PENALTY, 3.0, 300.0)}

    @property
    def name(self) -> str:
        return f"logistic regression, {self.inputs.name}"

    def solve(self, train: Sample, signs: Sequence[int], held: Sample) -> Coefficients:
        return signed.logistic(train, signs, self.settings["penalty"])


class Ridge(Linear):
    """Ridge regression of the label (0 or 1), read as log-odds around the base rate.

    A straight line through zeros and ones leaves the unit interval, so it can't be served as a probability. A small
    step d of the probability at the base rate p is d / (p (1 - p)) of its log-odds: that is how the line is read, and
    the calibration, which every model gets, puts right what the approximation leaves.
    """

    family = "ridge"
    learns_from_validation = True

    SPACE: ClassVar = {"penalty": (Logistic.PENALTY, 3.0, 300.0)}

    @property
    def name(self) -> str:
        return f"ridge regression read as log-odds, {self.inputs.name}"

    def solve(self, train: Sample, signs: Sequence[int], held: Sample) -> Coefficients:
        rate = signed.base_rate(train)
        spread = rate * (1 - rate)
        # A likelihood bends with `spread` where a squared error bends with 1: the same penalty, in the units of the
        # latter.
        coefficients, level = signed.least_squares(train, signs, self.settings["penalty"] / spread)
        step = (level - rate) / spread
        return coefficients / spread, float(np.log(rate / (1 - rate)) + step)


class ElasticNet(Linear):
    """Logistic regression under an elastic net: most of many weak features end at a coefficient of exactly zero."""

    family = "elastic-net"

    STRENGTHS = (100.0, 30.0, 10.0, 3.0)
    """Of both penalties together; the validation part chooses. At 30 noise alone rarely moves a coefficient off zero on
    ten thousand rows with one default in twenty: its slope there has a standard error of about 22."""
    SPACE: ClassVar = {"l1_share": (0.5, 0.1, 0.9)}

    _strength = 0.0

    @property
    def name(self) -> str:
        kept = 0 if self._pipeline is None else np.count_nonzero(self._pipeline.named_steps["regress"].coef_)
        return f"elastic net, {kept} coefficients at strength {self._strength:g}, {self.inputs.name}"

    def solve(self, train: Sample, signs: Sequence[int], held: Sample) -> Coefficients:
        share = self.settings["l1_share"]
        best: tuple[float, float, Coefficients] | None = None
        for strength in self.STRENGTHS:
            l1, l2 = strength * share, strength * (1 - share)
            coefficients, intercept = signed.elastic_net(train, signs, l1, l2)
            probability = sigmoid(held.matrix @ coefficients + intercept)
            loss = weighted_mean(log_losses(held.label, probability), held.weight)
            if best is None or loss < best[0]:
                best = loss, strength, (coefficients, intercept)
        assert best is not None
        _, self._strength, found = best
        return found
