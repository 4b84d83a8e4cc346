"""The commands over a warehouse held in memory."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pyarrow
import pytest

from services.trainer import switch
from services.trainer.cli import parse
from services.trainer.commands import STEPS, Trainer
from services.trainer.examples import Examples, TooFewExamples, TrainingRefused
from services.trainer.experiments import exposures
from services.trainer.experiments.exposures import Exposures
from services.trainer.monitoring import purchases
from services.trainer.monitoring.reference import decode_reference
from services.trainer.segments import GROUPS, SEGMENTS
from services.trainer.settings import TrainerSection, TrainerSettings
from services.trainer.spans import outside
from services.trainer.warehouse import Evaluation, Warehouse, WarehouseUnavailable
from shared.contracts.identity import epoch_micros
from shared.experiments import Candidacy, Experiment, Stage, Step, Trials
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, PromotionConflict
from shared.policy import DEFAULT_POLICY, load_policy
from shared.policy.exploration import Propensity
from shared.settings import ModelRegistrySettings
from tests.research.simulated import simulated_history
from tests.unit.scorer.parts import register
from tests.unit.trainer.experiments.traffic import traffic
from tests.unit.trainer.synthetic import kept_features


class WarehouseInMemory:
    project = "in-memory"

    def __init__(self, examples: Examples) -> None:
        self.examples = examples
        self.evaluations: list[Evaluation] = []

    def clock(self) -> int:
        return int(self.examples.occurred_us.max())

    def matured_examples(self, as_of_us: int, feature_set: str, propensity: Propensity) -> Examples:
        assert feature_set == FEATURE_SET_VERSION
        self.propensity = propensity
        return self.examples.matured(as_of_us)

    def rows(self, select: str) -> pyarrow.Table:
        """All purchases, whatever days of them are asked for: what the reference is made of. Nobody tells what the
        purchases were."""
        if "raw_bnpl_prediction_logs" not in select:
            return pyarrow.table({name: [] for name in ("event_id", "customer_id", *SEGMENTS, *GROUPS)})
        examples, count = self.examples, len(self.examples)
        segments = (f"segment_{name}" for name in purchases.SEGMENTS)
        unknown = dict.fromkeys(("decided_us", "degraded", *segments), [None] * count)
        return pyarrow.table(
            {
                "customer_id": examples.customer_id,
                "occurred_us": examples.occurred_us,
                "features": [kept_features(examples, row) for row in range(count)],
                **unknown,
            }
        )

    def append_evaluation(self, row: Evaluation) -> None:
        self.evaluations.append(row)


@pytest.fixture(scope="module")
def examples() -> Examples:
    return simulated_history("bnpl_history", days=110, daily=40, seed=2).examples


@pytest.fixture
def warehouse(examples: Examples) -> WarehouseInMemory:
    return WarehouseInMemory(examples)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(str(tmp_path / "models"))


@pytest.fixture
def steps() -> list[str]:
    return []


@pytest.fixture
def trainer(warehouse: WarehouseInMemory, registry: ModelRegistry, steps: list[str], tmp_path: Path) -> Trainer:
    settings = TrainerSettings(trainer=TrainerSection(reports=str(tmp_path / "reports")))
    return Trainer(settings, cast(Warehouse, warehouse), registry, steps.append)


def test_training_answers_with_what_it_wrote_down(
    trainer: Trainer, warehouse: WarehouseInMemory, registry: ModelRegistry, steps: list[str]
) -> None:
    answer = trainer.train(parse(["train"]))
    (row,) = warehouse.evaluations
    assert answer["version"] == row.model_version == registry.current()
    assert row.metrics["auc"] == answer["auc"] == registry.load(answer["version"]).manifest.metrics["auc"]
    assert answer["auc_ceiling"] is None
    assert row.rows == answer["rows"]["test"]
    assert Path(answer["card"]).read_text().startswith("<!doctype html>")
    assert len(steps) == STEPS["train"]


def test_a_family_is_trained_by_name_and_put_in_shadow_where_it_may_not_decide(
    trainer: Trainer, registry: ModelRegistry
) -> None:
    first = trainer.train(parse(["train"]))["version"]
    answer = trainer.train(parse(["train", "--family", "neural-network", "--shadow"]))
    assert (answer["family"], answer["explained"], answer["promoted"], answer["shadow"]) == (
        "neural-network", False, False, True,
    )  # fmt: skip
    assert "no exact contributions" in answer["reasons"][0]
    assert (registry.current(), registry.trials().shadow) == (first, [answer["version"]])
    trainer.train(parse(["train", "--family", "neural-network", "--shadow"]))
    assert registry.trials().shadow == [answer["version"]], "twice the same is once"
    with pytest.raises(ArtifactRefused, match="never decide"):
        switch.promote(registry, parse(["promote", answer["version"]]))


def test_a_model_carries_the_reference_of_its_own_inputs_and_the_same_purchases_give_the_same_version(
    trainer: Trainer, registry: ModelRegistry
) -> None:
    version = trainer.train(parse(["train"]))["version"]
    files = registry.load(version)
    assert files.reference is not None
    reference = decode_reference(files.reference)
    assert list(reference.features) == files.manifest.feature_names
    assert reference.rows > 0
    assert trainer.train(parse(["train", "--no-promote"]))["version"] == version


def test_days_of_bad_input_are_not_what_the_next_ones_are_compared_with(
    trainer: Trainer, warehouse: WarehouseInMemory, registry: ModelRegistry, examples: Examples
) -> None:
    asked = parse(["train"])
    whole = decode_reference(registry.load(trainer.train(asked)["version"]).reference or b"")
    last_us = int(examples.occurred_us.max()) - 30 * 86_400_000_000
    asked.without = ((last_us, last_us + 5 * 86_400_000_000),)
    sound = decode_reference(registry.load(trainer.train(asked)["version"]).reference or b"")
    left_out = int((~outside(examples.occurred_us, asked.without)).sum())
    assert (sound.rows, left_out > 0) == (whole.rows - left_out, True)


def test_the_families_to_train_are_a_setting(
    tmp_path: Path, warehouse: WarehouseInMemory, registry: ModelRegistry
) -> None:
    section = TrainerSection(reports=str(tmp_path), families="ridge, elastic-net")
    trainer = Trainer(TrainerSettings(trainer=section), cast(Warehouse, warehouse), registry, lambda _: None)
    assert trainer.train(parse(["train"]))["family"] in ("ridge", "elastic-net")
    for nonsense in ("", "a b", ","):
        with pytest.raises(ValueError, match="families"):
            TrainerSection(families=nonsense)


def test_every_family_is_named_with_where_it_comes_from(registry: ModelRegistry) -> None:
    named = switch.families(registry, parse(["families"]))
    assert list(named)[:2] == ["logistic", "ridge"]
    assert {each["distribution"] for each in named.values()} == {"flit-risk"}


def test_without_an_experiment_there_is_nothing_to_guard_or_to_analyse(trainer: Trainer) -> None:
    assert trainer.guard(parse(["guard"]))["experiment"] is None
    with pytest.raises(TrainingRefused, match="no experiment runs"):
        trainer.analyse_experiment(parse(["analyse-experiment"]))
    with pytest.raises(TrainingRefused, match="no experiment spring"):
        trainer.analyse_experiment(parse(["analyse-experiment", "spring"]))


def test_the_experiment_that_runs_is_read_from_the_champion_on_also_by_its_name(
    trainer: Trainer, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the guard reads it: what the arm's champion of before decided says nothing of this one."""
    asked: list[int] = []

    def read(_: object, experiment: Experiment, since_us: int, until_us: int) -> Exposures:
        asked.append(since_us)
        return traffic(experiment, 200, 1)

    monkeypatch.setattr(exposures, "read", read)
    before, champion, arm = (register(registry, intercept=intercept) for intercept in (-3.0, -2.0, -1.0))
    registry.promote(before, "a test")
    switch.experiment(registry, parse(["experiment", "trial", "--arm", f"canary=0.1:{arm}"]))
    registry.promote(champion, "a test")
    pointer = registry.pointer("current")
    assert pointer is not None
    for name in ([], ["trial"]):
        trainer.analyse_experiment(parse(["analyse-experiment", *name]))
    settled_us = int(trainer._settings.trainer.guard.settle_seconds * 1_000_000)
    assert asked == [epoch_micros(pointer.promoted_at) + settled_us] * 2
    running = registry.trials().experiment
    assert running is not None
    switch.experiment(registry, parse(["experiment", "--stop"]))
    trainer.analyse_experiment(parse(["analyse-experiment", "trial"]))
    assert asked[-1] == epoch_micros(running.started_at) + settled_us, "of one that has ended all is read"


