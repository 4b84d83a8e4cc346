"""Purchases of the simulator, models that learnt from them, and files as `score` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow
import pyarrow.parquet

from services.trainer.evaluate import Economics
from services.trainer.examples import Examples
from services.trainer.families import Conditions, Inputs, ModelFamily
from services.trainer.families.linear import Logistic
from services.trainer.families.xgboost_trees import XGBoostTrees
from services.trainer.workflow import Plan, train_and_register
from shared.contracts.events import Decision
from shared.deciding import Lineup, decide
from shared.deciding.onnx_model import OnnxModel
from shared.feature_definitions import FEATURE_SET_VERSION, MODEL_FEATURES
from shared.model_artifact.registry import ModelRegistry
from shared.policy import DEFAULT_POLICY, load_policy
from tests.research.simulated import simulated_history
from tests.unit.scorer.parts import NOW, a_vector

Features = Mapping[str, float | None]
EVERYTHING = Inputs("everything", MODEL_FEATURES)
FAMILIES: dict[str, ModelFamily] = {
    "logistic": Logistic(EVERYTHING, Conditions(seed=1, threads=1)),
    "xgboost": XGBoostTrees(EVERYTHING, Conditions(seed=1, threads=1), depth=3),
}


def some_examples() -> Examples:
    return simulated_history("bnpl_history", days=60, daily=30, seed=4).examples


def trained(examples: Examples, family: str, registry: ModelRegistry) -> str:
    """The version, in service."""
    end, plan = int(examples.mature_us.max()), Plan(0.2, 0.2, Economics(), 1)
    made = train_and_register(examples, end, [FAMILIES[family]], plan, registry, promote=False)
    registry.promote(made.manifest.version, "test")
    return made.manifest.version


def features_of(examples: Examples) -> list[Features]:
    rows = np.where(np.isnan(examples.features), None, examples.features.astype(object))  # type: ignore[call-overload]
    return [dict(zip(examples.feature_names, row, strict=True)) for row in rows.tolist()]


def decisions(registry: ModelRegistry, event_ids: Sequence[str], features: Sequence[Features]) -> list[Decision]:
    """As the scorer makes them of the stream, with the model in service: in groups of many sizes, alone among them."""
    current = registry.current()
    assert current is not None
    lineup = Lineup({FEATURE_SET_VERSION: OnnxModel(registry.load(current))})
    policy = load_policy(DEFAULT_POLICY)
    vectors = [
        msgspec.structs.replace(a_vector(), event_id=event_id, features=dict(row))
        for event_id, row in zip(event_ids, features, strict=True)
    ]
    made: list[Decision] = []
    size = 0
    while len(made) < len(vectors):
        size = size % 23 + 1
        group = vectors[len(made) : len(made) + size]
        made += decide(group, lineup, policy, channel="stream", decided_at=NOW)
    return made


def in_json(examples: Examples) -> pyarrow.Table:
    """As the warehouse keeps features."""
    texts = [msgspec.json.encode(row).decode() for row in features_of(examples)]
    return pyarrow.table(
        {
            "event_id": list(examples.event_id),
            "feature_set_version": [examples.feature_set_version] * len(examples),
            "features": texts,
        }
    )


def write(path: Path, table: pyarrow.Table, **options: Any) -> Path:
    pyarrow.parquet.write_table(table, path, **options)
    return path
