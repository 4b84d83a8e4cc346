"""Models of the trainer's own families side by side, each run tracked in MLflow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlflow
import numpy as np
from numpy.typing import NDArray

from notebooks.kit.study import Study
from services.trainer.evaluate import Economics, RankedScores, auc, evaluate
from services.trainer.examples import Examples
from services.trainer.families import Conditions, Inputs, ModelFamily
from services.trainer.split import Split
from services.trainer.train import learn

SEED = 20260601
CONDITIONS = Conditions(seed=SEED, threads=2)
ECONOMICS = Economics()
ROUNDS = 400
"""Of a bootstrap: the ends of a 95% interval are then good to some two hundredths of its length."""


@dataclass(frozen=True)
class Fitted:
    """A model with what it says of the test part."""

    name: str
    figures: dict[str, float]
    probability: NDArray[np.float64]
    """[n] calibrated, of the test part."""
    seconds: float
    ask: Callable[[Examples], NDArray[np.float64]]
    model: ModelFamily
    features: tuple[str, ...]


def fit(split: Split, candidate: ModelFamily) -> Fitted:
    """Fit, calibrate, judge: as the trainer does."""
    started = time.perf_counter()
    (trained,) = learn(split, [candidate])
    probability = trained.probability(split.test)
    seconds = time.perf_counter() - started
    figures = evaluate(split.test, probability, ECONOMICS, SEED)
    return Fitted(candidate.name, figures, probability, seconds, trained.probability, candidate, trained.feature_names)


def tracked(experiment: str, fitted: Fitted, split: Split, **also: float) -> None:
    """Write a run into MLflow's own database, where its pages show it."""
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///out/research/mlflow.db"))
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=fitted.name):
        mlflow.log_params(
            {
                "family": fitted.model.family,
                "inputs": fitted.model.inputs.name,
                "features": len(fitted.features),
                "train_rows": len(split.train),
                "seed": SEED,
                "data": split.train.digest()[:16],
            }
        )
        mlflow.log_metrics({name: value for name, value in fitted.figures.items() if np.isfinite(value)})
        mlflow.log_metrics({"fit_seconds": fitted.seconds, **also})


def inputs(name: str, features: Sequence[str]) -> Inputs:
    return Inputs(name, tuple(features))


def auc_gap(
    label: NDArray[np.integer], better: NDArray[np.floating], worse: NDArray[np.floating]
) -> tuple[float, float, float]:
    """AUC of one score less that of another on the same rows: the figure, and the middle 95% of a paired bootstrap over
    rows (both scores on the same draws: what is luck of the rows falls out)."""
    draws = np.random.default_rng(SEED)
    ranked = [RankedScores(label, score) for score in (better, worse)]
    gaps = []
    for _ in range(ROUNDS):
        weight = draws.multinomial(len(label), np.full(len(label), 1 / len(label))).astype(np.float64)
        first, second = (scores.auc(weight) for scores in ranked)
        gaps.append(first - second)
    low, high = np.percentile(gaps, [2.5, 97.5])
    return auc(label, better) - auc(label, worse), float(low), float(high)


def profit_curve(study: Study, probability: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share approved, and what that earns in basis points of the requested volume, the least risky first: [m], [m]."""
    test = study.split.test
    order = np.argsort(probability, kind="stable")
    amount, bad = test.amount[order], test.label[order].astype(bool)
    earned = np.where(bad, -ECONOMICS.loss_on_default, ECONOMICS.margin_on_good) * amount
    places = np.linspace(0, len(order), 201).astype(int)
    total = np.concatenate([[0.0], np.cumsum(earned)])[places]
    return places / len(order), 10_000 * total / amount.sum()