def test_an_evaluation_after_training_is_of_what_matured_since(
    trainer: Trainer, warehouse: WarehouseInMemory, steps: list[str]
) -> None:
    end = warehouse.clock()
    trained = trainer.train(parse(["train"]))
    del steps[:]
    later = parse(["evaluate"])
    later.as_of = end + 90 * 86_400_000_000
    found = trainer.evaluate(later)
    assert found["version"] == trained["version"]
    assert found["rows"] == (warehouse.examples.occurred_us > epoch_micros(trained["window"]["test_to"])).sum() > 0
    assert warehouse.evaluations[-1].kind == "matured"
    assert len(steps) == STEPS["evaluate"]


def test_an_evaluation_with_nothing_later_than_the_training_saw_confirms_nothing(
    trainer: Trainer, warehouse: WarehouseInMemory
) -> None:
    trainer.train(parse(["train"]))
    told = len(warehouse.evaluations)
    assert trainer.evaluate(parse(["evaluate"]))["later"] == 0
    assert len(warehouse.evaluations) == told


def test_what_a_policy_approved_by_chance_counts_by_the_share_that_it_says(
    trainer: Trainer, warehouse: WarehouseInMemory, registry: ModelRegistry, tmp_path: Path
) -> None:
    exploring = DEFAULT_POLICY.read_text().replace(
        "exploration: null",
        'exploration: {share: "0.04", salt: salty-enough, up_to_loss_rate: "0.9", most_expected_loss_usd: "100"}',
    )
    (tmp_path / "exploring.yaml").write_text(exploring)
    name = load_policy(tmp_path / "exploring.yaml").name
    registry.keep_policy(name, exploring.encode())
    registry.keep_policy(load_policy().name, DEFAULT_POLICY.read_bytes())
    trainer.train(parse(["train"]))
    assert warehouse.propensity(name) == 0.04
    for unknown in ("another", load_policy().name):
        with pytest.raises(TrainingRefused, match="nobody knows how often"):
            warehouse.propensity(unknown)


