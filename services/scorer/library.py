"""Models by version and policies by name: those in service, and those that decided earlier."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import structlog

from services.scorer.policies import PolicySlot
from services.scorer.slot import ModelSlot
from shared.deciding.onnx_model import OnnxModel
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry
from shared.policy import PolicyFileError, load_policy

log = structlog.get_logger()

KEPT = 4
"""Earlier ones in memory: an analyst asks about one after the other of the same day."""


class ModelLibrary:
    def __init__(self, registry: ModelRegistry, slot: ModelSlot) -> None:
        self._registry = registry
        self._slot = slot
        self._earlier: OrderedDict[str, OnnxModel] = OrderedDict()

    async def get(self, version: str) -> OnnxModel:
        """Raises ArtifactRefused and OSError for one that can't be loaded (any more)."""
        serving = self._slot.current
        if serving is not None and serving.version == version:
            return serving
        model = self._earlier.get(version)
        if model is None:
            # In a thread: hashing, parsing and the first run take longer than a checkout may wait.
            model = await asyncio.to_thread(lambda: OnnxModel(self._registry.load(version)))
            self._earlier[version] = model
            while len(self._earlier) > KEPT:
                self._earlier.popitem(last=False)
        self._earlier.move_to_end(version)
        return model


class PolicyLibrary:
    def __init__(self, registry: ModelRegistry, slot: PolicySlot) -> None:
        self._registry = registry
        self._slot = slot
        self._earlier: OrderedDict[str, frozenset[str]] = OrderedDict()

    async def declining(self, name: str) -> frozenset[str] | None:
        """The codes by which a policy declines; None for one that isn't kept. Raises OSError where that isn't known."""
        serving = self._slot.current
        if serving.name == name:
            return serving.declining
        if name not in self._earlier:
            try:
                policy = await asyncio.to_thread(lambda: load_policy(self._registry.kept_policy(name)))
            except (ArtifactRefused, PolicyFileError) as error:
                log.warning("policy_of_then_unknown", policy=name, error=str(error)[:200])
                return None
            self._earlier[name] = policy.declining
            while len(self._earlier) > KEPT:
                self._earlier.popitem(last=False)
        self._earlier.move_to_end(name)
        return self._earlier[name]
