from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from structlog.testing import capture_logs

from services.trainer.candidates import candidates_of
from services.trainer.evaluate import Economics
from services.trainer.examples import TrainingRefused
from services.trainer.export import ExportRefused, run_onnx
from services.trainer.families import Inputs, ModelFamily, Sample
from services.trainer.families.found import DEFAULT_FAMILIES
from services.trainer.families.linear import Logistic
from services.trainer.families.neural_network import NeuralNetwork
from services.trainer.families.xgboost_trees import XGBoostTrees
from services.trainer.gate import Champion, ask_champion, judge
from services.trainer.learning_set import ENOUGH_DEFAULTS, learnt_until_us, matured_set, unseen
from services.trainer.promotion.ladder import Ladder
from services.trainer.refit import refitted
from services.trainer.split import temporal_split
from services.trainer.train import learn
from services.trainer.workflow import Outcome, Plan, evaluate_version, train_and_register
from shared.experiments import Stage, Trials
from shared.feature_definitions import MODEL_FEATURES
from shared.model_artifact.explanation import LinearExplanation
from shared.model_artifact.manifest import check_golden, golden_matrix
from shared.model_artifact.registry import ModelRegistry
from shared.model_artifact.signing import ManifestSigner
from tests.unit.trainer.synthetic import (
    ALL,
    ALL_MATURE_US,
    CONDITIONS,
    DAY_US,
    NAMES,
    START_US,
    small_candidates,
    synthetic_examples,
)

PLAN = Plan(validate_share=0.2, test_share=0.2, economics=Economics(), seed=1)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(str(tmp_path))


def train(
    registry: ModelRegistry,
    *,
    seed: int = 1,
    signal: float = 0.9,
    promote: bool = True,
    candidates: list[ModelFamily] | None = None,
) -> Outcome:
    examples = synthetic_examples(3000, seed, signal)
    return train_and_register(
        examples, ALL_MATURE_US, candidates or small_candidates(), PLAN, registry, promote=promote
    )


def test_the_first_model_is_registered_whole_and_goes_into_service(registry: ModelRegistry) -> None:
    outcome = train(registry)
    files = registry.load(outcome.manifest.version)
    check_golden(files.manifest, run_onnx(files.onnx, golden_matrix(files.manifest)))
    assert outcome.promoted
    assert registry.current() == outcome.manifest.version
    assert outcome.manifest.metrics["auc"] > 0.7
    assert outcome.manifest.metrics["ece"] < 0.08


def test_what_is_registered_is_the_model_that_was_fitted_again(registry: ModelRegistry) -> None:
    outcome = train(registry, candidates=[Logistic(ALL, CONDITIONS)])
    split = temporal_split(synthetic_examples(3000), PLAN.validate_share, PLAN.test_share)
    (trained,) = learn(split, [Logistic(ALL, CONDITIONS)])
    again = refitted(trained, split)
    assert outcome.card["fitted_on"] == "the train and validation part"
    np.testing.assert_allclose(outcome.probability, again.probability(split.test), atol=1e-6)
    assert np.abs(outcome.probability - trained.probability(split.test)).max() > 1e-3
    assert train(registry, candidates=[XGBoostTrees(ALL, CONDITIONS)]).card["fitted_on"] == "the train part"


def test_the_same_data_and_seed_give_the_same_version(tmp_path: Path) -> None:
    first, second = (train(ModelRegistry(str(tmp_path / name))) for name in ("a", "b"))
    assert first.manifest.version == second.manifest.version
    assert train(ModelRegistry(str(tmp_path / "c")), seed=2).manifest.version != first.manifest.version


def test_what_is_constant_in_training_is_no_input(registry: ModelRegistry) -> None:
    names = train(registry).manifest.feature_names
    assert "always_one" not in names
    assert "never_known" not in names
    assert "utilization" in names


