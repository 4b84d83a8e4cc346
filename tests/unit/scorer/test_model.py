from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from services.scorer.metrics import MODEL_REFUSED
from services.scorer.reload import ModelReloader
from services.scorer.slot import ModelSlot
from shared.deciding import ModelFailed, decide
from shared.deciding.onnx_model import OnnxModel
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry
from shared.model_artifact.signing import ManifestSigner
from shared.policy import load_policy
from shared.telemetry.metrics import DEGRADED, MODEL_INFO
from tests.unit.scorer.fakes import Outside
from tests.unit.scorer.parts import NAMES, NOW, a_vector, graph, register


def put_in_service(
    registry: ModelRegistry, intercept: float = -2.0, feature_set_version: str = FEATURE_SET_VERSION
) -> str:
    version = register(registry, intercept=intercept, feature_set_version=feature_set_version)
    registry.promote(version, "test")
    return version


@pytest.mark.parametrize(
    ("registering", "reason"),
    [
        (lambda registry: register(registry, golden_raw=0.5), "golden"),
        (lambda registry: register(registry, model=b"no graph at all"), "shape"),
        (lambda registry: register(registry, model=graph((1.0, 2.0))), "shape"),
        (lambda registry: register(registry, names=("amount", "horoscope", "c", "d", "e")), "incompatible"),
    ],
)
def test_a_model_that_cannot_be_trusted_is_not_loaded(
    registry: ModelRegistry, registering: Callable[[ModelRegistry], str], reason: str
) -> None:
    version = registering(registry)
    with pytest.raises(ArtifactRefused) as refused:
        OnnxModel(registry.load(version))
    assert refused.value.reason == reason


def test_contributions_and_base_add_up_to_the_raw_log_odds(registry: ModelRegistry) -> None:
    model = OnnxModel(registry.load(register(registry)))
    matrix = np.asarray([[10.0, 100.0, 2.0, 1.0, 3.0], [np.nan] * 5], dtype=np.float32)
    scores = model.score(matrix)
    assert scores.contributions is not None
    log_odds = scores.contributions.sum(axis=1) - 2.0
    np.testing.assert_allclose(scores.probabilities, 1 / (1 + np.exp(-log_odds)), atol=1e-6)


def test_a_model_that_fails_while_serving_raises_the_one_error_that_callers_know(registry: ModelRegistry) -> None:
    model = OnnxModel(registry.load(register(registry)))
    with pytest.raises(ModelFailed):
        model.score(np.zeros((1, 3), dtype=np.float32))


