from __future__ import annotations

import functools
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.experiments import Arm, Experiment, Trials
from shared.model_artifact import registry as registry_module
from shared.model_artifact.manifest import ArtifactFault, ArtifactRefused, Calibration, Golden, version_of
from shared.model_artifact.registry import ModelRegistry, Pointer, RegistryUnsupported
from tests.unit.model_artifact.artifacts import a_manifest, some_files, two_models


def folder(registry: ModelRegistry, version: str) -> Path:
    return registry.root / "models" / version


def test_what_was_registered_is_what_is_loaded(registry: ModelRegistry) -> None:
    files = some_files()
    version = registry.register(a_manifest(), files)
    loaded = registry.load(version)
    assert (loaded.onnx, loaded.card) == (files["model.onnx"], files["card.json"])
    assert loaded.manifest.version == version == version_of(loaded.manifest)
    assert registry.versions() == [version]


def test_the_same_content_has_the_same_version_whenever_it_was_trained(registry: ModelRegistry) -> None:
    first = registry.register(a_manifest(), some_files())
    again = registry.register(a_manifest(trained_at="2027-01-01T00:00:00.000000Z"), some_files())
    assert first == again
    assert registry.versions() == [first]


@pytest.mark.parametrize(
    "changes",
    [
        {"feature_set_version": "2"},
        {"metrics": {"auc": 0.61}},
        {"feature_names": ["tenure", "amount"]},
    ],
)
def test_another_behaviour_is_another_version(registry: ModelRegistry, changes: dict[str, object]) -> None:
    first = registry.register(a_manifest(), some_files())
    assert registry.register(a_manifest(**changes), some_files()) != first
    assert registry.register(a_manifest(), some_files(b"other graph")) != first


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_changed_byte_of_any_file_is_ever_loaded(tmp_path: Path, data: st.DataObject) -> None:
    registry = ModelRegistry(str(tmp_path / os.urandom(4).hex()))
    version = registry.register(a_manifest(), some_files(b"some graph"))
    name = data.draw(st.sampled_from(["model.onnx", "explanation.json", "card.json", "manifest.json"]))
    path = folder(registry, version) / name
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    try:
        loaded = registry.load(version)
    except ArtifactRefused:
        return
    # Only what doesn't change the model may differ: when it was trained, and white space between JSON tokens.
    assert name == "manifest.json"
    assert version_of(loaded.manifest) == version


@pytest.mark.parametrize("name", ["model.onnx", "explanation.json", "card.json", "manifest.json"])
def test_a_model_with_a_file_missing_or_cut_is_refused(registry: ModelRegistry, name: str) -> None:
    version = registry.register(a_manifest(), some_files())
    path = folder(registry, version) / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactRefused) as cut:
        registry.load(version)
    assert cut.value.reason in {ArtifactFault.HASH, ArtifactFault.SYNTAX}
    path.unlink()
    with pytest.raises(ArtifactRefused) as gone:
        registry.load(version)
    assert gone.value.reason is ArtifactFault.MISSING


def test_a_model_under_another_models_name_is_refused(registry: ModelRegistry) -> None:
    version = registry.register(a_manifest(), some_files())
    folder(registry, version).rename(folder(registry, "0" * 16))
    with pytest.raises(ArtifactRefused) as refused:
        registry.load("0" * 16)
    assert refused.value.reason is ArtifactFault.VERSION


@pytest.mark.parametrize("name", ["../../etc", "", "ABCDEF0123456789", "0123456789abcdef/.."])
def test_a_name_that_is_no_version_never_reaches_the_file_system(registry: ModelRegistry, name: str) -> None:
    with pytest.raises(ArtifactRefused) as refused:
        registry.load(name)
    assert refused.value.reason is ArtifactFault.VERSION


@pytest.mark.parametrize(
    "changes",
    [
        {"feature_names": ["amount"]},
        {"feature_names": ["amount", "amount"]},
        {"calibration": Calibration(slope=-1.0, intercept=0.0)},
        {"calibration": Calibration(slope=1.0, intercept=0.0)},
        {"golden": Golden(inputs=[], raw=[], probabilities=[])},
    ],
)
def test_a_manifest_that_contradicts_itself_is_never_registered(
    registry: ModelRegistry, changes: dict[str, object]
) -> None:
    with pytest.raises(ArtifactRefused) as refused:
        registry.register(a_manifest(**changes), some_files())
    assert refused.value.reason is ArtifactFault.SHAPE
    assert registry.versions() == []


def test_an_explanation_of_other_features_is_never_registered(registry: ModelRegistry) -> None:
    files = some_files() | {
        "explanation.json": b'{"kind":"tree-tables","base":0.0,"trees":[{"nodes":[[9,1.0,true]],'
        b'"features":[9],"table":[[0.0],[1.0]]}]}'
    }
    with pytest.raises(ArtifactRefused):
        registry.register(a_manifest(), files)
    assert registry.versions() == []


def test_a_write_that_fails_leaves_nothing_that_looks_like_a_model(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: Path, data: bytes) -> None:
        path.write_bytes(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registry_module, "write_synced", full_disk)
    with pytest.raises(OSError, match="No space left"):
        registry.register(a_manifest(), some_files())
    assert registry.versions() == []
    assert list((registry.root / "models").iterdir()) == []


def test_a_damaged_model_is_replaced_when_it_is_registered_again(registry: ModelRegistry) -> None:
    version = registry.register(a_manifest(), some_files())
    (folder(registry, version) / "model.onnx").write_bytes(b"grap")
    assert registry.register(a_manifest(), some_files()) == version
    assert registry.load(version).onnx == b"graph"
    assert registry.versions() == [version]


