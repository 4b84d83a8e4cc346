"""The files of one model, and how they are read: all of them as registered, or none."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from shared.model_artifact.explanation import Explainer, Explanation, decode_explanation
from shared.model_artifact.manifest import (
    CARD_FILE,
    EXPLANATION_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    ArtifactFault,
    ArtifactRefused,
    Manifest,
    check_shape,
    sha256_hex,
    version_of,
)

FILES = frozenset({MODEL_FILE, CARD_FILE})
"""What every model has."""
OPTIONAL_FILES = frozenset({EXPLANATION_FILE, REFERENCE_FILE})


def complete(names: Collection[str]) -> bool:
    """Whether these are the files of a model: all that it must have, and no others than it may have."""
    return set(names) >= FILES and set(names) <= FILES | OPTIONAL_FILES


@dataclass(frozen=True)
class ModelFiles:
    """A model whose every byte was verified."""

    manifest: Manifest
    onnx: bytes
    explanation: Explanation | None
    """None: it gives no exact contributions, and must not decide."""
    card: bytes
    reference: bytes | None = None
    """What purchases looked like when it was judged, for who watches it (services/trainer/monitoring); None: of a model
    that is older than that."""

    def must_explain(self) -> None:
        """Raises `ArtifactRefused` where it can't: for whoever would let it decide."""
        if self.explanation is None:
            raise ArtifactRefused(
                ArtifactFault.UNEXPLAINED,
                f"{self.manifest.version} ({self.manifest.family}) gives no exact contributions, so that its declines "
                "couldn't be explained: it may answer in shadow, and never decide",
            )


def read_verified(folder: Path, version: str) -> ModelFiles:
    """The model in a folder, under that version. Raises `ArtifactRefused`; signatures are the registry's affair."""
    manifest = _read_manifest(folder)
    if manifest.version != version or version_of(manifest) != version:
        raise ArtifactRefused(ArtifactFault.VERSION, f"the manifest's content is not that of version {version}")
    if not complete(manifest.files):
        raise ArtifactRefused(ArtifactFault.SHAPE, f"the manifest names {sorted(manifest.files)}")
    data = {name: _read(folder / name) for name in sorted(manifest.files)}
    for name, digest in manifest.files.items():
        if sha256_hex(data[name]) != digest:
            raise ArtifactRefused(ArtifactFault.HASH, f"{name} of {version} is not what was registered")
    check_shape(manifest)
    explanation = decode_explanation(data[EXPLANATION_FILE]) if manifest.explained else None
    if explanation is not None:
        Explainer(explanation, len(manifest.feature_names))
    return ModelFiles(manifest, data[MODEL_FILE], explanation, data[CARD_FILE], data.get(REFERENCE_FILE))


def _read_manifest(folder: Path) -> Manifest:
    try:
        return msgspec.json.decode(_read(folder / MANIFEST_FILE), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactRefused(ArtifactFault.SYNTAX, f"manifest of {folder.name}: {error}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactRefused(ArtifactFault.MISSING, f"{path.parent.name}/{path.name}: {error.strerror}") from None
