"""The model registry as the console reads it: which versions have a part, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, Pointer

CANDIDATES = 5
"""Of the latest registered versions that have no part."""


class RegistryUnreadable(Exception):
    """The text is for people."""


@dataclass(frozen=True, slots=True)
class Part:
    """A version and what it does."""

    version: str
    role: str
    """`champion`, `previous`, `shadow`, an arm such as `arm canary, 5% of customers`, or `candidate`."""


@dataclass(frozen=True, slots=True)
class Parts:
    listed: list[Part]
    """Those that have a part first; a version may have two."""
    champion: Pointer | None
    previous: Pointer | None

    def promotable(self) -> list[str]:
        """Versions that could be put in service, each once."""
        current = None if self.champion is None else self.champion.version
        return [version for version in dict.fromkeys(part.version for part in self.listed) if version != current]


@dataclass(frozen=True, slots=True)
class Description:
    """Of one version; it never changes."""

    family: str
    trained_at: str
    learnt_from: str
    learnt_until: str
    """The days of the first and the last purchase that it has seen."""
    rows: int
    metrics: dict[str, float]
    explained: bool
    """Whether it may decide at all."""
    card: dict[str, Any]


def parts_of(registry: ModelRegistry) -> Parts:
    """Raises RegistryUnreadable."""
    try:
        champion, previous = registry.pointer("current"), registry.pointer("previous")
        trials, versions = registry.trials(), registry.versions()
    except (ArtifactRefused, OSError) as error:
        raise RegistryUnreadable(f"The model registry can't be read: {error}") from error
    listed = [
        Part(pointer.version, role) for pointer, role in ((champion, "champion"), (previous, "previous")) if pointer
    ]
    listed += [Part(version, "shadow") for version in trials.shadow]
    if trials.experiment is not None:
        listed += [
            Part(arm.model_version, f"arm {arm.name}, {arm.share:.0%} of customers") for arm in trials.experiment.arms
        ]
    taken = {part.version for part in listed}
    free = [version for version in reversed(versions) if version not in taken]
    return Parts(listed + [Part(version, "candidate") for version in free[:CANDIDATES]], champion, previous)


def describe(registry: ModelRegistry, version: str) -> Description:
    """Raises RegistryUnreadable for one that isn't there, or isn't what was registered."""
    try:
        files = registry.load(version)
    except (ArtifactRefused, OSError) as error:
        raise RegistryUnreadable(f"Model {version} can't be read: {error}") from error
    manifest = files.manifest
    window = manifest.data_window
    return Description(
        family=manifest.family,
        trained_at=manifest.trained_at,
        learnt_from=window.train_from[:10],
        learnt_until=window.test_to[:10],
        rows=window.train_rows + window.validate_rows + window.test_rows,
        metrics=dict(manifest.metrics),
        explained=manifest.explained,
        card=msgspec.json.decode(files.card),
    )