def test_a_model_without_an_explanation_is_kept_and_may_be_tried_in_shadow_but_never_decides(
    registry: ModelRegistry,
) -> None:
    files = some_files()
    del files["explanation.json"]
    version = registry.register(a_manifest(), files)
    loaded = registry.load(version)
    assert (loaded.manifest.explained, loaded.explanation) == (False, None)
    assert registry.change_trials(lambda _: Trials([version])).shadow == [version]
    with pytest.raises(ArtifactRefused) as refused:
        registry.promote(version, "test")
    assert refused.value.reason is ArtifactFault.UNEXPLAINED
    with pytest.raises(ArtifactRefused) as refused:
        registry.change_trials(lambda _: Trials(experiment=a_trial(version)))
    assert refused.value.reason is ArtifactFault.UNEXPLAINED
    registry.promote(registry.register(a_manifest(), some_files()), "test")
    (registry.root / "previous").write_bytes(msgspec.json.encode(Pointer(version, "", "")))
    with pytest.raises(ArtifactRefused) as refused:
        registry.rollback("test")
    assert refused.value.reason is ArtifactFault.UNEXPLAINED


def test_a_reference_is_kept_with_its_model_and_verified_as_every_other_file(registry: ModelRegistry) -> None:
    version = registry.register(a_manifest(), some_files() | {"reference.json": b"what came in"})
    assert registry.load(version).reference == b"what came in"
    assert registry.load(registry.register(a_manifest(), some_files())).reference is None
    (folder(registry, version) / "reference.json").write_bytes(b"what came on")
    with pytest.raises(ArtifactRefused) as refused:
        registry.load(version)
    assert refused.value.reason is ArtifactFault.HASH


@pytest.mark.parametrize("files", [{"model.onnx", "reference.json"}, {"model.onnx", "card.json", "notes.txt"}])
def test_a_model_with_a_file_too_few_or_an_unknown_one_is_not_registered(
    registry: ModelRegistry, files: set[str]
) -> None:
    with pytest.raises(ValueError, match="a model has the files"):
        registry.register(a_manifest(), dict.fromkeys(files, b""))


def test_an_explanation_cannot_be_taken_from_a_model_that_was_registered_with_one(registry: ModelRegistry) -> None:
    version = registry.register(a_manifest(), some_files())
    manifest = registry.load(version).manifest
    (folder(registry, version) / "explanation.json").unlink()
    fewer = {name: digest for name, digest in manifest.files.items() if name != "explanation.json"}
    (folder(registry, version) / "manifest.json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(manifest, files=fewer))
    )
    with pytest.raises(ArtifactRefused) as refused:
        registry.load(version)
    assert refused.value.reason is ArtifactFault.VERSION


def test_an_experiment_that_ends_is_kept_with_who_ended_it_and_why(registry: ModelRegistry) -> None:
    version = registry.register(a_manifest(), some_files())
    for start in ("2026-06-01T12:00:00.000000Z", "2026-06-02T12:00:00.000000Z"):
        trial = a_trial(version, start)
        trials = Trials(experiment=trial)
        registry.change_trials(functools.partial(replaced_by, trials), by="somebody", why="another was started")
    assert [each.experiment.started_at[:10] for each in registry.ended_experiments("trial")] == ["2026-06-01"]
    registry.change_trials(lambda before: msgspec.structs.replace(before, shadow=[version]), by="x", why="y")
    assert len(registry.ended_experiments("trial")) == 1
    registry.change_trials(lambda _: Trials(), by="guard", why="it declines everybody")
    last = registry.ended_experiments("trial")[-1]
    assert (last.experiment, last.by, last.why) == (trial, "guard", "it declines everybody")
    assert registry.ended_experiments("another") == []


def test_a_model_that_was_damaged_while_it_was_tried_keeps_nobody_from_being_stopped(registry: ModelRegistry) -> None:
    first, second = two_models(registry)
    registry.change_trials(lambda _: Trials([first], a_trial(second)))
    for version in (first, second):
        (folder(registry, version) / "model.onnx").write_bytes(b"else")
    assert registry.change_trials(lambda before: msgspec.structs.replace(before, experiment=None)).experiment is None
    assert registry.trials().shadow == [first]
    with pytest.raises(ArtifactRefused):
        registry.change_trials(lambda _: Trials([first, second]))


def replaced_by(trials: Trials, _: Trials) -> Trials:
    return trials


def a_trial(version: str, started_at: str = "2026-06-01T12:00:00.000000Z") -> Experiment:
    return Experiment("trial", "salt", [Arm("canary", 0.1, version)], started_at, "test")


@pytest.mark.parametrize("uri", ["gs://bucket/models", "s3://bucket/models"])
def test_an_address_that_is_no_folder_is_refused_by_name(uri: str) -> None:
    with pytest.raises(RegistryUnsupported, match=uri[:2]):
        ModelRegistry(uri)


def test_a_file_address_means_its_folder(tmp_path: Path) -> None:
    assert ModelRegistry(f"file://{tmp_path}").root == tmp_path


def test_an_older_manifest_with_unknown_fields_is_refused(registry: ModelRegistry) -> None:
    version = registry.register(a_manifest(), some_files())
    path = folder(registry, version) / "manifest.json"
    body = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(body | {"pickle": "model.pkl"}))
    with pytest.raises(ArtifactRefused):
        registry.load(version)
