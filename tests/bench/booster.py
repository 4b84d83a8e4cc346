"""The booster of benchmarks and load tests: registered and promoted for our own programs, as a file for others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from shared.feature_definitions import MODEL_FEATURES
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.registry import ModelRegistry

if TYPE_CHECKING:
    from services.trainer.examples import Examples

DAYS, DAILY = 60, 200


@dataclass(frozen=True)
class Booster:
    files: ModelFiles
    xgboost: bytes
    """As XGBoost itself saves it: JSON."""


@cache
def examples() -> Examples:
    """What it learns from: the same for all benchmarks of a run."""
    from tests.research.simulated import simulated_history  # only here: seconds of imports that most have no use for

    return simulated_history("bnpl_history", days=DAYS, daily=DAILY, seed=5).examples


def train(registry_folder: Path) -> Booster:
    """Train one, register and promote it."""
    from services.trainer.evaluate import Economics  # only here, as above
    from services.trainer.families import Conditions, Inputs
    from services.trainer.families.xgboost_trees import XGBoostTrees
    from services.trainer.workflow import Plan, train_and_register

    booster = XGBoostTrees(Inputs("everything", MODEL_FEATURES), Conditions(seed=1, threads=2), depth=3)
    registry, end = ModelRegistry(str(registry_folder)), int(examples().mature_us.max())
    plan = Plan(0.2, 0.2, Economics(), 1)
    made = train_and_register(examples(), end, [booster], plan, registry, promote=False)
    registry.promote(made.manifest.version, "bench")
    return Booster(registry.load(made.manifest.version), booster.booster())
