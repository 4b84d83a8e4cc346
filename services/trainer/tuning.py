"""Looks for better settings of the candidates, within a budget.

Each trial fits one candidate anew with settings drawn from those that its family declares, and is judged where all
candidates are: on the validation part, which lies after the train part. It replaces what it was drawn for only where it
is clearly better (`train.choose`): of many trials the best by a hair is the luckiest.

Which trials there are, and in which order, follows from the seed and the data alone. A budget of trials gives the same
model each time. A budget of seconds only decides how many of them were made; their number is on the model card, and a
training with that number as its budget of trials gives the same version again, on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from time import monotonic

import numpy as np

from services.trainer.examples import TrainingRefused
from services.trainer.families import ModelFamily
from services.trainer.split import Split
from services.trainer.train import Trained, choose, learn


@dataclass(frozen=True)
class Budget:
    trials: int = 0
    seconds: float | None = None
    """No trial is begun after so long."""


NO_TRIALS = Budget()


@dataclass(frozen=True)
class Trial:
    model: str
    settings: dict[str, float]
    validation_log_loss: float
    taken: bool
    """It was clearly better than the best of its candidate before."""


@dataclass(frozen=True)
class Tuned:
    trained: list[Trained]
    """In the order given."""
    trials: list[Trial]


def tune(
    split: Split, trained: Sequence[Trained], budget: Budget, seed: int, clock: Callable[[], float] = monotonic
) -> Tuned:
    """The candidates, each with the best settings that were found. In turn, those with the lowest loss first."""
    best = list(trained)
    ranked = sorted(range(len(best)), key=lambda place: best[place].validation_log_loss)
    trials: list[Trial] = []
    began = clock()
    for place, settings in _in_turn({place: draws(best[place].candidate, seed) for place in ranked}):
        if len(trials) >= budget.trials or (budget.seconds is not None and clock() - began >= budget.seconds):
            break
        try:
            (attempt,) = learn(split, [best[place].candidate.with_settings(settings)])
        except TrainingRefused:  # with these settings its code fails, as was said; the candidate as it is doesn't
            continue
        taken = choose([best[place], attempt]) is attempt
        trials.append(Trial(attempt.candidate.name, settings, attempt.validation_log_loss, taken))
        if taken:
            best[place] = attempt
    return Tuned(best, trials)


def draws(candidate: ModelFamily, seed: int) -> Iterator[dict[str, float]]:
    """Every combination of what the family declares but the candidate's own, each once, in a random order."""
    space = candidate.SPACE
    combinations = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    for place in np.random.default_rng(seed).permutation(len(combinations)):
        if combinations[place] != candidate.settings:
            yield combinations[place]


def _in_turn(waiting: dict[int, Iterator[dict[str, float]]]) -> Iterator[tuple[int, dict[str, float]]]:
    """One of each, then the next of each, until all have ended."""
    while waiting:
        for place in list(waiting):
            settings = next(waiting[place], None)
            if settings is None:
                del waiting[place]
            else:
                yield place, settings