def test_a_worse_model_does_not_take_over(registry: ModelRegistry) -> None:
    good = train(registry)
    worse = train(registry, seed=5, candidates=[Shuffled()])
    assert not worse.promoted
    assert registry.current() == good.manifest.version
    assert worse.manifest.version in registry.versions()
    assert any("does not beat champion" in reason for reason in worse.reasons)


def test_a_better_model_takes_over_and_can_be_taken_back(registry: ModelRegistry) -> None:
    poor = train(registry, candidates=[Shuffled()])
    good = train(registry)
    assert (poor.promoted, good.promoted) == (True, True)
    assert registry.current() == good.manifest.version
    assert registry.rollback("test") == poor.manifest.version


def test_a_model_that_was_rolled_back_is_not_put_in_service_again_by_the_same_training(registry: ModelRegistry) -> None:
    poor, good = train(registry, candidates=[Shuffled()]), train(registry)
    registry.rollback("operator", expected=good.manifest.version)
    with capture_logs() as lines:
        again = train(registry)
    assert (again.manifest.version, again.promoted) == (good.manifest.version, False)
    assert registry.current() == poor.manifest.version
    assert "was rolled back, and stays out" in again.reasons[0]
    assert [line["version"] for line in lines if line["event"] == "promotion_refused"] == [good.manifest.version]
    registry.promote(good.manifest.version, "operator")
    assert registry.current() == good.manifest.version, "a person's hand is the way round it"


@pytest.mark.parametrize(("stage", "stays_out"), [(Stage.WITHDRAWN, True), (Stage.OUTDATED, False)])
def test_a_candidate_that_failed_on_the_ladder_does_not_come_in_beside_it(
    registry: ModelRegistry, stage: Stage, stays_out: bool
) -> None:
    poor, good = train(registry, candidates=[Shuffled()]), train(registry, promote=False)
    ladder = Ladder(registry)
    entered = ladder.enter(good.manifest.version, poor.manifest.version, ["all gates passed"], "a test")
    ladder.end(entered, stage, ["more declines"])
    again = train(registry)
    assert again.promoted is not stays_out
    assert ("more declines" in again.reasons[0]) is stays_out


def test_without_being_asked_nothing_is_promoted(registry: ModelRegistry) -> None:
    assert not train(registry, promote=False).promoted
    assert registry.current() is None


def test_the_model_in_service_trained_again_stays_in_service(registry: ModelRegistry) -> None:
    first = train(registry)
    again = train(registry)
    assert (again.manifest.version, again.promoted) == (first.manifest.version, True)
    assert registry.previous() is None


def test_a_damaged_champion_is_replaced_rather_than_obeyed(registry: ModelRegistry) -> None:
    poor = train(registry, candidates=[Shuffled()])
    (registry.root / "models" / poor.manifest.version / "model.onnx").write_bytes(b"cut")
    good = train(registry)
    assert registry.current() == good.manifest.version
    assert "not what was registered" in good.reasons[0]


def test_a_model_whose_export_answers_otherwise_is_not_registered(registry: ModelRegistry) -> None:
    with pytest.raises(ExportRefused):
        train(registry, candidates=[WrongExport()])
    assert registry.versions() == []


def test_too_little_data_registers_nothing(registry: ModelRegistry) -> None:
    early = START_US + DAY_US
    with pytest.raises(TrainingRefused):
        train_and_register(synthetic_examples(), early, small_candidates(), PLAN, registry, promote=True)
    assert registry.versions() == []


def test_a_model_that_explains_nothing_is_registered_as_a_challenger_even_where_there_is_no_champion(
    registry: ModelRegistry,
) -> None:
    outcome = train(registry, candidates=[NeuralNetwork(ALL, CONDITIONS)])
    assert (outcome.promoted, registry.current()) == (False, None)
    assert not outcome.manifest.explained
    assert "no exact contributions" in outcome.reasons[0]
    assert "never decide" in str(outcome.card["limits"])
    assert registry.change_trials(lambda _: Trials([outcome.manifest.version])).shadow == [outcome.manifest.version]