def test_without_a_model_in_service_there_is_nothing_to_evaluate(trainer: Trainer) -> None:
    with pytest.raises(TrainingRefused, match="no model is in service"):
        trainer.evaluate(parse(["evaluate"]))


def test_promotion_and_return_by_hand(trainer: Trainer, registry: ModelRegistry) -> None:
    first = trainer.train(parse(["train"]))["version"]
    earlier = parse(["train", "--no-promote"])
    earlier.as_of = trainer._warehouse.clock() - 3 * 86_400_000_000
    second = trainer.train(earlier)["version"]
    assert registry.current() == first
    assert switch.promote(registry, parse(["promote", second])) == {"current": second, "previous": first}
    assert switch.rollback(registry, parse(["rollback", second])) == {"current": first, "previous": second}
    with pytest.raises(PromotionConflict):
        switch.rollback(registry, parse(["rollback", second]))
    assert switch.rollback(registry, parse(["rollback"])) == {"current": second, "previous": first}
    with pytest.raises(ArtifactRefused):
        switch.promote(registry, parse(["promote", "0" * 16]))


@pytest.mark.parametrize("text", ["2026-06-01", "2026-06-01T00:00:00Z", "2026-06-01T02:00:00+02:00"])
def test_a_time_is_understood_with_its_zone(text: str) -> None:
    assert parse(["train", "--as-of", text]).as_of == 1_780_272_000_000_000


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train", "--as-of", "2026-06-01T00:00:00"],
        ["train", "--as-of", "soon"],
        ["fit"],
        ["train", "--ladder", "--no-promote"],
        ["train", "--ladder", "--shadow"],
    ],
)
def test_a_command_line_that_says_nothing_sound_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(arguments)
    assert refused.value.code == 2