def test_a_failing_model_costs_the_score_and_not_the_decision(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = Outside()
    model = OnnxModel(registry.load(register(registry)))
    outside.slot.put(model)

    def fails(_: object) -> None:
        raise ModelFailed("out of luck")

    monkeypatch.setattr(model, "score", fails)
    [decision] = outside.decider().decide([a_vector()], "stream")
    assert (decision.degraded, decision.model_version) == ("model_failed", "none")


async def test_the_promoted_model_is_taken_over_and_then_the_next_one(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    assert not await reloader.look()
    assert DEGRADED.labels("scorer")._value.get() == 1
    for intercept in (-2.0, -1.0):
        version = put_in_service(registry, intercept=intercept)
        assert await reloader.look()
        assert slot.current is not None
        assert slot.current.version == version
        assert not await reloader.look()
    assert DEGRADED.labels("scorer")._value.get() == 0
    serving = [sample.labels["version"] for metric in MODEL_INFO.collect() for sample in metric.samples]
    assert serving == [version]


async def test_a_rollback_is_taken_over_as_well(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    first = put_in_service(registry, intercept=-2.0)
    await reloader.look()
    put_in_service(registry, intercept=-1.0)
    await reloader.look()
    registry.rollback("test")
    assert await reloader.look()
    assert slot.current is not None
    assert slot.current.version == first


def _cut(registry: ModelRegistry, version: str) -> None:
    path = registry.root / "models" / version / "model.onnx"
    path.write_bytes(path.read_bytes()[:50])


def _flip(registry: ModelRegistry, version: str) -> None:
    path = registry.root / "models" / version / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _garble_pointer(registry: ModelRegistry, _: str) -> None:
    (registry.root / "current").write_bytes(b'{"version": ')


def _remove(registry: ModelRegistry, version: str) -> None:
    (registry.root / "models" / version / "manifest.json").unlink()


@pytest.mark.parametrize("damage", [_cut, _flip, _garble_pointer, _remove])
async def test_whatever_is_wrong_with_the_next_model_the_last_good_one_stays_and_one_line_says_so(
    registry: ModelRegistry,
    slot: ModelSlot,
    reloader: ModelReloader,
    damage: Callable[[ModelRegistry, str], None],
) -> None:
    good = put_in_service(registry)
    await reloader.look()
    bad = put_in_service(registry, intercept=-1.0)
    damage(registry, bad)
    with capture_logs() as lines:
        for _ in range(3):
            assert not await reloader.look()
    assert slot.current is not None
    assert slot.current.version == good
    assert [line["event"] for line in lines] == ["model_refused"]


@pytest.mark.parametrize("forger", [None, ManifestSigner(Ed25519PrivateKey.generate())], ids=["unsigned", "by another"])
async def test_an_untrusted_model_that_somebody_promoted_leaves_the_last_good_one_in_service(
    tmp_path: Path, slot: ModelSlot, forger: ManifestSigner | None
) -> None:
    signer = ManifestSigner(Ed25519PrivateKey.generate())
    trusting = ModelRegistry(str(tmp_path / "models"), signer=signer, verifier=signer.verifier)
    reloader = ModelReloader(trusting, slot, interval_s=0.001)
    good = put_in_service(trusting)
    assert await reloader.look()
    put_in_service(ModelRegistry(str(tmp_path / "models"), signer=forger), intercept=-1.0)
    before = MODEL_REFUSED.labels("signature")._value.get()
    assert not await reloader.look()
    assert slot.current is not None
    assert slot.current.version == good
    assert MODEL_REFUSED.labels("signature")._value.get() == before + 1


async def test_every_refusal_is_counted_by_its_reason(registry: ModelRegistry, reloader: ModelReloader) -> None:
    registry.promote(register(registry, golden_raw=0.4), "test")
    before = MODEL_REFUSED.labels("golden")._value.get()
    for _ in range(2):
        await reloader.look()
    assert MODEL_REFUSED.labels("golden")._value.get() == before + 2


async def test_a_swap_in_the_middle_of_an_answer_does_not_mix_two_models(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    put_in_service(registry)
    await reloader.look()
    taken, version = slot.lineup, slot.current.version if slot.current else ""
    put_in_service(registry, intercept=-1.0)
    await reloader.look()
    [decision] = decide([a_vector()], taken, load_policy(), channel="rest", decided_at=NOW)
    assert decision.model_version == version


async def test_while_a_new_feature_set_comes_into_service_each_vector_finds_its_model(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    first = put_in_service(registry)
    await reloader.look()
    second = put_in_service(registry, intercept=-1.0, feature_set_version="2-later")
    await reloader.look()
    old, new = a_vector(1), msgspec.structs.replace(a_vector(2), feature_set_version="2-later")
    unknown = msgspec.structs.replace(a_vector(3), feature_set_version="0-forgotten")
    lacking = msgspec.structs.replace(new, features={"amount": 1.0})
    decisions = decide([old, new, unknown, lacking], slot.lineup, load_policy(), channel="stream", decided_at=NOW)
    assert [(d.model_version, d.degraded) for d in decisions] == [
        (first, None),
        (second, None),
        ("none", "feature_set_mismatch"),
        ("none", "feature_set_mismatch"),
    ]


async def test_what_was_rolled_back_decides_nothing_not_even_what_is_of_its_feature_set_alone(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    first = put_in_service(registry)
    second = put_in_service(registry, intercept=-1.0, feature_set_version="2-later")
    await reloader.look()
    registry.rollback("test")
    assert await reloader.look()
    assert {each.version for each in slot.lineup.champions.values()} == {first}
    assert registry.rollback("test") == second, "one may return to it all the same"
    await reloader.look()
    assert slot.lineup.champions["2-later"].version == second


async def test_the_model_before_is_put_aside_once_both_are_of_one_feature_set(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    for intercept, feature_set in ((-3.0, "1-old"), (-2.0, "2-later"), (-1.0, "2-later")):
        put_in_service(registry, intercept=intercept, feature_set_version=feature_set)
        await reloader.look()
    assert list(slot.lineup.champions) == ["2-later"]


async def test_a_process_that_starts_with_a_damaged_model_in_service_takes_the_one_before(
    registry: ModelRegistry, slot: ModelSlot, reloader: ModelReloader
) -> None:
    good = put_in_service(registry)
    bad = put_in_service(registry, intercept=-1.0)
    _flip(registry, bad)
    assert await reloader.look()
    assert slot.current is not None
    assert slot.current.version == good
    assert not await reloader.look()


async def test_the_watch_ends_when_told_to(reloader: ModelReloader) -> None:
    stop = asyncio.Event()
    watching = asyncio.create_task(reloader.run(stop))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(10):
        await watching


def test_the_names_of_these_tests_models_are_features() -> None:
    assert set(NAMES) <= a_vector().features.keys()
