"""Purchases with a known default law, for tests that need no simulator."""

from __future__ import annotations

import json
import math

import numpy as np
from numpy.typing import NDArray

from services.trainer.examples import Examples
from services.trainer.families import Conditions, Inputs, ModelFamily, Sample
from services.trainer.families.linear import Logistic
from services.trainer.families.xgboost_trees import XGBoostTrees
from shared.model_artifact.manifest import sigmoid

DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000
"""2026-01-01."""
MATURITY_US = 56 * DAY_US
DAYS = 60
NAMES = ("amount", "credit_rank", "tenure_days", "utilization", "noise", "always_one", "never_known")
SIGNAL = 0.9


def kept_features(examples: Examples, row: int) -> str:
    """The features of a row as the warehouse keeps them: JSON, null where unknown."""
    values = zip(examples.feature_names, examples.features[row].tolist(), strict=True)
    return json.dumps({name: None if math.isnan(value) else value for name, value in values})


def synthetic_examples(rows: int = 3000, seed: int = 1, signal: float = SIGNAL) -> Examples:
    """Log-odds of default: linear in a rank and a share, with values missing; about one in six defaults."""
    draws = np.random.default_rng(seed)
    occurred = START_US + np.sort(draws.integers(0, DAYS * DAY_US // 1_000_000, rows)) * 1_000_000
    rank = draws.integers(0, 5, rows).astype(float)
    utilization = np.where(draws.random(rows) < 0.6, np.nan, draws.random(rows))
    amount = np.round(draws.uniform(15, 400, rows), 2)
    score = signal * (2 - rank) + signal * np.nan_to_num(utilization, nan=0.2) - 2.2
    label = (draws.random(rows) < sigmoid(score)).astype(np.int8)
    features = np.stack(
        [
            amount,
            rank,
            draws.integers(0, 2000, rows),
            utilization,
            draws.normal(size=rows),
            np.ones(rows),
            np.full(rows, np.nan),
        ],
        axis=1,
    )
    return Examples(
        event_id=np.array([f"event-{seed}-{i:06d}" for i in range(rows)], dtype=object),
        transaction_id=np.array([f"txn_{i:08d}" for i in range(rows)], dtype=object),
        customer_id=np.array([f"cust_{i % 700:06d}" for i in range(rows)], dtype=object),
        occurred_us=occurred.astype(np.int64),
        mature_us=(occurred + MATURITY_US).astype(np.int64),
        amount=amount,
        weight=np.ones(rows),
        label=label,
        rule_approves=(rank >= 2).astype(np.int8),
        features=features.astype(np.float32),
        feature_names=NAMES,
        feature_set_version="1-test",
    )


ALL_MATURE_US = START_US + DAYS * DAY_US + MATURITY_US


CONDITIONS = Conditions(seed=1, threads=1)
ALL = Inputs("all", NAMES)


def sample(examples: Examples) -> Sample:
    return Sample(examples.features, examples.label, examples.weight)


def small_candidates() -> list[ModelFamily]:
    """The families of the real competition, over these features."""
    return [Logistic(ALL, CONDITIONS), XGBoostTrees(ALL, CONDITIONS), XGBoostTrees(ALL, CONDITIONS, depth=3)]


def said_and_outcomes(count: int, seed: int, slope: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """What a model says of purchases, and what becomes of them: `slope` times as far apart as is said, in log-odds."""
    draws = np.random.default_rng(seed)
    scores = draws.normal(-3.0, 0.4, count)
    return sigmoid(scores), (draws.random(count) < sigmoid(slope * (scores + 3.0) - 3.0)).astype(np.int8)
