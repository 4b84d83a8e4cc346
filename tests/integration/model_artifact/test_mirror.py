"""The copies of a bucket's models on this machine: fetched again where that mends them, and nothing is left behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.model_artifact.bucket import BucketRegistry
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.signing import ManifestSigner
from tests.gcs_server import gcs_server
from tests.unit.model_artifact.artifacts import a_manifest, some_files

pytestmark = pytest.mark.integration

URI = "gs://flit-models/team"


@pytest.fixture(autouse=True)
def _bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with gcs_server() as (address, _):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        yield


def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that are fetched from now on."""
    fetched: list[str] = []
    pull = BucketRegistry._pull_model

    def told(self: BucketRegistry, version: str, blobs: list[Any]) -> None:
        fetched.append(version)
        pull(self, version, blobs)

    monkeypatch.setattr(BucketRegistry, "_pull_model", told)
    return fetched


def test_what_the_bucket_has_wrongly_is_fetched_once_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scorer asks for a promoted model each second."""
    signer, another = (ManifestSigner(Ed25519PrivateKey.generate()) for _ in range(2))
    unsigned = BucketRegistry(URI, tmp_path / "here")
    version = unsigned.register(a_manifest(), some_files(b"a graph"))
    there = BucketRegistry(URI, tmp_path / "there", verifier=signer.verifier)
    fetched = downloads(monkeypatch)
    for _ in range(3):
        with pytest.raises(ArtifactRefused, match="signature"):
            there.load(version)
    assert fetched == [version]
    assert [one.name for one in (there.root / "models").iterdir()] == [version]
    # Signed since: the bucket holds something else than what was refused.
    mended = BucketRegistry(URI, tmp_path / "trainer", signer=signer, verifier=signer.verifier)
    mended.register(a_manifest(), some_files(b"a graph"))
    assert there.load(version).onnx == b"a graph"
    strict = BucketRegistry(URI, there.root, verifier=another.verifier)
    for _ in range(2):
        with pytest.raises(ArtifactRefused, match="trusted"):
            strict.load(version)
    assert [one.name for one in (there.root / "models").iterdir()] == [version]


def test_a_model_that_lacks_a_file_is_fetched_once_and_again_where_the_mirror_was_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = BucketRegistry(URI, tmp_path / "here")
    version = writer.register(a_manifest(), some_files(b"a graph"))
    writer._blob(f"models/{version}/model.onnx").delete()
    there = BucketRegistry(URI, tmp_path / "there")
    fetched = downloads(monkeypatch)
    for _ in range(3):
        with pytest.raises(ArtifactRefused, match="missing"):
            there.load(version)
    assert fetched == [version]
    shutil.rmtree(there.root)
    with pytest.raises(ArtifactRefused, match="missing"):
        there.load(version)
    assert fetched == [version, version]


def test_a_copy_that_is_damaged_again_is_fetched_again(tmp_path: Path) -> None:
    here = BucketRegistry(URI, tmp_path / "mirror")
    version = here.register(a_manifest(), some_files(b"a graph"))
    for _ in range(2):
        (here.root / "models" / version / "model.onnx").write_bytes(b"another")
        assert here.load(version).onnx == b"a graph"
    assert [one.name for one in (here.root / "models").iterdir()] == [version]
