"""Who is fitted, and who of them is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from services.trainer.examples import TrainingRefused
from services.trainer.families import Conditions, Inputs, Sample
from services.trainer.families.found import load
from services.trainer.families.linear import Logistic
from services.trainer.families.neural_network import NeuralNetwork
from services.trainer.split import temporal_split
from services.trainer.train import Trained, choose, informative_features, learn
from shared.model_artifact.manifest import Calibration
from tests.unit.trainer.synthetic import ALL, CONDITIONS, NAMES, small_candidates, synthetic_examples


def test_a_feature_known_only_sometimes_is_kept_though_its_known_value_never_changes() -> None:
    examples = synthetic_examples(500)
    examples.features[:, NAMES.index("noise")] = np.where(np.arange(500) % 2, 1.0, np.nan)
    assert "noise" in informative_features(examples, NAMES)


def losses(values: list[float]) -> Trained:
    return Trained(
        Logistic(ALL, CONDITIONS), NAMES, Calibration(), np.array(values), np.ones(len(values)), np.arange(len(values))
    )


def test_a_more_complex_model_must_be_clearly_better_to_be_chosen() -> None:
    draws = np.random.default_rng(1).normal(0.2, 0.05, 1000)
    simple = losses(draws.tolist())
    by_a_hair = losses((draws - np.random.default_rng(2).normal(0.0005, 0.02, 1000)).tolist())
    clearly = losses((draws - np.random.default_rng(3).normal(0.005, 0.02, 1000)).tolist())
    assert by_a_hair.validation_log_loss < simple.validation_log_loss
    assert choose([simple, by_a_hair]) is simple
    assert choose([simple, by_a_hair, clearly]) is clearly
    assert choose([clearly, simple, by_a_hair]) is clearly


def test_what_a_few_regulars_show_makes_no_model_clearly_better() -> None:
    simple, challenger = losses([0.2] * 1000), np.full(1000, 0.2)
    challenger[:100] -= 0.1
    assert choose([simple, losses(challenger.tolist())]).validation_losses[0] == pytest.approx(0.1)
    regulars = np.where(np.arange(1000) < 100, 0, np.arange(1000))
    of_one, better = (replace(losses(list(of)), validation_customers=regulars) for of in ([0.2] * 1000, challenger))
    assert choose([of_one, better]) is of_one


def test_a_model_that_explains_nothing_is_chosen_only_where_there_is_no_other() -> None:
    silent = Trained(
        NeuralNetwork(ALL, CONDITIONS), NAMES, Calibration(), np.full(1000, 0.1), np.ones(1000), np.arange(1000)
    )
    simple = losses([0.3] * 1000)
    assert choose([simple, silent]) is simple
    assert choose([silent]) is silent


def test_the_test_part_has_no_say_in_the_choice() -> None:
    split = temporal_split(synthetic_examples(3000), 0.2, 0.2)
    before = [item.validation_log_loss for item in learn(split, small_candidates())]
    split.test.label[:] = 1 - split.test.label
    split.test.features[:] = 0
    assert [item.validation_log_loss for item in learn(split, small_candidates())] == before


def test_a_candidate_without_any_varying_feature_sits_out() -> None:
    split = temporal_split(synthetic_examples(3000), 0.2, 0.2)
    constants = Logistic(Inputs("constants", ("always_one", "never_known")), CONDITIONS)
    other = Logistic(ALL, CONDITIONS)
    assert [item.candidate for item in learn(split, [constants, other])] == [other]
    with pytest.raises(TrainingRefused):
        learn(split, [constants])


@pytest.mark.parametrize("kind", ["logistic", "ridge", "elastic-net", "xgboost", "lightgbm", "catboost"])
def test_no_feature_moves_the_risk_against_its_direction(kind: str) -> None:
    """In these data a higher rank lowers the risk; told that it may only raise it, a model must leave it alone."""
    split = temporal_split(synthetic_examples(3000), 0.2, 0.2)

    def contrary(name: str) -> int:
        return 1 if name == "credit_rank" else 0

    (family,) = load([kind])
    candidate = family(ALL, Conditions(seed=1, threads=1, direction=contrary))
    (trained,) = learn(split, [candidate])
    inputs = split.test.columns(trained.feature_names)
    raised = inputs.copy()
    raised[:, trained.feature_names.index("credit_rank")] += 1
    moved = candidate.raw_probability(raised) - candidate.raw_probability(inputs)
    assert moved.min() >= -1e-7


class Broken(Logistic):
    """As a plug-in may be."""

    family = "broken"

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        raise ZeroDivisionError


def test_a_family_that_fails_leaves_the_others_to_compete_and_alone_is_refused() -> None:
    split = temporal_split(synthetic_examples(3000), 0.2, 0.2)
    able = Logistic(ALL, CONDITIONS)
    assert [item.candidate for item in learn(split, [Broken(ALL, CONDITIONS), able])] == [able]
    with pytest.raises(TrainingRefused, match="broken: ZeroDivisionError"):
        learn(split, [Broken(ALL, CONDITIONS)])
