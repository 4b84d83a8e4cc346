"""Whether a model is what was registered: every byte, the version that follows from them, and the signature where one
is asked for."""

from __future__ import annotations

from services.trainer.gates.verdict import INTEGRITY, GateVerdict
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry


def integrity(registry: ModelRegistry, version: str) -> tuple[GateVerdict, ModelFiles | None]:
    """The verdict, and the files where they can be trusted."""
    try:
        files = registry.load(version)
    except ArtifactRefused as refused:
        return GateVerdict(INTEGRITY, False, str(refused)), None
    signed = "signed" if files.manifest.signature is not None else "not signed, and no signature is asked for"
    return GateVerdict(INTEGRITY, True, f"every byte is what was registered; {signed}"), files
