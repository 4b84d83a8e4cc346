"""Models by version and policies by name: those in service, and those that decided earlier."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

from services.scorer.policies import PolicySlot
from services.scorer.slot import ModelSlot
from shared.deciding.onnx_model import OnnxModel
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry
from shared.policy import Policy, PolicyFileError, load_policy

log = structlog.get_logger()

T = TypeVar("T")

KEPT = 4
"""Earlier ones in memory: an analyst asks about one after the other of the same day."""


class _Latest(Generic[T]):
    """The last few that were loaded."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, T] = OrderedDict()

    async def get(self, name: str, load: Callable[[], T]) -> T:
        """Raises what `load` raises."""
        if name not in self._held:
            # In a thread: reading, hashing, and a model's first run take longer than a checkout may wait.
            self._held[name] = await asyncio.to_thread(load)
            while len(self._held) > KEPT:
                self._held.popitem(last=False)
        self._held.move_to_end(name)
        return self._held[name]


class ModelLibrary:
    def __init__(self, registry: ModelRegistry, slot: ModelSlot) -> None:
        self._registry = registry
        self._slot = slot
        self._earlier: _Latest[OnnxModel] = _Latest()

    async def get(self, version: str) -> OnnxModel:
        """Raises ArtifactRefused and OSError for one that can't be loaded (any more)."""
        serving = self._slot.current
        if serving is not None and serving.version == version:
            return serving
        return await self._earlier.get(version, lambda: OnnxModel(self._registry.load(version)))


class PolicyLibrary:
    def __init__(self, registry: ModelRegistry, slot: PolicySlot) -> None:
        self._registry = registry
        self._slot = slot
        self._earlier: _Latest[Policy] = _Latest()

    async def of(self, name: str) -> Policy | None:
        """None for one that isn't kept. Raises OSError where that isn't known."""
        serving = self._slot.current
        if serving.name == name:
            return serving
        try:
            return await self._earlier.get(name, lambda: load_policy(self._registry.kept_policy(name), kept=True))
        except (ArtifactRefused, PolicyFileError) as error:
            log.warning("policy_of_then_unknown", policy=name, error=str(error)[:200])
            return None
