"""Candidates that are bad in one way each, made for real and registered, and the gate that refuses each of them: in the
log, in the alert, and in the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from structlog.testing import capture_logs

from services.trainer.evaluate import Economics
from services.trainer.examples import Examples
from services.trainer.export import run_onnx
from services.trainer.families import Conditions, Inputs, ModelFamily, Sample
from services.trainer.families.linear import Logistic
from services.trainer.gates import latency
from services.trainer.gates.dossier import Groups
from services.trainer.gates.examine import Examiner
from services.trainer.gates.limits import GateLimits
from services.trainer.gates.mismatch import Compared
from services.trainer.promotion.entry import Entered, Entry
from services.trainer.promotion.ladder import Ladder, LadderRefused
from services.trainer.promotion.telling import Telling
from services.trainer.warehouse import Evaluation, Warehouse
from services.trainer.workflow import Plan, train_and_register
from shared.alerts import Alerts, AlertsSettings
from shared.experiments import Stage
from shared.model_artifact.explanation import LinearExplanation, encode_explanation
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.manifest import CARD_FILE, EXPLANATION_FILE, MODEL_FILE, Calibration
from shared.model_artifact.registry import ModelRegistry
from tests.unit.trainer.gates.population import NAMES, population, with_column
from tests.unit.trainer.synthetic import ALL_MATURE_US

PLAN = Plan(validate_share=0.2, test_share=0.3, economics=Economics(), seed=1)
CONDITIONS = Conditions(seed=1, threads=1)
WEAK = Inputs("what the champion knows", ("amount", "tenure_days", "credit_score_rank"))


class Rows:
    """Keeps what is written down of candidates."""

    def __init__(self) -> None:
        self.evaluations: list[Evaluation] = []

    def append_evaluation(self, row: Evaluation) -> None:
        self.evaluations.append(row)


@dataclass
class World:
    registry: ModelRegistry
    examples: Examples
    groups_of: Callable[[Examples], Groups]
    rows: Rows
    compared: Compared = field(default_factory=lambda: Compared(1000, 0))

    def train(self, candidate: ModelFamily, *, promote: bool = False) -> str:
        done = train_and_register(self.examples, ALL_MATURE_US, [candidate], PLAN, self.registry, promote=promote)
        return done.manifest.version

    def enter(self, version: str) -> tuple[Entered, list[Any]]:
        telling = Telling(self.registry, cast(Warehouse, self.rows), Alerts(AlertsSettings(), "trainer"))
        examiner = Examiner(self.registry, self.groups_of, lambda _: self.compared, GateLimits(), PLAN.economics, 1)
        entry = Entry(self.registry, examiner, Ladder(self.registry), telling)
        with capture_logs() as lines:
            return entry.enter(version, self.examples, ALL_MATURE_US, None), lines

    def changed(self, version: str, **changes: Any) -> str:
        """The same model with other files or another manifest, registered as such."""
        files = self.registry.load(version)
        assert files.explanation is not None
        explanation = changes.pop("explanation", files.explanation)
        content = {
            MODEL_FILE: changes.pop("onnx", files.onnx),
            EXPLANATION_FILE: encode_explanation(explanation),
            CARD_FILE: files.card,
        }
        return self.registry.register(msgspec.structs.replace(files.manifest, **changes), content)


def world(tmp_path: Path, *, movers_risk: float = 0.0) -> World:
    """With a champion in service that knows less than there is to know."""
    examples, groups_of = population(movers_risk=movers_risk)
    made = World(ModelRegistry(str(tmp_path / "models")), examples, groups_of, Rows())
    made.train(Logistic(WEAK, CONDITIONS), promote=True)
    return made


def good(made: World) -> str:
    return made.train(Logistic(Inputs("all", NAMES), CONDITIONS))


def worse(made: World) -> str:
    return made.train(Shuffled(Inputs("all", NAMES), CONDITIONS))


def leaking(made: World) -> str:
    noise = np.random.default_rng(1).normal(size=len(made.examples))
    made.examples = with_column(made.examples, "payments_missed", 3 * made.examples.label + noise)
    return made.train(Logistic(Inputs("too much", (*NAMES, "payments_missed")), CONDITIONS))


def leaking_under_a_declared_name(made: World) -> str:
    noise = np.random.default_rng(1).normal(size=len(made.examples))
    made.examples = with_column(made.examples, "purchases_24h", 3 * made.examples.label + noise)
    return made.train(Logistic(Inputs("too much", (*NAMES, "purchases_24h")), CONDITIONS))


def miscalibrated(made: World) -> str:
    version = good(made)
    manifest = made.registry.load(version).manifest
    shifted = Calibration(manifest.calibration.slope, manifest.calibration.intercept + 1.0)
    probabilities = shifted.apply(np.asarray(manifest.golden.raw)).tolist()
    golden = msgspec.structs.replace(manifest.golden, probabilities=probabilities)
    return made.changed(version, calibration=shifted, golden=golden)


def slow(made: World) -> str:
    version = good(made)
    return made.changed(version, onnx=burdened(made.registry.load(version)))


def tampered(made: World) -> str:
    version = good(made)
    path = made.registry.root / "models" / version / MODEL_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    return version


def explained_otherwise(made: World) -> str:
    version = good(made)
    explanation = made.registry.load(version).explanation
    assert isinstance(explanation, LinearExplanation)
    return made.changed(version, explanation=msgspec.structs.replace(explanation, intercept=0.0))


def asked_with_other_features(made: World) -> str:
    made.compared = Compared(1000, 10)
    return good(made)


class Shuffled(Logistic):
    """Learns from labels that were dealt out anew."""

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        super().fit(names, replace(train, label=np.random.default_rng(1).permutation(train.label)), validate)


def burdened(files: ModelFiles, width: int = 2000, products: int = 16) -> bytes:
    """The same answers, after large matrix products that add nothing: the mean probability of all rows, spread wide and
    brought back with weights of zero. They take longer than a busy machine ever holds the champion up."""
    model = onnx.load_model_from_string(files.onnx)
    for node in model.graph.node:
        node.output[:] = ["plain" if name == "probabilities" else name for name in node.output]
    zeros = {"spread": (2, width), "mixed": (width, width), "back": (width, 2)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in zeros.items()
    )
    wide = "mean"
    model.graph.node.append(helper.make_node("ReduceMean", ["plain"], ["mean"], axes=[0], keepdims=1))
    for number, name in enumerate(["spread", *["mixed"] * products, "back"]):
        model.graph.node.append(helper.make_node("MatMul", [wide, name], [f"after_{number}"]))
        wide = f"after_{number}"
    model.graph.node.append(helper.make_node("Add", ["plain", wide], ["probabilities"]))
    return bytes(model.SerializeToString(deterministic=True))


BAD: dict[Callable[[World], str], str] = {
    worse: "performance",
    leaking: "leakage",
    leaking_under_a_declared_name: "leakage",
    miscalibrated: "calibration",
    slow: "latency",
    tampered: "integrity",
    explained_otherwise: "parity",
    asked_with_other_features: "feature-mismatch",
}


def refusal(made: World, version: str, gate: str) -> Entered:
    """That it was refused by the gate and told so everywhere, and that nothing has changed."""
    before = made.registry.current()
    entered, lines = made.enter(version)
    assert gate in [each.gate for each in entered.examined.refused_by], entered.answer()
    assert not entered.entered
    assert not entered.promoted
    [alert] = [line for line in lines if line["event"] == "alert"]
    assert gate in alert["name"]
    assert version in alert["name"]
    assert any(line.startswith(f"{gate}: ") for line in alert["detail"])
    [logged] = [line for line in lines if line["event"] == "candidate_refused"]
    assert gate in logged["gates"].split(", ")
    [row] = made.rows.evaluations
    assert (row.kind, row.model_version, row.metrics[gate]) == ("gate", version, 0.0)
    assert (made.registry.current(), made.registry.trials().shadow) == (before, [])
    assert made.registry.trials().candidacy is None
    return entered


@pytest.mark.parametrize(("make", "gate"), list(BAD.items()), ids=[make.__name__ for make in BAD])
def test_a_candidate_that_is_bad_in_one_way_is_refused_by_the_gate_for_it(
    tmp_path: Path, make: Callable[[World], str], gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world(tmp_path)
    if make is slow:  # each run of its graph takes as long as a thousand of another
        for name, fewer in (("ROUNDS", 3), ("ONE_ROW_RUNS", 20), ("BATCH_RUNS", 5)):
            monkeypatch.setattr(latency, name, fewer)
    refusal(made, make(made), gate)


def test_one_that_is_right_about_a_proxy_and_turns_an_age_bracket_away_is_refused_as_unfair_alone(
    tmp_path: Path,
) -> None:
    made = world(tmp_path, movers_risk=2.5)
    entered = refusal(made, good(made), "fairness")
    assert [each.gate for each in entered.examined.refused_by] == ["fairness"]
    assert "age bracket 18-24" in entered.examined.refused_by[0].figures


def test_one_like_an_unfair_champion_is_refused_though_of_what_was_lent_it_turns_nobody_away(tmp_path: Path) -> None:
    everybody, groups_of = population(movers_risk=2.5)
    made = World(ModelRegistry(str(tmp_path / "models")), everybody, groups_of, Rows())
    champion = made.registry.load(good(made))
    said = champion.manifest.calibration.apply(run_onnx(champion.onnx, everybody.columns(NAMES)))
    made.registry.promote(champion.manifest.version, "test", expected=None)
    made.examples = everybody.take(said < PLAN.economics.break_even)
    version = made.train(Logistic(Inputs("all", NAMES), CONDITIONS))

    def unfair() -> list[str]:
        verdicts = made.enter(version)[0].examined.verdicts
        return [each.figures for each in verdicts if each.gate == "fairness" and not each.passed]

    assert unfair() == []
    made.groups_of = lambda lent: replace(groups_of(lent), applications=groups_of(everybody).applications)
    [figures] = unfair()
    assert "age bracket 18-24" in figures
    assert "of what was lent" not in figures


def test_a_good_candidate_passes_every_gate_and_answers_in_shadow(tmp_path: Path) -> None:
    made = world(tmp_path)
    champion, version = made.registry.current(), good(made)
    entered, lines = made.enter(version)
    assert entered.examined.refused_by == []
    assert len([line for line in lines if line["event"] == "gate" and line["passed"]]) == 9
    assert entered.entered
    trials = made.registry.trials()
    assert trials.shadow == [version]
    assert trials.candidacy is not None
    assert (trials.candidacy.stage, trials.candidacy.champion) == (Stage.SHADOW, champion)
    assert [row.kind for row in made.rows.evaluations] == ["gate", "promotion"]
    assert made.registry.current() == champion


def test_a_first_model_goes_into_service_at_once_where_it_is_what_it_says(tmp_path: Path) -> None:
    examples, groups_of = population(movers_risk=2.5)
    made = World(ModelRegistry(str(tmp_path / "models")), examples, groups_of, Rows())
    broken = explained_otherwise(made)
    assert not made.enter(broken)[0].promoted
    assert made.registry.current() is None
    version = good(made)
    entered, _ = made.enter(version)
    assert not next(each for each in entered.examined.verdicts if each.gate == "fairness").passed
    assert entered.promoted, "the alternative is no model at all"
    assert made.registry.current() == version
    with pytest.raises(LadderRefused, match="in service already"):
        made.enter(version)


def test_where_the_champion_cannot_be_read_a_candidate_still_has_to_pass_everything(tmp_path: Path) -> None:
    """Whoever comes next isn't a first model. Where it passes it goes into service: it can't be tried beside that."""
    made = world(tmp_path, movers_risk=2.5)
    champion = made.registry.current()
    unfair = good(made)
    for file in (tmp_path / "models" / "models" / str(champion)).glob("model.onnx"):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    entered, _ = made.enter(unfair)
    assert not entered.examined.first
    assert [each.gate for each in entered.examined.refused_by] == ["fairness"]
    assert not entered.promoted
    assert made.registry.current() == champion
    made.examples, made.groups_of = population()
    sound = made.train(Logistic(Inputs("all", NAMES), CONDITIONS))
    entered, _ = made.enter(sound)
    assert entered.examined.refused_by == []
    assert entered.promoted
    assert made.registry.current() == sound


def test_a_candidate_that_failed_before_does_not_come_back_through_the_gates(tmp_path: Path) -> None:
    made = world(tmp_path)
    version = good(made)
    made.enter(version)
    Ladder(made.registry).withdraw(["an analyst had doubts"], "operator")
    entered, _ = made.enter(version)
    assert entered.examined.passed
    assert not entered.entered
    assert "an analyst had doubts" in (entered.why_not or "")
    assert made.registry.trials().shadow == []
