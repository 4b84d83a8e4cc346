"""The registry that the settings name: a folder, or a bucket with a mirror."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from shared.model_artifact.registry import ModelRegistry, Signer, Verifier
from shared.settings import ModelRegistrySettings


def open_registry(
    settings: ModelRegistrySettings, *, signer: Signer | None = None, verifier: Verifier | None = None
) -> ModelRegistry:
    """Raises RegistryUnsupported for an address that is neither; over a bucket, RegistryAway."""
    if not settings.uri.startswith("gs://"):
        return ModelRegistry(settings.uri, signer=signer, verifier=verifier)
    from shared.model_artifact.bucket import BucketRegistry  # only here: most registries are folders

    name = hashlib.sha256(settings.uri.encode()).hexdigest()[:16]
    mirror = settings.mirror or Path(tempfile.gettempdir()) / "flit-registry" / name
    return BucketRegistry(settings.uri, mirror, signer=signer, verifier=verifier)