def test_a_model_whose_contributions_add_up_to_another_score_is_not_registered(registry: ModelRegistry) -> None:
    with pytest.raises(ExportRefused, match="add up to another score"):
        train(registry, candidates=[WrongReasons(ALL, CONDITIONS)])
    with pytest.raises(ExportRefused, match="gives no explanation"):
        train(registry, candidates=[NoReasons(ALL, CONDITIONS)])
    assert registry.versions() == []


@pytest.mark.parametrize("name", ["age_bracket_rank", "customer_state", "is_state_ca"])
def test_a_candidate_that_would_look_at_a_prohibited_basis_is_refused(registry: ModelRegistry, name: str) -> None:
    examples = synthetic_examples()
    names = (name, *NAMES[1:])
    object.__setattr__(examples, "feature_names", names)
    with pytest.raises(TrainingRefused, match="prohibited basis"):
        train_and_register(
            examples, ALL_MATURE_US, [Logistic(Inputs("all", names), CONDITIONS)], PLAN, registry, promote=True
        )
    assert registry.versions() == []


def test_the_competition_begins_with_the_simplest_and_uses_only_declared_features() -> None:
    candidates = candidates_of(DEFAULT_FAMILIES, CONDITIONS)
    assert [candidate.family for candidate in candidates][:2] == ["logistic", "logistic"]
    assert "purchases_24h" not in candidates[0].inputs.features
    assert set(candidates[0].inputs.features) < set(candidates[1].inputs.features) == set(MODEL_FEATURES)


def test_a_tie_keeps_what_is_in_service() -> None:
    holdout = synthetic_examples(500)
    probability = np.full(500, 0.15)
    verdict = judge(holdout, probability, Champion("0" * 16, probability), Economics())
    assert not verdict.promote


@pytest.mark.parametrize("trouble", [None, "hash: damaged"])
def test_where_a_champion_cannot_be_asked_the_rule_is_left_to_beat(trouble: str | None) -> None:
    holdout = synthetic_examples(500)
    holdout.rule_approves[:] = 1 - holdout.label  # nothing earns more
    version = None if trouble is None else "0" * 16
    verdict = judge(holdout, np.full(500, 0.15), Champion(version, None, trouble), Economics())
    assert verdict.promote is (trouble is None)


def test_too_few_later_defaults_are_judged_together_with_the_test_part() -> None:
    examples = synthetic_examples(3000).ordered()
    made = matured_set(examples.take(np.arange(2000)), ALL_MATURE_US, 0.2, 0.2)
    later = examples.occurred_us > learnt_until_us(made.window)
    few, many = (later & (np.cumsum(examples.label * later) <= count) for count in (3, ENOUGH_DEFAULTS))
    assert (examples.label[few].sum(), examples.label[many].sum()) == (3, ENOUGH_DEFAULTS)
    before = np.arange(3000) < 2000
    alone = unseen(made.window, examples.take(before | many))
    assert alone.occurred_us.min() > learnt_until_us(made.window)
    together = unseen(made.window, examples.take(before | few))
    assert len(together) == few.sum() + len(made.split.test)


def test_beating_the_champion_is_not_enough_where_the_rule_earns_more() -> None:
    holdout = synthetic_examples(500)
    holdout.rule_approves[:] = 1 - holdout.label
    better = np.clip(holdout.label * 0.5, 0.04, 0.5) + 0.02
    verdict = judge(holdout, better, Champion("0" * 16, np.full(500, 0.5)), Economics())
    assert not verdict.promote
    assert any("does not beat the low-risk rule" in reason for reason in verdict.reasons)


def test_a_champion_that_wants_features_no_longer_made_is_named_as_the_trouble(registry: ModelRegistry) -> None:
    train(registry)
    examples = synthetic_examples(500)
    object.__setattr__(examples, "feature_names", tuple(f"new_{name}" for name in NAMES))
    champion = ask_champion(registry, examples)
    assert champion.probability is None
    assert "made no more" in (champion.trouble or "")


