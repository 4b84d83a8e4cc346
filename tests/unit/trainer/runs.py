"""Trainings as processes of their own, on purchases of a known law: to be compared, and to be killed.

`python -m tests.unit.trainer.runs REGISTRY` prints the versions of two, one for each kind of labels.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

from services.trainer.evaluate import Economics
from services.trainer.tuning import Budget
from services.trainer.workflow import Outcome, Plan, train_and_register
from shared.model_artifact.registry import ModelRegistry
from tests.unit.trainer.maturity.known_law import day, world
from tests.unit.trainer.synthetic import small_candidates

PLAN = Plan(0.2, 0.2, Economics(), seed=1, tuning=Budget(trials=2))


def run(registry: str, *, hazard: bool, seed: int = 1, progress: Callable[[str], None] | None = None) -> Outcome:
    """A training of 150 days' purchases on day 150."""
    known = world(6_000, 150, seed).known(day(150))
    return train_and_register(
        known.settled(), day(150), small_candidates(), PLAN, ModelRegistry(registry),
        promote=True, known=known if hazard else None, progress=progress,
    )  # fmt: skip


def run_until(step: str, registry: str, reached: Connection) -> None:
    """The training, which stands still once a step is done and somebody has been told."""

    def stand_still(name: str) -> None:
        if name == step:
            reached.send(name)
            signal.pause()

    run(registry, hazard=True, progress=stand_still)


if __name__ == "__main__":
    for kind in (False, True):
        print("version", run(f"{sys.argv[1]}-{kind}", hazard=kind).manifest.version)
