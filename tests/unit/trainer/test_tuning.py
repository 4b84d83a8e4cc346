"""A budgeted search for better settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from services.trainer.families import ModelFamily, Sample
from services.trainer.families.linear import Logistic
from services.trainer.split import Split, temporal_split
from services.trainer.train import learn
from services.trainer.tuning import Budget, draws, tune
from tests.unit.trainer.synthetic import ALL, CONDITIONS, small_candidates, synthetic_examples


class HalfBlind(Logistic):
    """Unless told otherwise it learns from nothing but zeros."""

    SPACE: ClassVar = Logistic.SPACE | {"sees": (0.0, 1.0)}

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        seen = replace(train, matrix=train.matrix * self.settings["sees"])
        super().fit(names, seen, validate)


@pytest.fixture(scope="module")
def split() -> Split:
    return temporal_split(synthetic_examples(3000), 0.2, 0.2)


def search(split: Split, candidates: list[ModelFamily], budget: Budget, seed: int = 1) -> list[dict[str, float]]:
    return [trial.settings for trial in tune(split, learn(split, candidates), budget, seed).trials]


def test_settings_that_are_clearly_better_are_taken_and_others_are_not(split: Split) -> None:
    found = tune(split, learn(split, [HalfBlind(ALL, CONDITIONS)]), Budget(trials=9), seed=1)
    assert [trial.taken for trial in found.trials].count(True) == 1
    assert found.trained[0].candidate.settings["sees"] == 1
    usual = learn(split, [Logistic(ALL, CONDITIONS)])
    again = tune(split, usual, Budget(trials=9), seed=1)
    assert len(again.trials) == len(Logistic.SPACE["penalty"]) - 1
    assert not any(trial.taken for trial in again.trials)
    assert again.trained == usual


def test_the_same_seed_and_budget_make_the_same_trials_and_never_one_twice(split: Split) -> None:
    first = search(split, small_candidates(), Budget(trials=7))
    assert first == search(split, small_candidates(), Budget(trials=7))
    assert first[:3] == search(split, small_candidates(), Budget(trials=3))
    candidate = small_candidates()[1]
    drawn = list(draws(candidate, 1))
    assert len({tuple(each.items()) for each in drawn}) == len(drawn) == 26
    assert candidate.settings not in drawn
    assert drawn != list(draws(candidate, 2))


def test_a_budget_of_seconds_only_ends_the_very_same_trials_earlier(split: Split) -> None:
    moments = iter(np.arange(0.0, 100.0))
    stopped = tune(split, learn(split, small_candidates()), Budget(50, seconds=3.5), 1, clock=lambda: next(moments))
    assert len(stopped.trials) == 3
    assert [trial.settings for trial in stopped.trials] == search(split, small_candidates(), Budget(trials=3))


def test_the_test_part_has_no_say_in_the_trials(split: Split) -> None:
    before = tune(split, learn(split, small_candidates()), Budget(trials=3), 1).trials
    spoilt = replace(split, test=replace(split.test, label=1 - split.test.label, features=split.test.features * 0))
    assert tune(spoilt, learn(spoilt, small_candidates()), Budget(trials=3), 1).trials == before


def test_without_a_budget_nothing_is_tried(split: Split) -> None:
    assert search(split, small_candidates(), Budget()) == []


class Fickle(Logistic):
    """Fails with other settings than its own."""

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        if self.settings["penalty"] != self.PENALTY:
            raise ZeroDivisionError
        super().fit(names, train, validate)


def test_settings_that_a_family_cannot_bear_are_passed_over(split: Split) -> None:
    trained = learn(split, [Fickle(ALL, CONDITIONS)])
    assert tune(split, trained, Budget(trials=4), 1).trained == trained