def test_a_champion_of_another_feature_set_is_asked_with_the_features_it_knows(registry: ModelRegistry) -> None:
    train(registry)
    known = synthetic_examples(500)
    renewed = replace(known, features=known.features * 0, feature_set_version="2-later")
    shuffled = known.take(np.random.default_rng(1).permutation(500))
    asked = ask_champion(registry, renewed, lambda _: shuffled).probability
    direct = ask_champion(registry, known).probability
    assert asked is not None
    assert direct is not None
    np.testing.assert_array_equal(asked, direct)


def test_a_champion_that_cannot_be_compared_is_not_replaced_by_the_gate(registry: ModelRegistry) -> None:
    train(registry)
    known = synthetic_examples(500)
    renewed = replace(known, feature_set_version="2-later")
    for examples_of in (None, lambda _: known.take(slice(0, 499))):
        champion = ask_champion(registry, renewed, examples_of)
        verdict = judge(renewed, np.asarray(renewed.label * 0.9 + 0.05, dtype=np.float64), champion, Economics())
        assert not verdict.promote
        assert "can't be compared" in verdict.reasons[0]


def test_a_champion_of_a_key_that_is_not_trusted_here_serves_all_the_same_and_is_not_replaced(tmp_path: Path) -> None:
    """Another key: scorers trust both, the trainer was given the new one alone."""
    old, new = (ManifestSigner(Ed25519PrivateKey.generate()) for _ in range(2))
    train(ModelRegistry(str(tmp_path), signer=old, verifier=old.verifier))
    known = synthetic_examples(500)
    champion = ask_champion(ModelRegistry(str(tmp_path), signer=new, verifier=new.verifier), known)
    assert (champion.probability, champion.absent) == (None, False)
    verdict = judge(known, np.asarray(known.label * 0.9 + 0.05, dtype=np.float64), champion, Economics())
    assert not verdict.promote
    assert "signature" in verdict.reasons[0]


def test_a_champion_that_nobody_signed_serves_nowhere_where_there_are_keys(tmp_path: Path) -> None:
    train(ModelRegistry(str(tmp_path)))
    signer = ManifestSigner(Ed25519PrivateKey.generate())
    champion = ask_champion(
        ModelRegistry(str(tmp_path), signer=signer, verifier=signer.verifier), synthetic_examples(9)
    )
    assert (champion.probability, champion.absent) == (None, True)


def test_an_evaluation_takes_only_what_the_model_has_not_learnt_from(registry: ModelRegistry) -> None:
    version = train(registry).manifest.version
    window = registry.load(version).manifest.data_window
    own, probability, figures = evaluate_version(
        registry, version, synthetic_examples(3000), ALL_MATURE_US, Economics(), 1
    )
    assert len(own) == window.test_rows == len(probability)
    assert figures["auc"] == pytest.approx(registry.load(version).manifest.metrics["auc"])


class Shuffled(Logistic):
    """Learns from labels that were dealt out anew: worth nothing, but sound."""

    def __init__(self) -> None:
        super().__init__(Inputs("shuffled", NAMES), CONDITIONS)

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        super().fit(names, replace(train, label=np.random.default_rng(1).permutation(train.label)), validate)


class WrongReasons(Logistic):
    """Explains another intercept than it answers with."""

    def explanation(self) -> LinearExplanation:
        return msgspec.structs.replace(super().explanation(), intercept=0.0)


class NoReasons(Logistic):
    """Says that it explains itself, and doesn't."""

    def explanation(self) -> None:  # type: ignore[override]
        return None


class WrongExport(XGBoostTrees):
    """Exports one tree too few of what it answers with."""

    def __init__(self) -> None:
        super().__init__(Inputs("wrong", NAMES), CONDITIONS)

    def raw_probability(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(self._model.predict_proba(matrix, iteration_range=(0, 3))[:, 1], dtype=np.float64)
