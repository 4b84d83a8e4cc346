"""Models beside the champion: in shadow, and as arms of an experiment."""

from __future__ import annotations

import msgspec
import pytest
from structlog.testing import capture_logs

from services.scorer.metrics import MODEL_REFUSED
from services.scorer.reload import ModelReloader
from services.scorer.slot import ModelSlot
from shared.deciding import ModelFailed, decide
from shared.deciding.onnx_model import OnnxModel
from shared.experiments import Arm, Experiment, Trials
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, Pointer
from shared.policy import load_policy
from shared.telemetry.metrics import MODEL_INFO
from tests.unit.scorer.fakes import Outside
from tests.unit.scorer.parts import NOW, a_vector, register


def put_in_service(registry: ModelRegistry) -> str:
    version = register(registry)
    registry.promote(version, "test")
    return version


def test_a_failing_model_on_trial_costs_nobody_a_score(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = Outside()
    champion, tried = (OnnxModel(registry.load(register(registry, intercept=each))) for each in (-2.0, -1.0))
    outside.slot.put(champion)
    outside.slot.try_out(
        [], Experiment("trial", "salt", [Arm("canary", 0.5, tried.version)], NOW, "t"), {"canary": tried}
    )

    def fails(_: object) -> None:
        raise ModelFailed("out of luck")

    monkeypatch.setattr(tried, "score", fails)
    decisions = outside.decider().decide([a_vector(number) for number in range(1, 20)], "stream")
    assert {decision.variant for decision in decisions} == {"champion", "canary"}
    assert {(decision.model_version, decision.degraded) for decision in decisions} == {(champion.version, None)}
    monkeypatch.setattr(champion, "score", fails)
    assert {d.degraded for d in outside.decider().decide([a_vector()], "stream")} == {"model_failed"}


async def test_models_are_tried_and_no_longer_tried_without_a_restart(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    put_in_service(registry)
    await reloader.look()
    shadow, canary = register(registry, intercept=-1.0), register(registry, intercept=-0.5)
    trial = Experiment("trial", "salt", [Arm("canary", 0.5, canary)], NOW, "test")
    registry.change_trials(lambda _: Trials([shadow], trial))
    assert await reloader.look_at_trials()
    assert not await reloader.look_at_trials()
    assert [model.version for model in slot.lineup.challengers] == [shadow]
    assert slot.lineup.arms["canary"].version == canary
    assert roles("challenger") == sorted([shadow, canary])
    registry.change_trials(lambda _: Trials())
    assert await reloader.look_at_trials()
    assert (slot.lineup.challengers, slot.lineup.arms, slot.lineup.experiment) == ((), {}, None)
    assert roles("challenger") == []


async def test_a_model_that_cannot_be_trusted_is_not_tried_and_the_others_are(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    good, bad = register(registry, intercept=-1.0), register(registry, intercept=-0.5)
    registry.change_trials(lambda _: Trials([good, bad]))
    graph = registry.root / "models" / bad / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:50])
    assert await reloader.look_at_trials()
    assert not await reloader.look_at_trials()
    assert [model.version for model in slot.lineup.challengers] == [good]


async def test_one_that_could_not_be_read_is_tried_as_soon_as_it_can(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    there, away = register(registry, intercept=-1.0), register(registry, intercept=-0.5)
    trial = Experiment("trial", "salt", [Arm("canary", 0.5, away)], NOW, "test")
    registry.change_trials(lambda _: Trials([there], trial))
    graph = registry.root / "models" / away / "model.onnx"
    graph.rename(graph.with_suffix(".elsewhere"))
    assert await reloader.look_at_trials()
    assert (slot.lineup.arms, roles("challenger")) == ({}, [there])
    with capture_logs() as lines:
        for _ in range(3):
            await reloader.look()
            await reloader.look_at_trials()
    assert [line["event"] for line in lines] == [], "it was told once"
    graph.with_suffix(".elsewhere").rename(graph)
    assert await reloader.look_at_trials()
    assert slot.lineup.arms["canary"].version == away
    assert roles("challenger") == sorted([there, away])
    assert not await reloader.look_at_trials()


async def test_a_model_that_explains_nothing_answers_in_shadow_and_decides_for_nobody(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    good = put_in_service(registry)
    await reloader.look()
    silent = register(registry, intercept=2.0, explained=False)
    trial = Experiment("trial", "salt", [Arm("canary", 0.999, silent)], NOW, "test")
    with pytest.raises(ArtifactRefused, match="never decide"):
        registry.promote(silent, "test")
    with pytest.raises(ArtifactRefused, match="never decide"):
        registry.change_trials(lambda _: Trials(experiment=trial))
    registry.change_trials(lambda _: Trials([silent]))
    assert await reloader.look_at_trials()
    # Somebody writes past the registry's checks: the scorer has its own.
    before = MODEL_REFUSED.labels("unexplained")._value.get()
    (registry.root / "current").write_bytes(msgspec.json.encode(Pointer(silent, NOW, "a stranger")))
    assert not await reloader.look()
    (registry.root / "trials").write_bytes(msgspec.json.encode(Trials([silent], trial)))
    assert await reloader.look_at_trials()
    assert MODEL_REFUSED.labels("unexplained")._value.get() == before + 2
    assert slot.lineup.arms == {}
    [decision] = decide([a_vector()], slot.lineup, load_policy(), channel="rest", decided_at=NOW)
    assert (decision.model_version, decision.variant, decision.degraded) == (good, "canary", None)


async def test_a_model_that_explains_nothing_shows_its_score_beside_the_decision(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    put_in_service(registry)
    await reloader.look()
    silent = register(registry, intercept=2.0, explained=False)
    registry.change_trials(lambda _: Trials([silent]))
    await reloader.look_at_trials()
    [decision] = decide([a_vector()], slot.lineup, load_policy(), channel="rest", decided_at=NOW)
    assert [score.model_version for score in decision.shadow] == [silent]
    assert decision.shadow[0].probability_of_default > 0.5


def roles(role: str) -> list[str]:
    samples = [sample.labels for metric in MODEL_INFO.collect() for sample in metric.samples]
    return sorted(labels["version"] for labels in samples if labels["role"] == role)