def test_models_are_put_in_shadow_and_on_trial_by_hand(tmp_path: Path) -> None:
    registry = ModelRegistry(str(tmp_path / "models"))
    one, other = (register(registry, intercept=intercept) for intercept in (-2.0, -1.0))
    assert switch.shadow(registry, parse(["shadow", one, other])) == {"shadow": [one, other]}
    begun = switch.experiment(registry, parse(["experiment", "trial", "--arm", f"canary=0.05:{other}", "--salt", "a"]))
    assert begun["experiment"]["arms"] == [{"name": "canary", "share": 0.05, "model_version": other}]
    assert registry.trials().shadow == [one, other]
    assert switch.experiment(registry, parse(["experiment", "--stop"])) == {"experiment": None}
    assert switch.shadow(registry, parse(["shadow"])) == {"shadow": []}


def test_a_training_of_each_night_leaves_one_model_of_its_family_in_shadow(tmp_path: Path) -> None:
    registry = ModelRegistry(str(tmp_path / "models"))
    nights = [register(registry, intercept=intercept) for intercept in (-3.0, -2.5, -2.0)]
    climbs, other = register(registry, intercept=-1.5), register(registry, family="another")
    returned_to = register(registry, intercept=-1.0)
    entered = Step(Stage.SHADOW, "2026-03-01T00:00:00.000000Z", "a test", [])
    climbing = Candidacy(climbs, returned_to, "2026-03-01T00:00:00.000000Z", [entered])
    registry.change_trials(lambda _: Trials([climbs, other, returned_to], candidacy=climbing))
    for version in nights:
        switch.add_to_shadow(registry, version, "a training")
    assert registry.trials().shadow == [climbs, other, returned_to, nights[-1]]


def test_a_version_that_does_not_exist_is_never_tried(tmp_path: Path) -> None:
    registry = ModelRegistry(str(tmp_path / "models"))
    with pytest.raises(ArtifactRefused):
        switch.shadow(registry, parse(["shadow", "0" * 16]))
    assert registry.trials() == Trials()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["trial"],
        ["trial", "--arm", "canary"],
        ["trial", "--arm", "canary=2:abc"],
        ["trial", "--arm", "champion=0.1:abc"],
        ["trial", "--stop"],
    ],
)
def test_an_experiment_that_makes_no_sense_is_refused_at_once(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(["experiment", *arguments])
    assert refused.value.code == 2


def test_in_production_only_what_registers_models_needs_the_key_that_signs() -> None:
    keys = ModelRegistrySettings(public_keys_file=Path("keys.pem"))
    settings = TrainerSettings(profile="production", model_registry=keys)
    for command in ("train", "watch"):
        assert settings.lacks_for(command) == "MODEL_REGISTRY__SIGNING_KEY_FILE"
    assert settings.lacks_for("guard") is None
    with pytest.raises(ValueError, match="PUBLIC_KEYS_FILE"):
        TrainerSettings(profile="production")


def test_too_few_defaults_for_what_is_asked_for_are_no_training(trainer: Trainer, registry: ModelRegistry) -> None:
    asked = parse(["train"])
    asked.defaults = 1_000_000
    with pytest.raises(TooFewExamples, match="1000000 are asked for"):
        trainer.train(asked)
    assert registry.current() is None


def test_what_is_written_last_may_fail_and_the_model_is_registered_all_the_same(
    trainer: Trainer,
    warehouse: WarehouseInMemory,
    registry: ModelRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(_: Evaluation) -> None:
        raise WarehouseUnavailable("away")

    monkeypatch.setattr(warehouse, "append_evaluation", away)

    def full(*_: str) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(Trainer, "_report", full)
    answer = trainer.train(parse(["train"]))
    assert (answer["version"], answer["card"]) == (registry.current(), None)


def test_days_of_bad_input_are_not_learnt_from(
    trainer: Trainer, warehouse: WarehouseInMemory, examples: Examples
) -> None:
    matured = examples.matured(warehouse.clock()).occurred_us
    span = (int(np.quantile(matured, 0.2)), int(np.quantile(matured, 0.25)))
    asked = parse(["train"])
    everything = sum(trainer.train(asked)["rows"].values())
    asked.without = (span,)
    assert sum(trainer.train(asked)["rows"].values()) == everything - int(
        ((matured >= span[0]) & (matured < span[1])).sum()
    )
